r"""Variational methods: minima of the 4DVAR cost, and densities fitted to the posterior of the control.

**The control and its cost.** A window is given by the whitened control :math:`u` of
:class:`~posterity.problems.Control`: initial state, unknown parameters and, under the weak constraint, model errors.
A priori :math:`u \sim N(0, I)`, and with the observations

.. math::
    -\log p(u, y) = J(u) + c, \qquad
    J(u) = \tfrac12 \|u\|^2 + \tfrac12 \sum_t \|H(x_t(u)) - y_t\|^2_{R_t^{-1}} ,

so that :math:`p(u | y) \propto e^{-J(u)}`, and 4DVAR is its mode :math:`\hat u = \arg\min_u J(u)`.

**Gauss–Newton and Laplace.** With :math:`G = \partial H(x(u)) / \partial u`, for all times stacked, and the residuals
:math:`d = H(x(u)) - y`,

.. math::
    \nabla J = u + G^T R^{-1} d, \qquad
    \nabla^2 J \approx \Lambda = I + G^T R^{-1} G ,

which leaves out the curvature of the model. :math:`\Lambda` is positive definite, its rank above the identity is at
most that of the data, and Newton's method with it is Gauss–Newton. The Laplace approximation is
:math:`N(\hat u, \Lambda^{-1})` at the mode. It is the posterior itself if model and operator are linear.

**Perturbed problems.** Randomised maximum likelihood draws :math:`u_s \sim N(0, I)` and
:math:`\varepsilon_s \sim N(0, R)`, and minimises :math:`J` with the background at :math:`u_s` and the observations
:math:`y + \varepsilon_s`. In the linear case, :math:`H(x(u)) = h + G u`, the minimum is

.. math::
    \hat u_s = \Lambda^{-1} \big( u_s + G^T R^{-1} (y + \varepsilon_s - h) \big) ,

of mean :math:`\hat u` and covariance :math:`\Lambda^{-1} (I + G^T R^{-1} G) \Lambda^{-1} = \Lambda^{-1}`: an exact
draw. In the nonlinear case each member has curvatures of its own, and several modes can be found.

**The evidence lower bound.** For any density :math:`q`,

.. math::
    \log p(y) = \mathrm{ELBO}(q) + \mathrm{KL}(q \,\|\, p(u | y)), \qquad
    \mathrm{ELBO}(q) = \mathbb H[q] - E_q[J] - c ,

so the member of a family with the highest bound is the one closest to the posterior. If :math:`u = T(\varepsilon)` is
the image of white noise, :math:`\mathbb H[q] = \mathbb H[\varepsilon] + E \log |\det \partial T|`, and the gradient of
the bound is an average over draws of :math:`\varepsilon`.

**Natural gradients.** For :math:`q = N(\mu, \Lambda^{-1})`, :math:`\nabla_\mu E_q[J] = E_q[\nabla J]` and
:math:`\nabla_{\Lambda^{-1}} E_q[J] = \frac12 E_q[\nabla^2 J]` (Bonnet, Price). The bound is stationary where
:math:`E_q[\nabla J] = 0` and :math:`\Lambda = E_q[\nabla^2 J]`, and a natural-gradient step of rate :math:`\rho` is

.. math::
    \Lambda \leftarrow \Lambda + \rho\, (E_q[\nabla^2 J] - \Lambda), \qquad
    \mu \leftarrow \mu - \rho\, \Lambda^{-1} E_q[\nabla J] ,

Newton's method with averaged derivatives; with those at the mean alone it ends at the Laplace approximation. In a
family with a structure, :math:`\Lambda` is the member that minimises :math:`\mathrm{tr}(E_q[\nabla^2 J] \Lambda^{-1}) +
\log\det \Lambda`: for the mean field the diagonal of the expected Hessian, for low rank a factor analysis of it.

**The weak constraint.** In coordinates of the trajectory (:class:`~posterity.problems.StateControl`) each term of the
cost holds two states that follow each other and the parameters, so :math:`\partial^2 J / \partial x_s \partial x_t = 0`
for :math:`|s - t| > 1`, and so is its expectation under any :math:`q`. The best Gaussian over the trajectory then has a
block-tridiagonal precision, with a border for the parameters: a Markov chain. In the control with model errors, each
error moves all later states, and the precision is full.

References:
    | Variational inference: a review for statisticians (Blei, Kucukelbir & McAuliffe, 2017),
      https://arxiv.org/abs/1601.00670
    | The variational Gaussian approximation revisited (Opper & Archambeau, 2009),
      https://doi.org/10.1162/neco.2008.08-07-592
    | Ensemble variational assimilation as a probabilistic estimator (Jardak & Talagrand, 2018),
      https://doi.org/10.5194/npg-25-565-2018
    | The Bayesian learning rule (Khan & Rue, 2023), https://arxiv.org/abs/2107.04562
    | Accounting for an imperfect model in 4D-Var (Trémolet, 2006), https://doi.org/10.1256/qj.05.224
"""
