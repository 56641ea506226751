r"""Markov chain and sequential Monte Carlo: draws from any smooth density that is standard normal but for a misfit.

**Tempered posterior.** A potential gives, for each case, the cost :math:`J(u) = \frac12 \|u\|^2 + J_o(u)` of a whitened
control and its gradient; at the inverse temperature :math:`\beta` it defines

.. math:: p_\beta(u) \propto e^{-U_\beta(u)}, \qquad U_\beta(u) = \tfrac12 \|u\|^2 + \beta J_o(u) ,

the standard normal prior at :math:`\beta = 0`, and the posterior at :math:`\beta = 1`.

**Hamiltonian transitions** (:mod:`.hamiltonian`) leave :math:`p_\beta` invariant. Momenta :math:`p \sim N(0, I)` belong
to the coordinates :math:`L^{-1} u`, in which the posterior is about white if :math:`L L^T` is about its covariance.
Leapfrog steps :math:`h` alternate

.. math:: p \leftarrow p - \tfrac h2 L^T \nabla U_\beta(u), \qquad u \leftarrow u + h L p, \qquad
    p \leftarrow p - \tfrac h2 L^T \nabla U_\beta(u) ,

and the end of the trajectory is accepted with probability :math:`\min(1, \exp(-\Delta H))`, for the Hamiltonian
:math:`H = U_\beta(u) + \frac12 \|p\|^2`. A trajectory of length :math:`l` takes the least power of two of steps with
:math:`2^k \geq l / h`, up to a limit. The preconditioner :math:`L` (:mod:`.preconditioning`) is the Cholesky factor of
the covariance of particles, whose eigenvalues are shrunk.

**Adaptation.** With the mean probability of acceptance :math:`a` of a case and its target :math:`a^*`, the step follows

.. math:: \log h \leftarrow \log h + \gamma\, (a - a^*) ,

with :math:`\gamma = 1` in sequential Monte Carlo, and :math:`\gamma = k^{-0.6}` in iteration :math:`k` of the warm-up
of chains, after which :math:`\log h` is fixed to its average over the second half of the warm-up.

**Sequential Monte Carlo** (:mod:`.tempering`) carries :math:`S` particles :math:`u_s` from prior to posterior through
:math:`0 = \beta_0 < \dots < \beta_K = 1`. Each temperature weights, resamples and moves them,

.. math:: w_s = e^{-(\beta_k - \beta_{k-1}) J_o(u_s)}, \qquad
    \mathrm{ESS} = \frac{(\sum_s w_s)^2}{\sum_s w_s^2} = \rho S , \qquad
    E_{N(0, I)}[e^{-J_o(u)}] \approx \prod_{k=1}^K \frac1S \sum_{s=1}^S w_s .

:math:`\beta_k` is chosen, case by case, such that the effective sample size falls to a fraction :math:`\rho` of the
particles that have not diverged, or is 1 if it stays above. The product of the mean weights estimates the evidence, up
to the normaliser of the likelihood.

**From an approximation** (:mod:`.pullback`). Temperatures from the prior on grow with the number of directions that the
data inform, and with how well. From a Gaussian :math:`q = N(\mu, S S^T)` near the posterior they are few: in its
coordinates :math:`u = \mu + S z` the standard normal is :math:`q`, and

.. math:: p_\beta(u) \propto q(u)^{1 - \beta}\, e^{-\beta J(u)} .

**Long chains** (:mod:`.chains`) start from draws near the posterior. Rank-normalised split :math:`\hat R`, the root of
the variance of all draws over that within chains, is near 1 if chains agree; it and the effective numbers of draws are
those of the worst coordinate (:mod:`.diagnostics`).

**Importance weights** (:mod:`.weights`) :math:`w_i = p(u_i) / q(u_i)` correct draws of an approximation :math:`q`.
Pareto smoothing replaces the largest of them by quantiles of the generalised Pareto distribution fitted to them, whose
shape :math:`\hat k` tells how heavy their tail is: below 0.7 they can be trusted.

References:
    | MCMC using Hamiltonian dynamics (Neal, 2011), https://arxiv.org/abs/1206.1901
    | A tutorial on adaptive MCMC (Andrieu & Thoms, 2008), https://doi.org/10.1007/s11222-008-9110-y
    | Sequential Monte Carlo samplers (Del Moral, Doucet & Jasra, 2006),
      https://doi.org/10.1111/j.1467-9868.2006.00553.x
    | Rank-Normalization, Folding, and Localization: An Improved R-hat for Assessing Convergence of MCMC
      (Vehtari et al., 2021), https://doi.org/10.1214/20-BA1221
    | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024),
      https://jmlr.org/papers/v25/19-556.html
"""

from .chains import Chains, Draws
from .diagnostics import Convergence, convergence, pareto_smooth
from .hamiltonian import Kick, Particles, Potential, evaluate, move, transition
from .preconditioning import LaplaceMetric, Metric, ParticleMetric, WhiteMetric, preconditioner
from .pullback import Pullback
from .tempering import FIRST_STEP, Tempered, Tempering, next_temperature
from .weights import Resampled, resample

__all__ = [
    "FIRST_STEP",
    "Chains",
    "Convergence",
    "Draws",
    "Kick",
    "LaplaceMetric",
    "Metric",
    "ParticleMetric",
    "Particles",
    "Potential",
    "Pullback",
    "Resampled",
    "Tempered",
    "Tempering",
    "WhiteMetric",
    "convergence",
    "evaluate",
    "move",
    "next_temperature",
    "pareto_smooth",
    "preconditioner",
    "resample",
    "transition",
]
