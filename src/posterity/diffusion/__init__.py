r"""Diffusion models: noise schedules, denoisers, guidance, samplers, and densities by the probability flow.

**Schedules.** Data :math:`z` are mixed with noise :math:`\varepsilon \sim N(0, I)`, from nearly data at :math:`t = 0`
to nearly noise at :math:`t = 1`,

.. math:: x_t = \alpha_t z + \sigma_t \varepsilon, \qquad
    \bar x = \frac{x_t}{s} = \cos\varphi\, z + \sin\varphi\, \varepsilon, \qquad
    s^2 = \alpha_t^2 + \sigma_t^2, \quad \tan\varphi = \sigma_t / \alpha_t .

On the circle of :math:`\bar x` all schedules agree: the angle :math:`\varphi` is 0 for data and :math:`\pi / 2` for
noise, and data of unit variance keep unit variance. A schedule (:mod:`.schedules`) sets the angles that samplers visit.

**Denoisers.** By Tweedie's formula, the mean of the data given noisy ones follows from the score, and their covariance
from the Jacobian of this mean,

.. math:: E[z | x_t] = \frac{x_t + \sigma_t^2 \nabla_{x_t} \log p(x_t)}{\alpha_t}, \qquad
    \mathrm{Cov}[z | x_t] = \frac{\sigma_t^2}{\alpha_t} \frac{\partial E[z | x_t]}{\partial x_t} .

A network (:mod:`.denoisers`) learns the residual :math:`F`, the mean of the component orthogonal to :math:`\bar x` on
the circle, and the denoiser follows from it,

.. math:: F(\bar x, \varphi, c) \approx E[\sin\varphi\, z - \cos\varphi\, \varepsilon \mid \bar x, c], \qquad
    D(x_t, t, c) = \cos\varphi\, \bar x + \sin\varphi\, F(\bar x, \varphi, c) \approx E[z | x_t, c] ,

given a context :math:`c`. :math:`\bar x` and the target of :math:`F` have unit variance at every angle, and
:math:`F = 0` is exact for standard normal data.

**Probability flow.** Points that follow the mean of :math:`d \bar x / d\varphi` have, at each angle, the density of
noisy data. Along their path the log-density falls by the divergence of the velocity (the instantaneous change of
variables), so that an integral from data :math:`z` at :math:`\varphi_0 \approx 0` to noise at
:math:`\varphi_1 \approx \pi / 2` (:mod:`.ode`) gives

.. math:: \frac{d \bar x}{d\varphi} = -F(\bar x, \varphi, c) = \frac{\cos\varphi\, \bar x - D}{\sin\varphi}, \qquad
    \log q(z | c) = \log N(\bar x_{\varphi_1}; 0, I)
    - \int_{\varphi_0}^{\varphi_1} \nabla \cdot F(\bar x, \varphi, c)\, d\varphi .

**Guidance.** Of observations :math:`y \sim N(H(z), R)` that a denoiser has not seen, an approximate likelihood
:math:`p(y | x_t)` of noisy data (:mod:`.guidance`) makes the posterior's denoiser from the prior's,

.. math:: E[z | x_t, y] = E[z | x_t] + \frac{\sigma_t^2}{\alpha_t} \nabla_{x_t} \log p(y | x_t), \qquad
    p(y | x_t) \approx N\big(y;\; H(\hat x),\; R + A V A^T\big), \quad \hat x = E[z | x_t] ,

with :math:`A = \partial H / \partial \hat x` and some estimate :math:`V` of :math:`\mathrm{Cov}[z | x_t]`.

**Samplers.** A sampler (:mod:`.samplers`) starts from noise and goes down the schedule: by the probability flow, by
steps that replace a part of the noise, or with Langevin corrections. It calls a denoising function only.

References:
    | Tweedie's Formula and Selection Bias (Efron, 2011), https://doi.org/10.1198/jasa.2011.tm11181
    | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
      https://arxiv.org/abs/2011.13456
    | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
      https://arxiv.org/abs/2206.00364
    | Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
    | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
"""

from .denoisers import DampedResidual, Denoiser, Residual, denoising_loss, stratified
from .guidance import DPSGuidance, Guidance, Likelihood, MomentMatching, SDAGuidance
from .ode import integrate, probe, transport
from .samplers import Ancestral, Heun, PredictorCorrector, Sampler
from .schedules import Cosine, LinearBeta, Schedule, VarianceExploding

__all__ = [
    "Ancestral",
    "Cosine",
    "DPSGuidance",
    "DampedResidual",
    "Denoiser",
    "Guidance",
    "Heun",
    "Likelihood",
    "LinearBeta",
    "MomentMatching",
    "PredictorCorrector",
    "Residual",
    "SDAGuidance",
    "Sampler",
    "Schedule",
    "VarianceExploding",
    "denoising_loss",
    "integrate",
    "probe",
    "stratified",
    "transport",
]
