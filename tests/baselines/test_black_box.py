"""Methods on a simulator without gradients: each draws as from the same system in torch, or refuses by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from posterity.diffusion import PredictorCorrector, RungeKutta
from posterity.estimators.ratios.samplers import PriorImportance
from posterity.experiment import catalog
from posterity.problems import BlackBoxOperator, Composed, Posterior
from posterity.systems import BlackBox, LinearAdvection
from posterity.testing import linear_gaussian

#: All but what takes unknown parameters, and takes no gradients.
METHODS = sorted(set(catalog.CATALOG["method"]) - {"fnse"})
#: Options that make methods small.
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "abc": {"trials": 200, "fraction": 0.1},
    "prior-importance": {"draws": 200},
    "nre": {"ratio_sampler": PriorImportance(draws=200)},
    **{name: {"sampler": RungeKutta(2)} for name in ("fmpe", "guided-score", "nse")},
    **{name: {"sampler": PredictorCorrector(2)} for name in ("sda", "sosda", "sosda-shared")},
    "particle-smoother": {"members": 50},
    "particle-filter": {"members": 50},
}


@dataclass(frozen=True, kw_only=True)
class Matrix(BlackBox):
    """Linear advection as a product with a matrix, in NumPy."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    dt: float = 0.5
    shape: ClassVar[tuple[int, ...]] = (1, 4)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        raise NotImplementedError  # it starts as the system in torch does, from the same numbers

    def initial(self, batch: Sequence[int]) -> Tensor:
        return LinearAdvection(size=4).initial(batch)

    def move(self, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        return x @ LinearAdvection(size=4).transition().numpy().T


class Same(BlackBoxOperator):
    """The state itself, by way of NumPy."""

    def see(self, x: np.ndarray) -> np.ndarray:
        return x


PROBLEM = linear_gaussian(4, window=3, forecast=1)
WITHOUT = replace(PROBLEM, system=Matrix())
UNSEEN = replace(PROBLEM, observation=replace(PROBLEM.observation, operator=Composed((1, 4), (Same((1, 4)),))))


def made(name, problem) -> Posterior:
    return catalog.resolve("method", name)(problem, **OPTIONS.get(name, {}))


def drawn(name, problem, window):
    torch.manual_seed(1)
    method = made(name, problem)
    if method.trained:
        method.standardize(PROBLEM.sample((20,)))
        method.mark_trained()
    return method.sample(window, 5).x


@pytest.mark.parametrize(("part", "problem"), [("system", WITHOUT), ("operator", UNSEEN)], ids=["system", "operator"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_draws_the_same_without_gradients_or_refuses(name, part, problem):
    kind = catalog.resolve("method", name)
    if part in kind.differentiates:
        black_box = {"system": "Matrix", "operator": "Composed"}[part]
        with pytest.raises(ValueError, match=f"{part}: {black_box} passes no gradients on, and {kind.__name__} needs"):
            kind.pose(problem)
        window = PROBLEM.sample((3,)).window
        with pytest.raises(ValueError, match="passes no gradients on"):
            drawn(name, problem, window)
        return
    if name == "exact" and part == "system":
        pytest.skip("knows the matrix of one system alone, and says so")
    window = PROBLEM.sample((3,)).window
    torch.testing.assert_close(drawn(name, problem, window), drawn(name, PROBLEM, window))
