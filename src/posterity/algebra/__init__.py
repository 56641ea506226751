r"""Linear algebra of Gaussians whose matrices are too large to hold, in batches over cases.

:func:`conjugate_gradients` solves with a matrix that is known by its products alone.

A Gaussian is a mean and a :class:`Factor`, a root :math:`S` of its covariance :math:`P = S S^T`. Kinds of factors:

- :class:`CovarianceFactor` and :class:`PrecisionFactor`, dense triangular matrices;
- :class:`LowRankFactor`, a diagonal and a few directions, :math:`P^{-1} = D^{-1} (I + V (\Lambda - I) V^T) D^{-1}`; the
  directions come from :func:`leading_eigenpairs` of a matrix that is known by its products alone;
- :class:`TridiagonalFactor`, of the block-tridiagonal precision of a Markov chain, bordered by constants, and
  :class:`ChainFactor`, of the same in terms of the errors of the chain.

A :class:`Precision` is a matrix of such a structure that can be multiplied and factorised, and a :class:`Curvature` one
that can be changed.
"""

from .cg import Solution, conjugate_gradients
from .chain import Chain, ChainFactor, ChainPrecision
from .factors import CovarianceFactor, Factor, PrecisionFactor
from .gaussian import Density, Gaussian, white_entropy
from .lanczos import Eigenpairs, leading_eigenpairs
from .lowrank import LowRankFactor
from .precisions import Curvature, DensePrecision, LowRankPrecision, Precision
from .tridiagonal import Tridiagonal, TridiagonalFactor

__all__ = [
    "Chain",
    "ChainFactor",
    "ChainPrecision",
    "CovarianceFactor",
    "Curvature",
    "DensePrecision",
    "Density",
    "Eigenpairs",
    "Factor",
    "Gaussian",
    "LowRankFactor",
    "LowRankPrecision",
    "Precision",
    "PrecisionFactor",
    "Solution",
    "Tridiagonal",
    "TridiagonalFactor",
    "conjugate_gradients",
    "leading_eigenpairs",
    "white_entropy",
]
