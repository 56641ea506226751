"""Device and dtype follow the data: torch's defaults, whatever they are, change nothing beside a window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf

import pytest
import torch

from posterity.baselines import Cycled, FourDVar
from posterity.baselines.montecarlo.proposals import Variational
from posterity.baselines.variational.families import LowRank, MeanField
from posterity.baselines.variational.flow import FlowFamily
from posterity.baselines.variational.markov import BlockTridiagonal, TrajectoryMeanField
from posterity.baselines.variational.optimizers import Adam
from posterity.diffusion import PredictorCorrector, RungeKutta
from posterity.estimators import Learned
from posterity.estimators.frames.laplace import LaplaceFrame
from posterity.estimators.ratios.samplers import TemperedSMC
from posterity.estimators.refinement import Refined
from posterity.estimators.refinements import Hamiltonian, Importance
from posterity.experiment import catalog
from posterity.nn import MLP
from posterity.problems import (
    GaussianStations,
    Identity,
    Observation,
    Posterior,
    Problem,
    RandomMask,
    Uniform,
    Window,
    exact_posterior,
    log_likelihood,
    predictive_pit,
)
from posterity.systems import LinearAdvection

STATIONS = GaussianStations((1, 4), positions=(0, 2))
PLAIN = Problem(LinearAdvection(size=4), Observation(STATIONS, std=(0.5, 1.0), masks=(RandomMask(0.7),)), window=3)
#: Model errors and an unknown parameter.
RICH = replace(PLAIN, forecast=1, model_error=0.1, parameters={"damping": Uniform(0.0, 0.2)})
#: With all states observed.
SEEN = replace(RICH, observation=Observation(Identity((1, 4)), std=(0.5, 1.0)))
NETWORK = {"network": MLP(hidden=(8,))}
CASES, SAMPLES = 3, 4

#: Options that make a method cheap, of those that need some.
OPTIONS: dict[str, dict] = {
    "3dvar": {"members": 12, "draws": 50},
    "abc": {"trials": 20, "fraction": 0.2},
    "amortised-vi": {**NETWORK, "frame": LaplaceFrame(iterations=1)},
    "ensemble-4dvar": {"iterations": 2},
    "enkf": {"rotation": True},
    "fmpe": {**NETWORK, "sampler": RungeKutta(2)},
    "fnse": {**NETWORK, "head": MLP(hidden=(8,)), "draws": 4, "sampler": PredictorCorrector(3)},
    "guided-score": {**NETWORK, "sampler": RungeKutta(2)},
    "hmc": {"chains": 2, "warmup": 2, "iterations": 8, "particles": 8, "moves": 1, "leapfrog": 2},
    "importance": {"draws": 30},
    "lenks": {"radius": 2.0},
    "letkf": {"radius": 2.0},
    "npe": NETWORK,
    "nre": {**NETWORK, "ratio_sampler": TemperedSMC(particles=16, moves=1, final=1, leapfrog=2)},
    "nse": {**NETWORK, "density": True, "steps": 2},
    "prior-importance": {"draws": 10},
    "sda": {**NETWORK, "sampler": PredictorCorrector(3)},
    "smc": {"particles": 16, "moves": 1, "final": 1, "leapfrog": 2},
    "sosda": {**NETWORK, "sampler": PredictorCorrector(3)},
    "sosda-shared": {**NETWORK, "sampler": PredictorCorrector(3)},
}


def of(kind: str, **options) -> Callable[[Problem], Posterior]:
    """Constructs a method of the catalogue, whose weights are good enough here."""

    def make(problem: Problem) -> Posterior:
        method = catalog.resolve("method", kind)(problem, **(OPTIONS.get(kind, {}) | options))
        if isinstance(method, Learned):
            method.mark_trained()
        return method

    return make


def refined(refinement) -> Callable[[Problem], Posterior]:
    """Constructs a refined estimator."""
    return lambda problem: Refined(of("npe")(problem), refinement)


METHODS = {
    **{kind: of(kind) for kind in catalog.CATALOG["method"]},
    "vi, flow": of("vi", family=FlowFamily(1, (8,), iterations=2, samples=4)),
    "vi, low rank, Adam": of("vi", family=LowRank(1), optimizer=Adam(iterations=3)),
    "vi, block-tridiagonal": of("vi", family=BlockTridiagonal()),
    "importance, Student, trajectories": of("importance", proposal=Variational(TrajectoryMeanField()), degrees=5.0),
    "smc, proposal": of("smc", proposal=Variational(MeanField())),
    "importance, mean field": of("importance", proposal=Variational(MeanField()), degrees=inf),
    "npe, importance": refined(Importance(draws=30)),
    "npe, hmc": refined(Hamiltonian(chains=4, warmup=2, iterations=4, leapfrog=2)),
}
#: These know no model errors, or no unknown parameters.
SIMPLE = ("exact", "lagged-4dvar", "sda")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Makes a dtype torch's default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def draw(method: Posterior, window: Window):
    """Draws from a seed; not by way of `sample`, which makes the window's device and dtype torch's defaults."""
    torch.manual_seed(1)
    with torch.no_grad():
        return method.sample_cases(method.place(window), SAMPLES)


def problem_of(name: str) -> Problem:
    """The problem that a method faces."""
    return SEEN if name == "fnse" else PLAIN if name in SIMPLE else RICH


@pytest.mark.parametrize("name", METHODS)
def test_defaults_do_not_matter(name: str):
    problem = problem_of(name)
    window, method = problem.sample((CASES,)).window, METHODS[name](problem)
    expected = draw(method, window)
    assert expected.x.isfinite().all()
    with torch.device("meta"), default_dtype(torch.float32):
        found = draw(method, window)
    for value, other in zip((found.x, found.theta), (expected.x, expected.theta), strict=True):
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, other, rtol=0, atol=1e-12)
    for key, value in found.info.items():
        assert value.device == window.y.device, key


@pytest.mark.parametrize("name", METHODS)
def test_results_have_the_dtype_of_the_windows(name: str):
    problem = problem_of(name)
    window = Window(*(field.float() for field in problem.sample((CASES,)).window))
    found = METHODS[name](problem).sample(window, SAMPLES)
    values = [found.x, found.theta, *([] if found.log_q is None else [found.log_q])]
    assert {value.dtype for value in values} == {torch.float32}
    assert found.x.isfinite().all()


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, ()) for name in METHODS), ("4dvar", (2, 2)), ("etkf", (2, 2)), ("npe", (1, 2, 1))]
)
def test_windows_without_a_case_dimension_and_with_several(name: str, batch: tuple[int, ...]):
    problem = problem_of(name)
    window, method = problem.sample(batch).window, METHODS[name](problem)
    torch.manual_seed(1)
    found = method.sample(window, SAMPLES)
    torch.manual_seed(1)
    flat = method.sample(window.cases(), SAMPLES)
    steps = len(found.steps)
    assert found.x.shape == (SAMPLES, *batch, steps, *problem.shape)
    assert found.theta.shape == (SAMPLES, *batch, len(problem.parameters))
    assert torch.equal(found.x.reshape(flat.x.shape), flat.x)
    assert all(value.shape[: len(batch)] == batch for value in found.info.values())


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*SIMPLE, "fnse")])
def test_windows_of_one_state(name: str):
    """Under the weak constraint too, there are no errors within the window."""
    problem = replace(RICH, window=1)
    found = METHODS[name](problem).sample(problem.sample((CASES,)).window, SAMPLES)
    assert found.x.shape == (SAMPLES, CASES, len(found.steps), *problem.shape)
    assert found.x.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_inference_mode(name: str):
    problem = problem_of(name)
    method = METHODS[name](problem)
    with torch.inference_mode():
        found = method.sample(problem.sample((CASES,)).window, SAMPLES)
    assert found.x.isfinite().all()


def test_records_of_several_windows():
    problem = replace(PLAIN, cycles=2)
    window, method = problem.sample((CASES,)).window, Cycled(problem, FourDVar(problem.cycle()))
    expected = draw(method, window)
    with torch.device("meta"), default_dtype(torch.float32):
        torch.testing.assert_close(draw(method, window).x, expected.x, rtol=0, atol=1e-12)


def test_starts_may_be_whole_numbers():
    window = PLAIN.sample((2,), torch.tensor([0, 3])).window
    assert window.start.tolist() == [0.0, 3.0]
    assert window.start.dtype == window.y.dtype


def test_problems_follow_the_data():
    """Draws from given starts, observations of given states, the exact posterior, and predictive checks."""
    start = torch.zeros(CASES)
    with torch.device("meta"), default_dtype(torch.float32):
        twin = PLAIN.sample((CASES,), start)
        exact = exact_posterior(PLAIN, twin.window)
        drawn = METHODS["exact"](PLAIN).sample(twin.window, SAMPLES)
        found = [*exact, log_likelihood(PLAIN, twin.window, drawn), predictive_pit(PLAIN, twin, drawn)]
    for value in [twin.x, twin.theta, *twin.window, *found]:
        assert value.dtype == torch.float64
        assert value.device == start.device
