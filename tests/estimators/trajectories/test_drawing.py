"""Drawing of trajectories: with exact local scores, draws are those of exact posteriors."""

from dataclasses import replace

import pytest
import torch

from posterity.diffusion import DPSGuidance, MomentMatching, PredictorCorrector, RungeKutta, SDAGuidance
from posterity.diffusion.compositions import Blankets, Junction
from posterity.estimators.trajectories import score
from posterity.estimators.trajectories.methods import SDA, SOSDA, SharedSOSDA
from posterity.estimators.trajectories.seen import Tie
from posterity.nn import MLP, Convolution
from posterity.problems import (
    Composed,
    GaussianStations,
    Identity,
    Normal,
    Observation,
    Pointwise,
    Problem,
    Quadratic,
    RandomMask,
    Uniform,
    exact_posterior,
)
from posterity.problems.covariances import Spectral
from posterity.problems.gaussian import GaussianPosterior
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96
from posterity.testing import blind, check_gaussian

EXACT = {"sampler": RungeKutta(10), "guidance": MomentMatching(50, 1e-4)}


def chain(window: int = 3, damping: float = 0.05, **options) -> Problem:
    """A ring of four sites with model errors, half of it seen."""
    system = LinearAdvection(size=4, damping=damping)
    observation = Observation(Identity((1, 4)), std=(0.3, 0.6), masks=(RandomMask(0.5),))
    settings = {"joint": "climatology", "background_std": None, "model_error": 0.5} | options
    return Problem(system, observation, window, **settings)


PROBLEMS = {
    "no background": chain(),
    "a background": chain(background_std=(0.4, 0.8)),
    "background joint": chain(joint="background", background_std=(0.7, 0.7)),
    "a window shorter than a crop": chain(2, background_std=(0.4, 0.8)),
    "a forecast": chain(forecast=1),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_draws_are_those_of_the_exact_posterior(problem, exact) -> None:
    estimator = exact(SDA(problem, 1, MLP((4,)), times=1, **EXACT))
    window = problem.sample((6,)).window
    found = estimator.sample(window, 50)
    check_gaussian(found.x, exact_posterior(problem, window))


def test_draws_without_observations_are_those_of_the_prior(exact) -> None:
    problem = chain()
    window = blind(problem.sample((6,)).window)
    found = exact(SDA(problem, 1, MLP((4,)), **EXACT)).sample(window, 50)
    check_gaussian(found.x, exact_posterior(problem, window))


@pytest.mark.parametrize(
    ("composition", "per_window"), [(None, False), (Blankets(3, 1), True), (Junction(1, 2), True)], ids=repr
)
def test_long_windows_are_composed_of_short_ones(composition, per_window, exact) -> None:
    """Of states that forget each other at once, each with observations, and a time, of its own."""
    problem = chain(6, damping=20.0, background_std=(0.4, 0.8))
    window = problem.sample((4,)).window
    options = EXACT | {"composition": composition, "per_window": per_window, "stride": 2}
    estimator = exact(SDA(problem, 1, MLP((4,)), **options))
    check_gaussian(estimator.sample(window, 25).x, exact_posterior(problem, window))


def test_what_ties_states_of_different_times_is_observed_too(exact) -> None:
    """A loop: the last state is the first, but for errors of 0.2."""
    problem = chain(5)
    window = problem.sample((6,)).window
    tie = Tie(lambda x: x[:, 4] - x[:, 0], torch.zeros(1, 4), 0.2)
    estimator = exact(SDA(problem, 2, MLP((4,)), times=1, **EXACT))
    found = estimator.tied(tie).sample(window, 50)

    free = exact_posterior(problem, window)
    seen = free.factor[:, 4] - free.factor[:, 0]
    gain = torch.linalg.solve(seen @ seen.mT + 0.2**2 * torch.eye(4), seen).mT
    left = torch.linalg.cholesky(torch.eye(seen.shape[-1]) - gain @ seen)
    known = gain @ (free.mean[:, 0] - free.mean[:, 4]).unsqueeze(-1)
    mean = free.mean + (free.factor @ known.unsqueeze(1)).squeeze(-1)
    check_gaussian(found.x, GaussianPosterior(mean, free.factor @ left.unsqueeze(1)))
    assert estimator.tie is None
    with pytest.raises(ValueError, match="per_window: what ties states of several windows guides the trajectory"):
        SDA(problem, 1, MLP((4,)), per_window=True).tied(tie)


def test_pieces_of_windows_and_of_draws_make_the_same(exact, monkeypatch) -> None:
    """As many at once as fit, or one window of one draw at a time."""
    problem = chain(6, background_std=(0.4, 0.8))
    window = problem.sample((3,)).window
    estimator = exact(SDA(problem, 1, MLP((4,)), sampler=RungeKutta(1), guidance=MomentMatching(3)))
    found = []
    for size, memory in ((1, 2**30), (1, 0), (10**9, 0)):
        monkeypatch.setattr(estimator.local, "held", (size, 1))
        monkeypatch.setattr(score, "MEMORY", memory)
        torch.manual_seed(3)
        found.append(estimator.sample(window, 2).x)
    torch.testing.assert_close(found[1], found[0])
    # Noise is drawn for a piece of draws at a time, and begins with the same numbers.
    torch.testing.assert_close(found[2][0, :2], found[0][0, :2])


def test_pieces_are_cut_by_what_a_network_holds() -> None:
    """Of a perceptron the widest layer, and the inputs of all layers and what their activations need."""
    problem = chain()
    local = SDA(problem, 1, MLP((50, 70))).local
    # Three states of four sites, and an encoding of the level; each activation keeps its input, each layer too.
    inputs = 3 * 4 + 32
    largest, kept = local.held
    assert largest == 70
    assert 50 + 70 <= kept <= 2 * (inputs + 50 + 70) + 3 * 12 + 32


@pytest.mark.parametrize("guidance", [MomentMatching(), SDAGuidance(), SDAGuidance(1.0, detach=True), DPSGuidance(0.1)])
@pytest.mark.parametrize("per_window", [False, True])
@pytest.mark.parametrize("joint", ["climatology", "background"])
def test_draws_of_any_problem(guidance, per_window, joint) -> None:
    """With parameters beside fields, and beside vectors; with an operator that is not linear, and a background."""
    shape = (1, 8)
    stations = GaussianStations(shape, kernel=2, stride=0)
    operator = Composed(shape, [stations, Quadratic(stations.out_shape)])
    ring = Problem(
        Lorenz96(size=8), Observation(operator, masks=(RandomMask(0.5),)), window=4, forecast=1, joint=joint,
        parameters={"forcing": Uniform(6.0, 10.0)},
    )  # fmt: skip
    vector = Problem(Lorenz63(), Observation(Identity((3,))), 4, joint=joint, parameters={"rho": Normal(28.0, 1.0)})
    for problem in (ring, vector):
        network = Convolution(width=8, blocks=1, kernel=3) if problem.shape[1:] else MLP((8,))
        window = problem.sample((3,)).window
        for kind, options in ((SOSDA, {}), (SharedSOSDA, {"stride": 2})):
            sampler = PredictorCorrector(3, 1)
            estimator = kind(problem, 1, network, sampler=sampler, guidance=guidance, per_window=per_window, **options)
            estimator.standardize(problem.sample((30,)))
            found = estimator.mark_trained().sample(window, 2)
            assert found.x.shape == (2, 3, problem.steps, *problem.shape)
            assert found.theta.shape == (2, 3, 1)
            assert found.x.isfinite().all()
            assert found.theta.isfinite().all()


def test_the_unit_of_observations_is_their_spread() -> None:
    problem = replace(chain(), observation=Observation(Composed((1, 4), [Pointwise((1, 4), "sin")])))
    estimator = SDA(problem, 1, MLP((4,)))
    twin = problem.sample((500,))
    estimator.standardize(twin)
    assert float(estimator.scale()) == pytest.approx(float(twin.x.sin().std()), rel=0.1)


def test_parameters_of_states_are_read_back_as_their_mean() -> None:
    problem = Problem(Lorenz63(), Observation(Identity((3,))), window=3, parameters={"rho": Normal(28.0, 2.0)})
    estimator = SOSDA(problem, 1, MLP((4,)))
    z = torch.randn(2, 4, 3 * 4)
    states = z.unflatten(-1, (3, 4))
    found = estimator.decode(problem.sample((4,)).window, z)
    torch.testing.assert_close(found.x, states[..., :3])
    torch.testing.assert_close(found.theta, 28 + 2 * states[..., 3].mean(dim=2, keepdim=True))


def test_weights_serve_other_windows_and_observations() -> None:
    trained = SDA(chain(3), 1, MLP((8,)), times=2)
    trained.standardize(trained.problem.sample((50,)))
    other = replace(chain(8), observation=Observation(Composed((1, 4), [Quadratic((1, 4))]), std=0.1))
    estimator = SDA(other, 1, MLP((8,)), times=2, sampler=PredictorCorrector(3), guidance=SDAGuidance())
    estimator.load_state_dict(trained.mark_trained().state_dict())
    found = estimator.sample(other.sample((2,)).window, 3)
    assert found.x.shape == (3, 2, 8, 1, 4)
    assert found.x.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"composition": Blankets(4, 2)}, "composition: takes windows of 4 states, and the network learns those of 3;"),
        (
            {"composition": Junction(1)},
            "composition: takes windows of 3 and 2 states, and the network learns those of 3;",
        ),
        ({"composition": "fold"}, "composition: must be of class Composition, such as Fold"),
        ({"stride": 3}, "stride: must lie between 1 and 2, twice the order, not 3"),
        ({"precision": "half"}, "precision: must be one of auto, float32, bfloat16, not .half."),
    ],
)
def test_mistakes_are_named(options, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        SDA(chain(), 1, MLP((4,)), **options)


def test_correlated_backgrounds_are_none_of_the_background_joint() -> None:
    problem = Problem(
        LinearAdvection(size=4),
        Observation(Identity((1, 4))),
        3,
        background_correlation=Spectral(1.0),
    )
    with pytest.raises(ValueError, match="joint: SDA takes a background with correlated errors for an observation"):
        SDA.check_problem(problem)
    SDA.check_problem(replace(problem, joint="climatology"))


def test_networks_that_compute_in_bfloat16_change_draws_by_their_rounding() -> None:
    """By some units of 2⁻⁸ of the spread: states, steps and guidance are not rounded. On a CPU it must be asked for."""
    problem = chain(6)
    window, found = problem.sample((3,)).window.to(torch.zeros(0, dtype=torch.float32)), {}
    for precision in ("float32", "auto", "bfloat16"):
        torch.manual_seed(5)
        sampler, guidance = PredictorCorrector(8), MomentMatching(2)
        estimator = SDA(problem, 1, MLP((32,)), sampler=sampler, guidance=guidance, precision=precision).float()
        found[precision] = estimator.mark_trained().sample(window, 20).x
    assert found["bfloat16"].dtype == torch.float32
    assert torch.equal(found["auto"], found["float32"])
    error = float((found["bfloat16"] - found["float32"]).std() / found["float32"].std())
    assert 1e-4 < error < 2e-2
