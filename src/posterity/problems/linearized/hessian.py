"""The Gauss–Newton Hessian of a control with the structure that it has, and the Laplace approximation with it."""

from ...algebra import (
    Curvature,
    DensePrecision,
    Eigenpairs,
    Gaussian,
    LowRankFactor,
    LowRankPrecision,
    Precision,
    leading_eigenpairs,
)
from ..chunks import LARGE, chunks
from .model import LinearModel, selected


def structured(model: LinearModel) -> Precision:
    """The Hessian as a matrix, if that is not known already, or block by block; as many cases at a time as fit a chunk.

    Args:
        model: The linearised model, of a control that is not large, at one point for each case.
    """
    control, parts = model.control, []
    if not control.is_chain:
        return DensePrecision(model.dense())
    for cases in chunks(control.cases, model.states * control.states**2, model.u.device):
        with selected(control, cases) as part:
            parts.append(part.hessian(model.u[cases], model.states))
    return type(parts[0]).cat(parts)


def eigenpairs(model: LinearModel, number: int) -> Eigenpairs:
    """Leading eigenpairs of the Hessian of the misfit, from its products; see :func:`leading_eigenpairs`.

    Args:
        model: The linearised model, of a control with a white prior.
        number: The number of directions, each of which takes a product.
    """
    return leading_eigenpairs(lambda v: model.hessian(v) - v, model.u, number)


def laplace(model: LinearModel, number: int) -> Gaussian:
    r"""The Laplace approximation, :math:`N(u, (I + G^T R^{-1} G)^{-1})`.

    Args:
        model: The linearised model.
        number: The number of leading directions in which it differs from the prior, where the control is too large for
            matrices. Directions behind them keep the variances of the prior, which is more than they have.
    """
    if model.control.is_large:
        return Gaussian(model.u.double(), LowRankFactor.of(eigenpairs(model, number)))
    return Gaussian(model.u.double(), structured(model).factor())


def curvature(model: LinearModel, number: int) -> Curvature:
    """The Hessian in a form that averages over draws can change.

    Args:
        model: The linearised model.
        number: The number of leading directions, where the control is too large for matrices.

    Raises:
        ValueError: If the control is of states too large for matrices.
    """
    if model.size <= LARGE and model.control.white:
        return DensePrecision(model.dense())
    if model.control.white:
        return LowRankPrecision.of(lambda v: model.hessian(v) - v, model.u, number)
    if model.control.is_large:
        raise ValueError(
            f"family: blocks of {model.control.states} entries are too large for matrices (up to {LARGE}); use one "
            "over the control, low-rank or mean-field"
        )
    found = structured(model)
    assert isinstance(found, Curvature)
    return found
