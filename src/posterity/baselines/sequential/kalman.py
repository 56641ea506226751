"""The algebra of ensemble Kalman methods: updates in the space of the members, inflation and rotation."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...tensors import identity, white_noise
from .record import Filter, Record


class Update(NamedTuple):
    r"""Linear update of ensembles, :math:`E + L R A`, the same for all values of the members.

    :math:`A` are the anomalies of the ensemble :math:`E`, one row for each member. Kept in two factors, since their
    rank may be far below the number of members.

    Args:
        left: The factor :math:`L`, with shape ``(case, members, rank)``.
        right: The factor :math:`R`, with shape ``(case, rank, members)``.
    """

    left: Tensor
    right: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Updates an ensemble of shape ``(members, case, size)``.

        In double precision: where observations are precise, what is left is a small difference of large numbers.
        """
        wide = z.double()
        anomalies = (wide - wide.mean(dim=0)).movedim(0, 1)
        if self.left.shape[-1] > len(z):
            return (wide + ((self.left @ self.right) @ anomalies).movedim(1, 0)).to(z)
        return (wide + (self.left @ (self.right @ anomalies)).movedim(1, 0)).to(z)


class Spectrum(NamedTuple):
    r"""Powers of :math:`I + S S^T` by eigendecomposition, for a matrix :math:`S` with a row for each member:

    .. math:: (I + S S^T)^p = I + F\, \mathrm{diag}\Big(\frac{(1 + \lambda)^p - 1}{\nu}\Big) F^T

    with the eigenvalues :math:`\lambda` of the smaller of the matrices :math:`S S^T` and :math:`S^T S`. Its
    eigenvectors :math:`V` make :math:`F = V, \nu = 1` of the first, and :math:`F = S V, \nu = \lambda` of the second.

    Args:
        factor: The columns :math:`F`, with shape ``(*batch, members, rank)``, in double precision.
        eigenvalue: The eigenvalues :math:`\lambda`, with shape ``(*batch, rank)``.
        norm: The squared norms :math:`\nu` of the columns, with the same shape.
    """

    factor: Tensor
    eigenvalue: Tensor
    norm: Tensor

    @classmethod
    def of(cls, s: Tensor) -> "Spectrum":
        """Decomposes :math:`S`, with shape ``(*batch, members, observations)``."""
        s = s.double()
        if s.shape[-2] <= s.shape[-1]:
            return cls.of_gram(s @ s.mT)
        eigenvalue, vectors = torch.linalg.eigh(s.mT @ s)
        eigenvalue = eigenvalue.clamp(min=0)
        return cls(s @ vectors, eigenvalue, eigenvalue)

    @classmethod
    def of_gram(cls, gram: Tensor) -> "Spectrum":
        """Decomposes :math:`S S^T` itself, with shape ``(*batch, members, members)``."""
        eigenvalue, vectors = torch.linalg.eigh(gram)
        return cls(vectors, eigenvalue.clamp(min=0), torch.ones_like(eigenvalue))

    def where(self, condition: Tensor, other: "Spectrum") -> "Spectrum":
        """This decomposition where a condition of shape ``(*batch,)`` holds, another of the same shape elsewhere."""
        vector = condition.unsqueeze(-1)
        return Spectrum(
            torch.where(vector.unsqueeze(-1), self.factor, other.factor),
            torch.where(vector, self.eigenvalue, other.eigenvalue),
            torch.where(vector, self.norm, other.norm),
        )

    def coefficient(self, p: float) -> Tensor:
        r"""The coefficients :math:`((1 + \lambda)^p - 1) / \nu`, with shape ``(*batch, rank)``."""
        growth = torch.expm1(p * self.eigenvalue.log1p())
        # The limit of a vanishing eigenvalue, where the columns vanish as well.
        return torch.where(self.norm > 0, growth / self.norm, p)

    def power(self, p: float, b: Tensor) -> Tensor:
        r"""The product :math:`(I + S S^T)^p\, b`, with ``b`` of shape ``(*batch, members, columns)``."""
        return b + self.factor @ (self.coefficient(p).unsqueeze(-1) * (self.factor.mT @ b))

    def update(self, weight: Tensor) -> Update:
        r"""The square-root update :math:`\bar x + (w + (I + S S^T)^{-1/2}) A`.

        Args:
            weight: The weights :math:`w` of the mean, with shape ``(case, members, 1)``.
        """
        root = self.factor * self.coefficient(-0.5).unsqueeze(-2)
        left = torch.cat((torch.ones_like(weight), root), dim=-1)
        return Update(left, torch.cat((weight, self.factor), dim=-1).mT)


def whitened_anomalies(innovation: Tensor) -> tuple[Tensor, Tensor]:
    r"""Splits innovations into their mean and the observed anomalies, of which the Kalman gain is made.

    Args:
        innovation: The whitened innovations of each member, with shape ``(members, case, observations)``.

    Returns:
        The observed anomalies :math:`S = Y R^{-1/2} / \sqrt{N - 1}` of the ``N`` members, with shape
        ``(case, members, observations)``, and the mean innovations, with shape ``(case, observations, 1)``; in double
        precision.
    """
    d = innovation.movedim(0, 1).double()
    mean = d.mean(dim=1, keepdim=True)
    return (mean - d) / (d.shape[1] - 1) ** 0.5, mean.mT


def solve_gain(s: Tensor, d: Tensor) -> Tensor:
    r"""The product :math:`(I + S S^T)^{-1} S d`, by the smaller of :math:`I + S S^T` and :math:`I + S^T S`.

    Unlike the difference that :meth:`Spectrum.power` takes, it keeps its digits where observations are precise.

    Args:
        s: The observed anomalies :math:`S`, with shape ``(*batch, members, observations)``.
        d: The innovations :math:`d`, with shape ``(*batch, observations, columns)``.

    Returns:
        The product, with shape ``(*batch, members, columns)``.
    """
    if s.shape[-2] <= s.shape[-1]:
        return solve_shifted(s @ s.mT, s @ d)
    return s @ solve_shifted(s.mT @ s, d)


def gain(s: Tensor) -> Tensor:
    r"""The matrix :math:`(I + S S^T)^{-1} S = S (I + S^T S)^{-1}`, by the smaller of both: nothing is larger than it.

    Args:
        s: The observed anomalies :math:`S`, with shape ``(*batch, members, observations)``.

    Returns:
        The matrix, with the same shape.
    """
    if s.shape[-2] <= s.shape[-1]:
        return solve_shifted(s @ s.mT, s)
    return solve_shifted(s.mT @ s, s.mT).mT


def solve_shifted(gram: Tensor, b: Tensor) -> Tensor:
    r"""The solution :math:`(I + G)^{-1} b`, NaN where :math:`G` is not finite."""
    return torch.cholesky_solve(b, torch.linalg.cholesky_ex(identity(gram, gram.shape[-1]) + gram).L)


def square_root(innovation: Tensor) -> Update:
    r"""The update of the ensemble transform Kalman filter, with the symmetric square root:

    .. math::
        E = \bar x + \Big(\frac{(I + S S^T)^{-1} S\, \bar d}{\sqrt{N - 1}} + (I + S S^T)^{-1/2}\Big) A .

    Args:
        innovation: The whitened innovations of each member, with shape ``(members, case, observations)``.

    Returns:
        The update.
    """
    s, mean = whitened_anomalies(innovation)
    return Spectrum.of(s).update(solve_gain(s, mean) / (len(innovation) - 1) ** 0.5)


def contrasts(members: int, like: Tensor) -> Tensor:
    """An orthonormal basis of what has no mean over the members, row by row.

    Args:
        members: The number of members.
        like: A tensor whose dtype and device it has.

    Returns:
        The matrix, with shape ``(members - 1, members)``.
    """
    # All but the first row of the reflection that swaps the first axis with the direction of ones.
    v = like.new_full((members, 1), -(members**-0.5))
    v[0] += 1
    return (identity(like, members) - 2 * v @ v.mT / v.square().sum())[1:]


def orthogonal(size: int, like: Tensor) -> Tensor:
    """Draws an orthogonal matrix, uniform among all of them, in the dtype and on the device of another tensor."""
    q, r = torch.linalg.qr(white_noise(like, size, size))
    return q * r.diagonal().sign()  # else the draw depends on how the factorisation chooses signs


def rotation(members: int, like: Tensor) -> Tensor:
    """Draws a mean-preserving rotation: an orthogonal matrix, uniform among those that keep the vector of ones.

    Args:
        members: The number of members.
        like: A tensor whose dtype and device it has.

    Returns:
        The matrix, with shape ``(members, members)``.
    """
    basis = contrasts(members, like)
    return basis.mT @ orthogonal(members - 1, like) @ basis + 1 / members


def rotated_update(z: Tensor, innovation: Tensor, inflation: float) -> Tensor:
    r"""The update of an ensemble by a square root, a random rotation, and inflation :math:`\rho`:

    .. math::
        E = \bar x + \frac{(C^{-1} s \bar d)^T C^{-1} Q A}{\sqrt{N - 1}} + \rho\, Q^T \Omega\, C^{-1} Q A, \qquad
        C C^T = I + s s^T, \quad s = Q S ,

    with a basis :math:`Q` of what has no mean and a uniform orthogonal matrix :math:`\Omega`, the same for all cases.
    Two roots differ by an orthogonal matrix, and so :math:`\Omega` makes all of them alike: this is the symmetric root
    of :func:`square_root`, rotated, in distribution. A triangular one costs much less than eigenvectors do.

    Args:
        z: The ensemble, with shape ``(members, case, size)``.
        innovation: The whitened innovations of each member, with shape ``(members, case, observations)``.
        inflation: The factor of the anomalies.

    Returns:
        The ensemble, with shape ``(members, case, size)``.
    """
    members, _, size = z.shape
    basis = contrasts(members, z.double())
    # In double precision, as all updates; anomalies of states and of what is observed of them by one product.
    both = torch.cat((z, innovation), dim=-1).double()
    mean, anomalies = both.mean(dim=0), torch.tensordot(basis, both, dims=1).movedim(1, 0)
    s = anomalies[..., size:] / -((members - 1) ** 0.5)
    pull = s @ mean[:, size:, None]
    root = torch.linalg.cholesky_ex(identity(s, members - 1) + s @ s.mT).L
    halved = torch.linalg.solve_triangular(root, torch.cat((anomalies[..., :size], pull), dim=-1), upper=False)
    analysed, weight = halved[..., :size], halved[..., size:]
    moved = mean[:, :size] + (weight.mT @ analysed).squeeze(1) / (members - 1) ** 0.5
    turn = inflation * basis.mT @ orthogonal(members - 1, z).double()
    return (moved + torch.tensordot(turn, analysed.movedim(1, 0), dims=1)).to(z)


def inflate_and_rotate(z: Tensor, inflation: float = 1.0, rotate: bool = False) -> Tensor:
    """Rotates the anomalies of an ensemble at random, and inflates them.

    Args:
        z: The ensemble, with shape ``(members, case, …)``.
        inflation: The factor of the anomalies.
        rotate: Whether to rotate them, those of all cases by the same matrix.

    Returns:
        The ensemble, with the same mean.
    """
    if inflation == 1 and not rotate:
        return z
    mean = z.mean(dim=0)
    anomalies = z - mean
    if rotate:
        anomalies = torch.tensordot(rotation(len(z), z), anomalies, dims=1)
    return mean + inflation * anomalies


def check_inflation(inflation: float) -> None:
    """Checks that an inflation is positive."""
    if inflation <= 0:
        raise ValueError(f"inflation: the factor of the anomalies must be positive, not {inflation}")


@dataclass(frozen=True)
class EnsembleKalman(Filter):
    """Abstract ensemble Kalman filter: an update, then inflation and rotation of the analysis.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied.
        rotation: Whether they are rotated at random, which keeps mean and covariance but not the tails that
            deterministic updates grow in nonlinear models. One rotation serves all cases.
    """

    inflation: float = 1.0
    rotation: bool = False

    def __post_init__(self) -> None:
        """Checks that there are two members, and that the inflation is positive."""
        super().__post_init__()
        check_inflation(self.inflation)

    @abc.abstractmethod
    def update(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Assimilates the observations of one time.

        Args:
            z: The forecast ensemble, with shape ``(members, case, size)``.
            innovation: The whitened innovations of each member, with shape ``(members, case, observations)``.

        Returns:
            The analysis ensemble.
        """

    def analyse(self, z: Tensor, innovation: Tensor, record: Record, t: int) -> Tensor:
        """Updates, rotates and inflates."""
        return inflate_and_rotate(self.update(z, innovation), self.inflation, self.rotation)
