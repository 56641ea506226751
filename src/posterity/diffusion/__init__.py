r"""Diffusion models: schedules, denoisers, guidance, samplers, and densities by the probability flow.

**The circle.** Data :math:`z` of unit variance and noise :math:`\varepsilon \sim N(0, I)` are mixed at an angle, from
data at :math:`\varphi = 0` to noise at :math:`\varphi = \pi / 2`,

.. math:: \bar x = \cos\varphi\, z + \sin\varphi\, \varepsilon .

All ways of adding noise, :math:`x_t = \alpha_t z + \sigma_t \varepsilon`, are this one in units of
:math:`(\alpha_t^2 + \sigma_t^2)^{1/2}`, with :math:`\tan\varphi = \sigma_t / \alpha_t`. What is left of a schedule
(:mod:`.schedules`) is a grid of angles for samplers, and a density of angles for losses.

**Denoisers.** By Tweedie's formula, the mean of the data given noisy ones follows from the score, and their covariance
from the Jacobian of this mean,

.. math:: E[z | \bar x] = \frac{\bar x + \sin^2\varphi\, \nabla_{\bar x} \log p(\bar x)}{\cos\varphi}, \qquad
    \mathrm{Cov}[z | \bar x] = \sin\varphi \tan\varphi\, \frac{\partial E[z | \bar x]}{\partial \bar x} .

A denoiser (:mod:`.denoisers`) is this mean, and the products with its derivative. A network learns the residual
:math:`F`, the mean of the component orthogonal to :math:`\bar x` on the circle, and the denoiser follows from it,

.. math:: F(\bar x, \varphi, c) \approx E[\sin\varphi\, z - \cos\varphi\, \varepsilon \mid \bar x, c], \qquad
    D(\bar x, \varphi, c) = \cos\varphi\, \bar x + \sin\varphi\, F(\bar x, \varphi, c) \approx E[z | \bar x, c] ,

given a context :math:`c`. :math:`\bar x` and the target of :math:`F` have unit variance at every angle, and
:math:`F = 0` is exact for standard normal data.

**Probability flow.** Points that follow the mean of :math:`d \bar x / d\varphi` have, at each angle, the density of
noisy data. Along their path the log-density falls by the divergence of the velocity (the instantaneous change of
variables), so that an integral from data :math:`z` to noise at :math:`\varphi_1 \approx \pi / 2` (:mod:`.ode`) gives

.. math:: \frac{d \bar x}{d\varphi} = -F(\bar x, \varphi, c) = \frac{\cos\varphi\, \bar x - D}{\sin\varphi}, \qquad
    \log q(z | c) = \log N(\bar x_{\varphi_1}; 0, I)
    - \int_0^{\varphi_1} \nabla \cdot F(\bar x, \varphi, c)\, d\varphi .

**Guidance.** Of observations :math:`y \sim N(H(z), R)` that a denoiser has not seen, an approximate likelihood
:math:`p(y | \bar x)` of noisy data (:mod:`.guidance`) makes the posterior's denoiser from the prior's,

.. math:: E[z | \bar x, y] = \hat x + \frac{\sin^2\varphi}{\cos\varphi} \nabla_{\bar x} \log p(y | \bar x), \qquad
    p(y | \bar x) \approx N\big(y;\; H(\hat x),\; R + A V A^T\big), \quad \hat x = E[z | \bar x] ,

with :math:`A = \partial H / \partial \hat x` and some estimate :math:`V` of :math:`\mathrm{Cov}[z | \bar x]`.

**Samplers.** A sampler (:mod:`.samplers`) starts from noise and goes down the grid of angles: by the probability flow,
by steps that replace a part of the noise, or with Langevin corrections. It asks for the mean of a denoiser only.

**Trajectories.** Denoisers of windows make one of a trajectory of any length (:mod:`.compositions`).

References:
    | Tweedie's Formula and Selection Bias (Efron, 2011), https://doi.org/10.1198/jasa.2011.tm11181
    | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
      https://arxiv.org/abs/2011.13456
    | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
      https://arxiv.org/abs/2206.00364
    | Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
    | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
"""

from .centring import Centring
from .denoisers import DampedResidual, Denoiser, LearnedDenoiser, Mean, Residual, denoising_loss
from .guidance import DPSGuidance, Guidance, Likelihood, MomentMatching, SDAGuidance
from .ode import flow, integrate, probe, transport
from .samplers import Ancestral, Multistep, PredictorCorrector, RungeKutta, Sampler
from .schedules import EDM, Schedule, Straight

__all__ = [
    "EDM",
    "Ancestral",
    "Centring",
    "DPSGuidance",
    "DampedResidual",
    "Denoiser",
    "Guidance",
    "LearnedDenoiser",
    "Likelihood",
    "Mean",
    "MomentMatching",
    "Multistep",
    "PredictorCorrector",
    "Residual",
    "RungeKutta",
    "SDAGuidance",
    "Sampler",
    "Schedule",
    "Straight",
    "denoising_loss",
    "flow",
    "integrate",
    "probe",
    "transport",
]
