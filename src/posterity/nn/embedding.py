"""Embeddings of scalars."""

from math import log

import torch
from torch import Tensor, nn


class SineEncoding(nn.Module):
    r"""A sinusoidal encoding of a number, with frequencies in geometric progression,

    .. math:: t \mapsto \left( \sin \omega_k t, \cos \omega_k t \right)_{k = 1 \dots K}, \qquad
        \omega_k = \omega_1 (\omega_K / \omega_1)^{(k - 1) / (K - 1)} ,

    so that a network resolves small differences of a number, such as the time of a diffusion, as well as large ones.
    The defaults suit numbers of order one.

    Args:
        features: The size of the vectors, :math:`2 K`, an even number.
        low: The lowest frequency :math:`\omega_1`, in radians.
        high: The highest frequency :math:`\omega_K`, in radians.

    References:
        Attention Is All You Need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762
    """

    frequencies: Tensor

    def __init__(self, features: int, low: float = 1.0, high: float = 100.0) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise ValueError(f"features: sines and cosines come in pairs, so an even number is needed, not {features}")
        if not 0 < low <= high:
            raise ValueError(f"low: frequencies are positive and rise to high, but low is {low} and high is {high}")
        exponents = torch.linspace(log(low), log(high), features // 2)
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """Encodes numbers of shape ``(*batch,)`` as vectors, with shape ``(*batch, features)``."""
        phase = value.unsqueeze(-1) * self.frequencies
        return torch.cat((phase.sin(), phase.cos()), dim=-1)
