"""Every method of the catalogue: a case that is hopeless gives the others exactly what they have without it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from posterity.baselines import Cycled, FourDVar
from posterity.baselines.sequential.record import Sequential
from posterity.baselines.variational.families import LowRank, MeanField
from posterity.baselines.variational.flow import FlowFamily
from posterity.baselines.variational.markov import BlockTridiagonal
from posterity.baselines.variational.optimizers import Adam, NaturalGradient
from posterity.diffusion.guidance import SDAGuidance
from posterity.diffusion.samplers import PredictorCorrector, RungeKutta
from posterity.estimators import Learned, Refined
from posterity.estimators.frames.laplace import LaplaceFrame
from posterity.estimators.ratios.samplers import PriorImportance, TemperedSMC
from posterity.estimators.refinements import Hamiltonian, Importance
from posterity.experiment import catalog
from posterity.nn import MLP
from posterity.problems import Identity, Observation, Posterior, Problem, RandomMask, Window
from posterity.systems import LinearAdvection
from posterity.testing import Breaking, ExplodingSystem, hopeless

SAMPLES, CASES = 6, 4

SMALL_NETWORK = MLP((8,))

#: Options that make methods cheap; of those that are not here, the defaults are.
SMALL: dict[str, dict] = {
    "3dvar": {"members": 12, "draws": 50},
    "abc": {"trials": 200, "fraction": 0.1},
    "amortised-vi": {"network": SMALL_NETWORK, "context": 2},
    "enkf": {"members": 12, "rotation": True},
    "enks": {"members": 12},
    "ensemble-4dvar": {"restarts": 1},
    "etkf": {"members": 12, "rotation": True},
    "fmpe": {"network": SMALL_NETWORK, "sampler": RungeKutta(3)},
    "free-run": {"members": 12},
    "guided-score": {"network": SMALL_NETWORK, "sampler": RungeKutta(3)},
    "hmc": {"particles": 16, "chains": 2, "warmup": 2, "iterations": 8, "moves": 1, "leapfrog": 4},
    "ienks": {"members": 12},
    "importance": {"draws": 100},
    "lagged-4dvar": {"members": 12, "draws": 50},
    "lenks": {"members": 12},
    "letkf": {"members": 12},
    "npe": {"network": SMALL_NETWORK, "context": 2},
    "nre": {"network": SMALL_NETWORK, "ratio_sampler": TemperedSMC(particles=16, moves=1, final=1, leapfrog=2)},
    "nse": {"network": SMALL_NETWORK, "sampler": RungeKutta(3)},
    "particle-filter": {"members": 60},
    "particle-smoother": {"members": 60},
    "prior-importance": {"draws": 200},
    "sda": {"network": SMALL_NETWORK, "sampler": PredictorCorrector(3)},
    "smc": {"particles": 24, "moves": 1, "final": 2, "leapfrog": 8},
    "sosda": {"network": SMALL_NETWORK, "sampler": PredictorCorrector(3)},
    "sosda-shared": {"network": SMALL_NETWORK, "sampler": PredictorCorrector(3)},
    "vi": {"optimizer": NaturalGradient(iterations=3)},
}

#: What needs a linear system, or parameters and all states observed, has a test of its own.
APART = {"exact", "fnse"}

#: What draws without a background too.
FREE = [
    *("3dvar", "climatology", "enkf", "enks", "etkf", "free-run", "ienks", "lagged-4dvar", "lenks"),
    *("letkf", "particle-filter", "particle-smoother", "prior-importance", "sda", "sosda", "sosda-shared"),
]

#: What has learned from windows with backgrounds, and knows no others.
LEARNED = ("fmpe", "guided-score", "npe", "nre", "nse")

VARIANTS = {
    "vi, Adam": ("vi", {"family": MeanField(), "optimizer": Adam(iterations=5)}),
    "vi, low rank": ("vi", {"family": LowRank(1), "optimizer": NaturalGradient(iterations=2)}),
    "vi, flow": ("vi", {"family": FlowFamily(hidden=(8,), iterations=3), "optimizer": NaturalGradient(iterations=2)}),
    "amortised-vi, laplace": ("amortised-vi", {**SMALL["amortised-vi"], "frame": LaplaceFrame()}),
    "npe, laplace": ("npe", {**SMALL["npe"], "frame": LaplaceFrame()}),
    "nre, importance": ("nre", {"network": SMALL_NETWORK, "ratio_sampler": PriorImportance(100)}),
    "guided-score, SDA": ("guided-score", {**SMALL["guided-score"], "guidance": SDAGuidance()}),
    "nse, predictor-corrector": ("nse", {**SMALL["nse"], "sampler": PredictorCorrector(3)}),
}

METHODS = {name: (name, SMALL.get(name, {})) for name in catalog.CATALOG["method"] if name not in APART} | VARIANTS


def make(problem: Problem, kind: str, options: dict) -> Posterior:
    """A method of the catalogue; estimators with the weights that they start with, from statistics of draws."""
    torch.manual_seed(7)
    method: Posterior = catalog.resolve("method", kind)(problem, **options)
    if isinstance(method, Learned):
        method.standardize(problem.sample((64,)))
        method.mark_trained()
    return method


def exploding(**options: object) -> Problem:
    """Sites that grow without bound, half of them seen."""
    observation = Observation(Identity((1, 4)), std=(0.3, 0.5), masks=(RandomMask(0.5),))
    return Problem(ExplodingSystem(size=4), observation, window=3, forecast=1, background_std=(0.2, 0.4), **options)


def draw(method: Posterior, window: Window) -> list[Tensor]:
    """Draws and diagnostics, case first, from a seed."""
    torch.manual_seed(5)
    drawn = method.sample(window, SAMPLES)
    # Ranks of folded chains have ties, which rounding alone breaks.
    # Evaluations of networks are divided evenly among cases and draws.
    shared = ("rhat", "network_calls", "network_pullbacks")
    info = [value for name, value in drawn.info.items() if name not in shared]
    return [drawn.x.movedim(1, 0), drawn.theta.movedim(1, 0), *info]


def check_alone(method: Posterior, window: Window, spoilt: Window) -> None:
    """All cases but the last are what they are in a batch in which that one is harmless, of the same shape and seed."""
    for sound, found in zip(draw(method, window), draw(method, spoilt), strict=True):
        # Curves of batches may differ in length: the rest repeats the last value.
        length = min(sound.shape[-1], found.shape[-1])
        if sound.ndim == 2:
            sound, found = sound[:, :length], found[:, :length]
        assert sound[:-1].isfinite().all()
        torch.testing.assert_close(found[:-1], sound[:-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "options"), METHODS.values(), ids=METHODS)
def test_a_case_that_explodes(kind, options):
    problem = exploding()
    window = problem.sample((CASES,)).window
    check_alone(make(problem, kind, options), window, hopeless(window, CASES - 1, scale=30.0))


WEAK = {
    "4dvar": METHODS["4dvar"],
    "enks": METHODS["enks"],
    "ienks": METHODS["ienks"],
    "lenks": METHODS["lenks"],
    "particle-smoother": METHODS["particle-smoother"],
    "smc": METHODS["smc"],
    "vi, block-tridiagonal": ("vi", {"family": BlockTridiagonal(), "optimizer": NaturalGradient(iterations=2)}),
}


@pytest.mark.parametrize(("kind", "options"), WEAK.values(), ids=WEAK)
def test_a_case_that_explodes_under_model_errors(kind, options):
    problem = exploding(model_error=0.05)
    window = problem.sample((CASES,)).window
    check_alone(make(problem, kind, options), window, hopeless(window, CASES - 1, scale=30.0))


@pytest.mark.parametrize(("kind", "options"), METHODS.values(), ids=METHODS)
def test_a_case_of_which_one_member_survives(kind, options):
    """Most of its prior has no next state, and observations are so precise that one member has all of the weight."""
    problem = replace(exploding(), system=Breaking(inner=LinearAdvection(size=4)))
    window = problem.sample((CASES,)).window
    window = window._replace(background=window.background.clamp(max=-1.0))
    background, std = window.background.clone(), window.std.clone()
    background[-1, :, 0] = 1 + 2 * window.background_std[-1, :, 0]
    std[-1] = 1e-6
    spoilt = window._replace(background=background, std=std)
    check_alone(make(problem, kind, options), window, spoilt)


@pytest.mark.parametrize("kind", FREE)
def test_a_case_without_a_background(kind):
    """It has its prior from the climatology, if the method knows that, and the others have their backgrounds."""
    # The sequential methods' answer is that of the background joint.
    joint = "background" if issubclass(catalog.resolve("method", kind), Sequential) else "climatology"
    problem = replace(exploding(), system=LinearAdvection(size=4), joint=joint, start=(0, 3))
    window = problem.sample((CASES,)).window
    background, std = window.background.clone(), window.background_std.clone()
    background[-1], std[-1] = torch.nan, torch.nan
    method = make(problem, kind, SMALL.get(kind, {}))
    check_alone(method, window, window._replace(background=background, background_std=std))


@pytest.mark.parametrize("kind", LEARNED)
def test_a_case_without_a_background_is_none_for_what_has_learned_with_one(kind):
    problem = replace(exploding(), system=LinearAdvection(size=4), joint="climatology")
    window = problem.sample((CASES,)).window
    window.background[-1] = torch.nan
    with pytest.raises(ValueError, match=rf"background: missing in 1 of {CASES} windows, the first ones \[3\]"):
        make(problem, kind, SMALL.get(kind, {})).sample(window, 2)


@pytest.mark.parametrize(
    "kind",
    [
        *("abc", "etkf", "hmc", "importance", "nre", "nre, importance", "particle-filter", "prior-importance", "smc"),
        *(Importance(100), Hamiltonian(draws=16, chains=2, warmup=2, iterations=4, leapfrog=4)),
    ],
    ids=str,
)
def test_diagnostics_do_not_depend_on_how_many_draws_are_asked_for(kind):
    """Weights, chains and particles are as many as their options say."""
    problem = exploding()
    window = problem.sample((CASES,)).window
    method = make(problem, *METHODS[kind]) if isinstance(kind, str) else Refined(make(problem, *METHODS["npe"]), kind)
    found = []
    for samples in (1, 8):
        torch.manual_seed(5)
        info = method.sample(window, samples).info
        found.append({name: value for name, value in info.items() if not name.startswith("network_")})
    for name in found[0].keys() - {"model_steps", "failed"}:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("hopelessness", ["explodes", "no background"])
def test_windows_of_a_record(hopelessness):
    problem = replace(exploding(), forecast=0, cycles=3, background_std=(0.05, 0.1))
    window = problem.sample((CASES,)).window
    spoilt = hopeless(window, CASES - 1, scale=30.0)
    if hopelessness == "no background":
        background, std = window.background.clone(), window.background_std.clone()
        background[-1], std[-1] = torch.nan, torch.nan
        spoilt = window._replace(background=background, background_std=std)
    check_alone(Cycled(problem, FourDVar(problem.cycle()), members=8), window, spoilt)
