r"""Learning-rate schedules: the factor of the rate when a share :math:`s \in [0, 1]` of the training is done."""

from math import cos, pi


def constant(share: float) -> float:
    """No decay: 1."""
    return 1.0


def cosine(share: float) -> float:
    r"""Cosine decay, :math:`(1 + \cos \pi s) / 2`."""
    return (1 + cos(pi * share)) / 2


def linear(share: float) -> float:
    """Linear decay, :math:`1 - s`."""
    return 1 - share
