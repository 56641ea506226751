"""Methods on systems that draw noise in a step or depend on time: each draws as from an equal system without."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from posterity.baselines import Cycled, FourDVar
from posterity.baselines.variational.markov import BlockTridiagonal
from posterity.diffusion import PredictorCorrector, RungeKutta
from posterity.estimators import StateTarget
from posterity.estimators.ratios.samplers import PriorImportance
from posterity.experiment import catalog
from posterity.problems import Control, Normal, Problem, Window
from posterity.problems.minimize import minimize
from posterity.systems import Driven, LinearAdvection, Stochastic
from posterity.testing import check_system, linear_gaussian

#: Options that make methods small.
OPTIONS = {
    "3dvar": {"members": 20, "draws": 50},
    "abc": {"trials": 200, "fraction": 0.1},
    "ensemble-4dvar": {"restarts": 1},
    "hmc": {"particles": 40, "chains": 2, "warmup": 1, "iterations": 8, "moves": 1, "leapfrog": 2},
    "importance": {"draws": 100},
    "nre": {"ratio_sampler": PriorImportance(draws=200)},
    "particle-filter": {"members": 50, "jitter": 0.0},
    "particle-smoother": {"members": 50},
    "prior-importance": {"draws": 200},
    "smc": {"particles": 64, "moves": 1, "final": 2, "leapfrog": 8},
    **{name: {"sampler": RungeKutta(2)} for name in ("fmpe", "guided-score", "nse")},
    **{name: {"sampler": PredictorCorrector(2)} for name in ("sda", "sosda", "sosda-shared")},
}


@dataclass(frozen=True, kw_only=True)
class Noisy(Stochastic):
    """Linear advection with noise that is added in its step."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    dt: float = 0.5
    noise: float = 0.3
    damping: float | Tensor = 0.05
    shape: ClassVar[tuple[int, ...]] = (1, 4)
    noise_shape: ClassVar[tuple[int, ...]] = (1, 4)

    def initial(self, batch: Sequence[int]) -> Tensor:
        return LinearAdvection(size=4).initial(batch)

    def transition(self, x: Tensor, noise: Tensor) -> Tensor:
        return LinearAdvection(size=4, damping=self.damping).step(x) + self.noise * noise


BEHIND = linear_gaussian(4, window=3, forecast=1, model_error=0.3)
INSIDE = replace(BEHIND, system=Noisy(), model_error=None)

#: What needs the density of a state given the one before it, or the noise that states tell.
REFUSED = {"amortised-vi": "draws of the joint do not tell", "exact": "needs a linear system", "lagged-4dvar": "strong"}

#: What draws otherwise: from the same Gaussian by another root, since noise is not known to make a Markov chain, and by
#: tracing ancestors, since there is no density to simulate them by.
OTHER_DRAWS = ("4dvar", "importance", "particle-smoother")


def test_a_system_with_noise():
    check_system(Noisy())


def drawn(name: str, problem: Problem, window: Window, **options: object) -> Tensor:
    torch.manual_seed(1)
    method = catalog.resolve("method", name)(problem, **OPTIONS.get(name, {}), **options)
    if method.trained:
        method.standardize(problem.sample((20,)))
        method.mark_trained()
        torch.manual_seed(2)
    return method.sample(window, 5).x


@pytest.mark.parametrize("name", sorted(set(catalog.CATALOG["method"]) - {"fnse"}))
def test_noise_in_a_step_is_a_model_error_behind_it(name):
    window = BEHIND.sample((3,)).window
    if name in REFUSED:
        with pytest.raises((ValueError, TypeError), match=REFUSED[name]):
            drawn(name, INSIDE, window)
        return
    options = {"target": StateTarget()} if name in ("fmpe", "npe", "nre", "nse") else {}
    found = drawn(name, INSIDE, window)
    if name in OTHER_DRAWS:
        assert found.isfinite().all()
        return
    torch.testing.assert_close(found, drawn(name, BEHIND, window, **options))


def test_twins_are_the_same():
    torch.manual_seed(0)
    inside = INSIDE.sample((5,))
    torch.manual_seed(0)
    torch.testing.assert_close(inside.x, BEHIND.sample((5,)).x)


@pytest.mark.parametrize("parameters", [{}, {"damping": Normal(0.1, 0.05)}], ids=["states", "states and a parameter"])
def test_the_linearised_model_is_the_same(parameters):
    """Where the noise is inside, by derivatives of one run; else by tangents of steps that are chained."""
    behind, inside = (replace(problem, parameters=parameters) for problem in (BEHIND, INSIDE))
    window = behind.sample((3,)).window
    found = [minimize(Control(problem, window)) for problem in (inside, behind)]
    torch.testing.assert_close(found[0].u, found[1].u, rtol=1e-5, atol=1e-5)
    u = found[0].u
    for states in (2, 3):
        models = [Control(problem, window).linearize(u, states) for problem in (inside, behind)]
        torch.testing.assert_close(models[0].dense(), models[1].dense())
        torch.testing.assert_close(models[0].gradient, models[1].gradient)


@pytest.mark.parametrize("name", ["abc", "ienks", "particle-filter", "smc"])
def test_with_an_unknown_parameter(name):
    parameters = {"damping": Normal(0.1, 0.05)}
    behind, inside = (replace(problem, parameters=parameters) for problem in (BEHIND, INSIDE))
    window = behind.sample((3,)).window
    torch.testing.assert_close(drawn(name, inside, window), drawn(name, behind, window))


def test_what_needs_a_density_says_so():
    window = INSIDE.sample((2,)).window
    with pytest.raises(
        ValueError, match="need the density of the next state given this one, and nobody knows that of Noisy"
    ):
        drawn("vi", INSIDE, window, family=BlockTridiagonal())
    with pytest.raises(ValueError, match="model_error: Noisy is stochastic, and its noise is the error"):
        replace(INSIDE, model_error=0.1)


def test_background_features_are_without_noise():
    window = INSIDE.sample((3,)).window
    path = LinearAdvection(size=4).rollout(window.background, 2)
    torch.testing.assert_close(INSIDE.undisturbed(window), path)


@dataclass(frozen=True, kw_only=True)
class Swung(Driven):
    """Sites that move round a ring, and are pushed at some times more than at others."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    dt: float = 0.5
    push: float | Tensor = 1.0
    #: How many steps its start lies behind that of the same system without.
    late: int = 0
    shape: ClassVar[tuple[int, ...]] = (1, 4)

    def initial(self, batch: Sequence[int]) -> Tensor:
        return self.at(-float(self.late)).advance(torch.randn(*batch, 1, 4), self.late)

    def move(self, x: Tensor, time: Tensor) -> Tensor:
        swing = self.push * torch.sin((time + self.late * self.dt) ** 2)
        return 0.9 * x.roll(1, dims=-1) + swing.unsqueeze(-1).unsqueeze(-1)


EARLY = replace(linear_gaussian(4, window=3, forecast=2), system=Swung(), start=(7, 7))
LATE = replace(EARLY, system=Swung(late=7), start=(0, 0))


def test_a_driven_system():
    check_system(Swung())


def check_late(name: str, early: Problem, late: Problem, **options: object) -> None:
    """Draws of windows that start later are those of the system that is later by as much."""
    window = early.sample((3,)).window
    moved = window._replace(start=torch.zeros_like(window.start))
    found = drawn(name, early, window, **options)
    torch.testing.assert_close(drawn(name, late, moved, **options), found)
    assert not torch.allclose(drawn(name, replace(late, system=Swung()), moved, **options), found)


METHODS = sorted(set(catalog.CATALOG["method"]) - {"exact", "fnse"})


@pytest.mark.parametrize("name", METHODS)
def test_a_later_window(name):
    check_late(name, EARLY, LATE)


@pytest.mark.parametrize("name", ["npe", "nse"])
def test_a_later_window_of_states(name):
    check_late(name, EARLY, LATE, target=StateTarget())


@pytest.mark.parametrize("name", ["4dvar", "ienks", "particle-smoother", "vi"])
def test_a_later_window_with_model_errors_and_parameters(name):
    options = {"parameters": {"push": Normal(1.0, 0.3)}, "model_error": 0.1}
    check_late(name, replace(EARLY, **options), replace(LATE, **options))


@pytest.mark.parametrize("name", ["ienks", "enks", "lagged-4dvar", "3dvar", "particle-filter"])
def test_later_records_of_several_windows(name):
    options = {"cycles": 3, "forecast": 0}
    early, late = replace(EARLY, **options), replace(LATE, **options)
    check_late(name, early, late, **({"lag": 2} if name in ("ienks", "enks") else {}))


def test_cycles_go_on_in_time():
    early, late = (replace(problem, cycles=2, forecast=0) for problem in (EARLY, LATE))
    window = early.sample((3,)).window
    found = []
    for problem, given in ((early, window), (late, window._replace(start=torch.zeros(3)))):
        torch.manual_seed(1)
        found.append(Cycled(problem, FourDVar(problem.cycle()), members=8).sample(given, 4).x)
    torch.testing.assert_close(*found)


def test_each_case_has_its_own_time():
    problem = replace(EARLY, start=(0, 9))
    twin = problem.sample((6,))
    x = twin.x[:, 0]
    for t in range(1, problem.steps):
        x = torch.stack([Swung().at(float(s) + t - 1).step(row) for s, row in zip(twin.window.start, x, strict=True)])
        torch.testing.assert_close(twin.x[:, t], x)
