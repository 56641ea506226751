from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr

from posterity.baselines import EnsembleFourDVar, FourDVar, Prior, VariationalInference
from posterity.baselines.optimizers import Adam
from posterity.data.tensors import ensemble_dataset, twin_dataset
from posterity.metrics import evaluate
from posterity.problems import Control, Observation, Posterior, Problem
from posterity.problems.masks import RandomMask
from posterity.problems.operators import Identity, Quadratic
from posterity.systems import Lorenz63, Lorenz96


class Study(NamedTuple):
    """What figures are made from."""

    twin: xr.Dataset
    posteriors: list[xr.Dataset]
    metrics: xr.Dataset
    window: int


def study(problem: Problem, methods: Mapping[str, Posterior], cases: int = 4, samples: int = 40) -> Study:
    """Runs a few methods on a few cases, and scores them."""
    torch.manual_seed(1)
    draw = problem.sample((cases,))
    twin = twin_dataset(draw, problem)
    posteriors, scored = [], []
    for name, method in methods.items():
        ensemble = method.sample(draw.window, samples)
        control = Control(problem, draw.window)
        x = ensemble.x[:, :, : problem.window]
        log_likelihood = problem.observation.log_prob(draw.window.y, x, draw.window.std)
        dataset = ensemble_dataset(ensemble, problem, np.arange(cases), log_likelihood).assign_attrs(method=name)
        dataset["info_seconds"] = ("case", np.full(cases, 0.01 * control.size))
        posteriors.append(dataset)
        scored.append(evaluate(twin, dataset))
    names = xr.DataArray(list(methods), dims="method", name="method")
    return Study(twin, posteriors, xr.concat(scored, dim=names, data_vars="all", join="outer"), problem.window)


@pytest.fixture(scope="session")
def lorenz96() -> Study:
    """Observations of a third of the state itself, and four methods."""
    system = Lorenz96(size=16)
    observation = Observation(Identity((1, 16)), (0.5, 0.5), (RandomMask(0.3),))
    problem = Problem(system, observation, window=10, forecast=10)
    methods = {
        "prior": Prior(problem),
        "4dvar": FourDVar(problem),
        "ensemble-4dvar": EnsembleFourDVar(problem, iterations=3, increment=10),
        "vi": VariationalInference(problem, optimizer=Adam(iterations=25, learning_rate=0.05)),
    }
    return study(problem, methods)


@pytest.fixture(scope="session")
def lorenz63() -> Study:
    """No grid, no forecast, and observations of squares."""
    problem = Problem(Lorenz63(), Observation(Quadratic((3,)), (5.0, 5.0)), window=20)
    return study(problem, {"prior": Prior(problem), "4dvar": FourDVar(problem)})


@pytest.fixture(scope="session")
def many(lorenz96: Study) -> Study:
    """So many methods that every figure wraps."""
    count = 9
    index = [i % len(lorenz96.posteriors) for i in range(count)]
    names = [f"method-{i}" for i in range(count)]
    posteriors = [lorenz96.posteriors[i].assign_attrs(method=name) for i, name in zip(index, names, strict=True)]
    return lorenz96._replace(
        posteriors=posteriors, metrics=lorenz96.metrics.isel(method=index).assign_coords(method=names)
    )


@pytest.fixture(scope="session")
def without_truth() -> Callable[[Study], Study]:
    """Takes the truth away, and all that needs it."""

    def take(whole: Study) -> Study:
        """The study without truth."""
        scores = ["rmse", "crps", "rank_histogram", "coverage"]
        return whole._replace(twin=whole.twin.drop_vars("state"), metrics=whole.metrics.drop_vars(scores))

    return take
