"""What learned residuals of standard normal numbers have on average; see :class:`Centring`."""

from collections.abc import Iterable
from itertools import combinations
from math import log

import torch
from torch import Tensor, nn

#: Levels of noise at which the mean is fitted, evenly in its logarithm, and the least and the largest of them.
LEVELS, LEAST, MOST = 20, 0.01, 8.0

#: Noisy numbers beyond this many standard deviations have the mean of those there.
BEYOND = 2.5

#: The highest power of a number in the fit.
DEGREE = 4

#: Rows that a fit takes: enough for a mean that is off by some hundredths of the spread of scores.
ROWS = 2**19


class Centring(nn.Module):
    r"""The mean that learned residuals have given noisy numbers alone, where that of exact ones is zero.

    Numbers :math:`v \sim N(0, I)` are denoised by what else is known, :math:`D = \cos\varphi\, \bar v + \sin\varphi\,
    F(\bar v, \varphi, c)`. Whatever that is, it says nothing on average,

    .. math:: E[D | \bar v] = E[v | \bar v] = \cos\varphi\, \bar v \quad\Longrightarrow\quad E[F | \bar v] = 0 :

    the score of a likelihood has mean zero. A network comes near to it, but where the scores of many observations are
    added, so are their means: over :math:`T` observations the mean of a posterior is off by as much as one of them says
    too much, at any :math:`T`, whereas its spread falls as :math:`1 / \sqrt T`. What is left of the error when the mean
    is taken off grows as the spread does.

    It is fitted by least squares, as a polynomial in :math:`\bar v` (powers of each number, and products of two) whose
    coefficients are linear in :math:`\log \tan\varphi` between some levels of noise, in units of scores: :math:`F /
    \tan\varphi`. The fit is shrunk as generalised cross-validation says, so that of few rows little is made.

    Args:
        numbers: The number of entries of :math:`v`.
        outputs: The number of residuals, each with a mean of its own.
    """

    coefficients: Tensor

    def __init__(self, numbers: int, outputs: int) -> None:
        super().__init__()
        self.outputs, self.pairs = outputs, list(combinations(range(numbers), 2))
        terms = 1 + DEGREE * numbers + len(self.pairs)
        self.register_buffer("coefficients", torch.zeros(LEVELS, terms, outputs))

    def forward(self, v: Tensor, angle: Tensor) -> Tensor:
        r"""The mean.

        Args:
            v: Noisy numbers, with shape ``(rows, numbers)``.
            angle: Their angles, with shape ``(rows,)``, or ``(1,)`` if it is one for all.

        Returns:
            The mean of :math:`F`, with shape ``(rows, outputs)``.
        """
        level = (self.levels(angle) @ self.coefficients.flatten(1)).unflatten(1, self.coefficients.shape[1:])
        return angle.tan().clamp(max=MOST).unsqueeze(-1) * (self.terms(v).unsqueeze(1) @ level).squeeze(1)

    @torch.no_grad()
    def fit(self, rows: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Fits the mean, to as many rows as there are, or are enough.

        Args:
            rows: The rows in parts: noisy numbers, their angles, and residuals, with shape ``(rows, outputs)``.
        """
        size = self.coefficients[..., 0].numel()
        normal, right = (self.coefficients.new_zeros(size, n, dtype=torch.float64) for n in (size, self.outputs))
        total, count = right.new_zeros(()), 0
        for v, angle, residual in rows:
            design = (self.levels(angle).unsqueeze(-1) * self.terms(v).unsqueeze(1)).flatten(1).double()
            score = (residual / angle.tan().unsqueeze(-1)).double()
            normal += design.mT @ design
            right += design.mT @ score
            total, count = total + score.square().sum(), count + len(score)
            if count >= ROWS:
                break
        values, vectors = torch.linalg.eigh(normal)
        values, right = values.clamp(min=0).unsqueeze(-1), vectors.mT @ right
        # Of ridges of all magnitudes, the one with the least error of rows that were left out.
        ridged = values + values.mean() * torch.logspace(-6, 6, 49, dtype=torch.float64, device=values.device)
        explained = (right.square().sum(dim=1, keepdim=True) * (2 - values / ridged) / ridged).sum(dim=0)
        best = ((total - explained) / (count - (values / ridged).sum(dim=0)).clamp(min=1).square()).argmin()
        self.coefficients.copy_((vectors @ (right / ridged[:, best, None])).view_as(self.coefficients))

    @staticmethod
    def angles(share: Tensor) -> Tensor:
        """Angles over all levels, evenly in the logarithm of the noise, of shares of the unit interval."""
        return (LEAST * (MOST / LEAST) ** share).atan()

    def levels(self, angle: Tensor) -> Tensor:
        """The share of each level at angles, with shape ``(rows, levels)``."""
        place = (angle.tan().log() - log(LEAST)) * ((LEVELS - 1) / log(MOST / LEAST))
        apart = place.clamp(0, LEVELS - 1).unsqueeze(-1) - torch.arange(LEVELS, device=angle.device)
        return (1 - apart.abs()).clamp(min=0)

    def terms(self, v: Tensor) -> Tensor:
        """The terms of the polynomial, orthonormal for standard normal numbers, with shape ``(rows, terms)``."""
        v = v.clamp(-BEYOND, BEYOND)
        powers = [torch.ones_like(v), v]
        for power in range(1, DEGREE):
            # Hermite polynomials of unit variance.
            powers.append((v * powers[-1] - power**0.5 * powers[-2]) / (power + 1) ** 0.5)
        products = [(v[:, i] * v[:, j]).unsqueeze(-1) for i, j in self.pairs]
        return torch.cat((powers[0][:, :1], *powers[1:], *products), dim=1)
