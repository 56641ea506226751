"""Flows over vectors, from zuko: fields are flattened, and every entry sees every other."""

import abc
from collections.abc import Sequence
from math import prod

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from zuko.flows import GeneralCouplingTransform, MaskedAutoregressiveTransform
from zuko.lazy import LazyTransform, UnconditionalDistribution
from zuko.transforms import ComposedTransform, MonotonicAffineTransform

from ..nn import ConditionalFlow
from ..nn import Flow as Plan
from ..nn.spline import spline


class VectorFlow(ConditionalFlow):
    """A flow of zuko over flattened fields, given flattened fields.

    Args:
        shape: The shape of what it is a density of.
        transforms: Its transforms, from what it is a density of to a standard normal vector.
    """

    def __init__(self, shape: Sequence[int], transforms: Sequence[LazyTransform]) -> None:
        super().__init__()
        self.shape, size = tuple(shape), prod(shape)
        base = UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(size), torch.ones(size), buffer=True
        )
        self.flow = zuko.flows.Flow(transforms, base)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density of fields of shape ``(case, *shape)``."""
        return self.flow(context.flatten(1)).log_prob(z.flatten(1))

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        z, log_q = self.flow(context.flatten(1)).rsample_and_log_prob(())
        return z.unflatten(-1, self.shape), log_q


class VectorPlan(Plan):
    """What the plans of flows over vectors share.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.
    """

    def __init__(self, transforms: int, hidden: Sequence[int]) -> None:
        if transforms < 1:
            raise ValueError(f"transforms: at least one is needed, not {transforms}")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden: at least one width, all of them positive, are needed, not {list(hidden)}")
        self.transforms, self.hidden = transforms, tuple(hidden)

    def build(self, shape: Sequence[int], context: Sequence[int]) -> VectorFlow:
        """Makes the module, for fields and vectors of any shape."""
        size, given = prod(shape), prod(context)
        return VectorFlow(shape, [self.transform(k, size, given) for k in range(self.transforms)])

    @abc.abstractmethod
    def transform(self, index: int, size: int, context: int) -> LazyTransform:
        """One of the transforms.

        Args:
            index: Which one.
            size: The number of entries.
            context: The number of entries of the context.
        """


class CouplingSpline(VectorPlan):
    r"""A coupling flow of monotone splines: half of the entries are transformed given the other half and the context,

    .. math:: z_b \mapsto S\!\left( \frac{z_b - \mu}{\sigma} \right), \qquad (\mu, \sigma, S) = f(z_a, c) ,

    with rational-quadratic splines :math:`S` on :math:`[-5, 5]`, the identity elsewhere. The affine map before each
    spline brings what is narrow or far from zero to where splines act. The halves are the zeros and ones
    of a binary digit of the entries' numbers, another digit for every two transforms: neighbours are split first, and
    within :math:`2 \log_2` of the number of entries any two of them. Draws cost as little as densities.

    Args:
        transforms: The number of transforms; an even number transforms all entries equally often.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline.

    References:
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
        | Density Estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
    """  # noqa: D415

    def __init__(self, transforms: int = 6, hidden: Sequence[int] = (128, 128), bins: int = 8) -> None:
        super().__init__(transforms, hidden)
        self.bins = check_bins(bins)

    def transform(self, index: int, size: int, context: int) -> LazyTransform:
        """A coupling; a single entry has no other, and sees the context alone."""
        return GeneralCouplingTransform(
            size,
            context,
            halves(size, index) if size > 1 else None,
            univariate=affine_spline,
            shapes=spline_shapes(self.bins),
            hidden_features=self.hidden,
            activation=nn.SiLU,
        )


class MaskedAutoregressive(VectorPlan):
    r"""An autoregressive flow of affine maps, each entry given those before it and the context,

    .. math:: z_i \mapsto \frac{z_i - \mu_i}{\sigma_i}, \qquad (\mu_i, \sigma_i) = f_i(z_{<i}, c) ,

    the order reversed from one transform to the next. One transform holds any Gaussian exactly. A draw takes as many
    passes through each network as there are entries: slow for large fields.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.

    References:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057
    """  # noqa: D415

    def __init__(self, transforms: int = 4, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__(transforms, hidden)

    def transform(self, index: int, size: int, context: int) -> LazyTransform:
        """An autoregressive transform."""
        return MaskedAutoregressiveTransform(
            size, context, order=order(size, index), hidden_features=self.hidden, activation=nn.SiLU
        )


class AutoregressiveSpline(VectorPlan):
    r"""A neural spline flow: autoregressive, each entry by an affine map and a monotone spline,

    .. math:: z_i \mapsto S_i\!\left( \frac{z_i - \mu_i}{\sigma_i} \right), \qquad
        (\mu_i, \sigma_i, S_i) = f_i(z_{<i}, c) ,

    with splines as those of :class:`CouplingSpline`, the order reversed from one transform to the next. The
    most flexible of the flows over vectors. A draw takes as many passes through each network as there are entries:
    slow for large fields.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline.

    References:
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """  # noqa: D415

    def __init__(self, transforms: int = 3, hidden: Sequence[int] = (128, 128), bins: int = 8) -> None:
        super().__init__(transforms, hidden)
        self.bins = check_bins(bins)

    def transform(self, index: int, size: int, context: int) -> LazyTransform:
        """An autoregressive transform."""
        return MaskedAutoregressiveTransform(
            size,
            context,
            order=order(size, index),
            univariate=affine_spline,
            shapes=spline_shapes(self.bins),
            hidden_features=self.hidden,
            activation=nn.SiLU,
        )


class Spline(Transform):
    """A monotone rational-quadratic spline as a transform of zuko's flows, in half of the time of theirs.

    Args:
        raw: Its unconstrained parameters, with shape ``(*batch, 3 * bins - 1)``.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, raw: Tensor) -> None:
        super().__init__()
        self.raw = raw

    def _call(self, x: Tensor) -> Tensor:
        return spline(x, self.raw)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return spline(y, self.raw, inverse=True)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The logarithm of its slope."""
        return spline(x, self.raw)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Its values, and the logarithms of its slopes."""
        return spline(x, self.raw)


def affine_spline(shift: Tensor, scale: Tensor, raw: Tensor) -> Transform:
    """A monotone map of numbers: affine, then a rational-quadratic spline."""
    return ComposedTransform(MonotonicAffineTransform(shift, scale), Spline(raw))


def spline_shapes(bins: int) -> list[tuple[int, ...]]:
    """The shapes of what :func:`affine_spline` takes for one number."""
    return [(), (), (3 * bins - 1,)]


def halves(size: int, index: int) -> Tensor:
    """Which entries the transform of some number leaves alone: half of them, and the other half in the next one."""
    digit = (index // 2) % max(1, (size - 1).bit_length())
    return (torch.arange(size) >> digit) % 2 != index % 2


def order(size: int, index: int) -> Tensor:
    """The order of entries in the transform of some number: forward and backward in turn."""
    forward = torch.arange(size)
    return forward.flip(0) if index % 2 else forward


def check_bins(bins: int) -> int:
    """Refuses splines that cannot bend."""
    if bins < 2:
        raise ValueError(f"bins: at least two are needed, not {bins}")
    return bins
