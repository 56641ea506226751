"""
A simulator in NumPy
====================

A model that knows nothing of torch, here of hares and lynxes in a dozen lines of NumPy, is a system too. No gradient
passes through it, so filters, smoothers, particles and learned posteriors take it, and the others refuse it in words.
"""

# %%
# The simulator
# -------------
# ``draw`` makes first states and ``move`` takes a step, for all rows at once. What may be unknown is a field that may
# hold a tensor; ``parameters`` has its values, one for each row. States are logarithms, so that populations stay
# positive.

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import ClassVar

import numpy as np
from torch import Tensor

import posterity as ps
from posterity.systems import BlackBox


@dataclass(frozen=True, kw_only=True)
class Hares(BlackBox):
    """Lotka and Volterra's prey and predators, as logarithms of their numbers."""

    channels: ClassVar[tuple[str, ...]] = ("hares", "lynxes")

    growth: float | Tensor = 0.5
    dt: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        return np.log([30.0, 5.0]) + 0.5 * generator.standard_normal((count, 2))

    def move(self, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        growth = parameters["growth"][:, 0]
        for _ in range(10):
            hares, lynxes = np.exp(x).T
            rates = np.stack((growth - 0.05 * lynxes, 0.02 * hares - 0.6), axis=-1)
            x = x + self.dt / 10 * rates
        return x


# %%
# The problem
# -----------
# Furs of hares are counted for fifteen years, to within some 20 %; nobody counts lynxes, of which there is a first
# guess. The growth of the hares is unknown, and four years are to be forecast.

problem = ps.Problem(
    Hares(),
    window=15,
    forecast=4,
    operator={"kind": "channels", "options": {"channels": ["hares"]}},
    std=0.2,
    background_std=0.5,
    parameters={"growth": (0.3, 0.8)},
)
twin = problem.twins(12, seed=2)

# %%
# Who takes it
# ------------
# What needs gradients says so at once:

try:
    ps.method("4dvar", problem).assimilate(twin)
except ps.errors.PosterityError as error:
    print(fill(str(error), 80))

# %%
# The prior to begin with, an ensemble smoother, particles, and a flow that learns from draws of the simulator:

small = {"kind": "maf", "options": {"transforms": 3, "hidden": [64, 64]}}
methods = {
    "prior": ps.method("prior", problem),
    "ensemble smoother": ps.method("enks", problem, members=400),
    "particles": ps.method("particle-smoother", problem, members=2000),
    "flow": ps.method("npe", problem, flow=small),
}
methods["flow"].fit(cases=2048, epochs=8, batch=64, learning_rate=3e-3)
posteriors = {name: each.assimilate(twin, samples=100) for name, each in methods.items()}
table = ps.compare(twin, posteriors)
table[["rmse", "spread_skill", "crps", "coverage", "seconds"]].round(3)

# %%
# The lynxes that nobody counted
# ------------------------------

shown = {name: posteriors[name] for name in methods if name != "prior"}
ps.plot.trajectories(twin, shown, case=0, sites=[0, 1])

# %%
# The growth of the hares
# -----------------------

ps.plot.parameters(twin, shown)
