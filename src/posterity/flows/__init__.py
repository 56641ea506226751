r"""Normalizing flows: densities over fields and vectors, conditioned on a context.

**Change of variables.** An invertible map :math:`f` from values :math:`z` to standard normal noise, for each context
:math:`c`, defines the density

.. math:: \log q(z | c) = \log N(f(z; c); 0, I) + \log \left| \det \frac{\partial f(z; c)}{\partial z} \right| ,

and draws :math:`z = f^{-1}(\varepsilon; c)` with :math:`\varepsilon \sim N(0, I)`. The log-determinants of
composed maps add. Every map here returns that of the direction from values to noise, also when it is inverted, so that
the equation serves densities and draws alike.

**Autoregressive and coupling maps** (:mod:`.autoregressive`, :mod:`.vector`) are triangular: an entry is mapped by a
monotone function of its own, whose parameters a network gives from entries of lower rank and the context,

.. math:: z_i \mapsto S_i\left( e^{s_i} z_i + m_i \right), \quad (s_i, m_i, S_i) = f_i(z_{<i}, c), \qquad
    \log|\det| = \sum_i \left[ s_i + \log S_i'\left( e^{s_i} z_i + m_i \right) \right] .

Autoregressive maps give each entry a rank of its own, and are inverted entry by entry; couplings transform one half of
the entries given the other, and are inverted in one pass. The affine part brings what is narrow or far from zero to
where splines act.

**Splines** (:mod:`.spline`) are monotone and rational-quadratic on :math:`[-5, 5]`, the identity elsewhere. Between
knots :math:`(x_k, y_k)` and :math:`(x_{k+1}, y_{k+1})` with slopes :math:`d_k, d_{k+1}`,

.. math:: S(x) = y_k + \frac{(y_{k+1} - y_k) \left( s \xi^2 + d_k \xi (1 - \xi) \right)}
    {s + (d_k + d_{k+1} - 2 s) \xi (1 - \xi)}, \qquad
    \xi = \frac{x - x_k}{x_{k+1} - x_k}, \quad s = \frac{y_{k+1} - y_k}{x_{k+1} - x_k} ,

which a quadratic equation inverts. Widths, heights and slopes of the bins come from the network, within limits.

**Multi-scale flows** (:mod:`.multiscale`, :mod:`.invertible`) act on periodic fields. Squeezing turns the neighbours
of a site into its channels on a grid of half the size; at each scale follow a normalisation, a convolution and
couplings between channels, steered by the context of the site. After the coarsest scale the field is unsqueezed: no
variables are factored out on the way, and all of them pass through all scales.

**Gaussians** (:mod:`.gaussians`) are flows without transforms: their mean, and their scale or precision, are read from
the context by a linear layer. A point is their limit without a spread, and has no density.

**Context.** Fields are conditioned on a field over the same grid, vectors on a vector. A plan (:class:`Flow`) holds
options only; ``build`` makes the module once both shapes are known.

References:
    | Normalizing Flows for Probabilistic Modeling and Inference (Papamakarios et al., 2019),
      https://arxiv.org/abs/1912.02762
    | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057
    | Density Estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
    | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal, 2018),
      https://arxiv.org/abs/1807.03039
"""

from .flow import ConditionalFlow, Flow
from .gaussians import Delta, DiagonalGaussian, FullGaussian
from .multiscale import MultiScale
from .vector import AutoregressiveSpline, CouplingSpline, MaskedAutoregressive

__all__ = [
    "AutoregressiveSpline",
    "ConditionalFlow",
    "CouplingSpline",
    "Delta",
    "DiagonalGaussian",
    "Flow",
    "FullGaussian",
    "MaskedAutoregressive",
    "MultiScale",
]
