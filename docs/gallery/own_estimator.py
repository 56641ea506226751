"""
An estimator of your own
========================

A learned posterior is a class with a density: what it learns, what its network sees, the training, files and scores
are the project's. This one is a Gaussian with a diagonal covariance; the exact posterior says what that misses, and
refinement mends it.
"""

# %%
# The class
# ---------
# ``self.shape`` is the shape of what is learned, whitened; ``self.features`` makes of a window what a network takes.

import torch
from torch import Tensor

import posterity as ps
from posterity.estimators import DensityEstimator
from posterity.nn import MLP
from posterity.problems import Window


class DiagonalGaussian(DensityEstimator):
    """A network from the window to the means and deviations of a Gaussian."""

    def __init__(self, problem: ps.problems.Problem) -> None:
        super().__init__(problem)
        channels, *grid = self.features.shape
        self.network = MLP(hidden=(64, 64)).build(channels, 2 * self.shape[0], grid)

    def gaussian(self, window: Window) -> torch.distributions.Normal:
        mean, log_std = self.network(self.features(window)).chunk(2, dim=1)
        return torch.distributions.Normal(mean, log_std.exp())

    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        return self.gaussian(window).log_prob(z).flatten(1).sum(dim=-1)

    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        gaussian = self.gaussian(window)
        z = gaussian.sample((samples,))
        return z, gaussian.log_prob(z).flatten(2).sum(dim=-1)


# %%
# The problem
# -----------
# Something drifts around a ring of eight sites, of which every other one is seen: linear and Gaussian, so that the
# posterior is known. Neighbours between two stations are correlated in it.

problem = ps.Problem(
    {"kind": "linear", "options": {"size": 8}},
    window=4,
    mask={"kind": "grid", "options": {"every": 2}},
    std=0.5,
)
exact = ps.method("exact", problem)

# %%
# Training
# --------
# The class itself is what ``ps.method`` takes. Its settings are those of ``training`` in experiment files.

mine = ps.method(DiagonalGaussian, problem, name="mine")
mine = mine.fit(cases=1024, epochs=10, batch=64, learning_rate=3e-3)
ps.plot.training({"mine": mine})

# %%
# What it misses, and what mends it
# ---------------------------------
# Its draws can be weighted by what is known of the posterior, since it has a density: that is ``refine``.

twins = problem.twins(16, seed=1)
posteriors = {
    "mine": mine.sample(twins, samples=100),
    "mine, refined": mine.refine("importance").sample(twins, samples=100),
}
reference = exact.assimilate(twins, samples=100)
table = ps.compare(twins, posteriors, reference)
table[["rmse", "spread_skill", "coverage", "tarp_coverage", "mean_error", "c2st"]].round(2)

# %%
# Each entry alone is nearly right, which is all that ranks and intervals see; a classifier, which sees all of them
# together, tells its draws from exact ones. Covariances show why: the correlations are not there. Weights bring them
# back.

ps.plot.covariance(twins, posteriors, reference)

# %%
# ``posterity.testing.check_estimator(DiagonalGaussian)`` tries what every estimator must do, and :doc:`Extending
# </extending>` says how an experiment file takes it.
