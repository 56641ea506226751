r"""How the learning rate falls, as a factor of the share :math:`s \in [0, 1]` of the training that is done."""

from math import cos, pi


def constant(share: float) -> float:
    """1."""
    return 1.0


def cosine(share: float) -> float:
    r""":math:`(1 + \cos \pi s) / 2`."""
    return (1 + cos(pi * share)) / 2


def linear(share: float) -> float:
    """:math:`1 - s`."""
    return 1 - share
