"""Factorised scores: their composition of exact ones, what it learns from, and records that it refuses."""

from dataclasses import replace
from math import cos, sin

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, RungeKutta
from posterity.estimators.trajectories.factorized import FactorizedScore, composed
from posterity.nn import MLP, Convolution
from posterity.problems import Identity, Normal, Observation, Pointwise, Problem, RandomMask, Uniform
from posterity.systems import Lorenz63, Lorenz96
from posterity.testing import check_loss, draw_moments

from .conftest import Relaxing

SMALL = {"network": Convolution(8, 1, 3), "head": MLP((16,)), "context": 4, "draws": 8}


def ring(**options) -> Problem:
    """Windows of Lorenz-96 with an unknown forcing and model errors, all of it seen."""
    settings = {"joint": "climatology", "background_std": None, "parameters": {"forcing": Uniform(6.0, 10.0)}}
    return Problem(
        Lorenz96(size=8, spinup=1.0),
        Observation(Identity((1, 8)), 0.1),
        **{"window": 4, "model_error": 0.3} | settings | options,
    )


def relaxing(window: int) -> Problem:
    """A number that relaxes towards an unknown mean, seen nearly as it is; a step tells as much as the prior."""
    parameters = {"target": Normal(0.0, 1.0)}
    settings = {"joint": "climatology", "background_std": None, "model_error": 0.1, "parameters": parameters}
    return Problem(Relaxing(), Observation(Identity((1,)), 1e-3), window, **settings)


def gaussian(information: Tensor, pull: Tensor):
    """The exact mean given each observation, of precision I + information and natural mean ``pull``."""

    def local(x: Tensor, angle: float) -> Tensor:
        unit = torch.eye(x.shape[-1])
        natural = cos(angle) / sin(angle) ** 2 * x + pull.repeat(len(x) // len(pull), 1)
        precision = (1 + (cos(angle) / sin(angle)) ** 2) * unit + information
        return torch.linalg.solve(precision.repeat(len(x) // len(pull), 1, 1), natural.unsqueeze(-1)).squeeze(-1)

    return local


@pytest.mark.parametrize("angle", [0.003, 0.5, 1.5])
def test_the_corrected_composition_of_gaussians_is_exact(angle: float) -> None:
    """Of two cases with five observations of two parameters, for three draws; the sum where there is no noise alone."""
    factor, pull = torch.randn(2, 5, 2, 2), torch.randn(2, 5, 2)
    information = factor @ factor.mT
    x = torch.randn(3, 2, 2)
    precision = (1 + (cos(angle) / sin(angle)) ** 2) * torch.eye(2) + information.sum(dim=1)
    natural = cos(angle) / sin(angle) ** 2 * x + pull.sum(dim=1)
    expected = torch.linalg.solve(precision, natural.unsqueeze(-1)).squeeze(-1)
    local = gaussian(information.flatten(0, 1), pull.flatten(0, 1))
    found = composed(local, 2, 5, information)(x.flatten(0, 1), angle)
    torch.testing.assert_close(found, expected.flatten(0, 1))
    plain = composed(local, 2, 5, None)(x.flatten(0, 1), angle)
    assert torch.allclose(plain, expected.flatten(0, 1), atol=1e-3) == (angle < 0.01)


@pytest.mark.parametrize(
    ("steps", "corrections", "corrected", "plain"),
    [(1, 1, 1.011, 1.011), (10, 1, 1.011, 0.967), (100, 1, 1.011, 0.847), (100, 0, 0.970, 0.009)],
)
def test_widths_of_draws_of_exact_scores(steps: int, corrections: int, corrected: float, plain: float) -> None:
    r"""Of the mean of a chain, :math:`x_{t+1} = 0.9 x_t + 0.1 \theta + 0.3 w_t`, over that of the exact posterior.

    Corrections widen draws by a hundredth, and 64 deterministic steps narrow them by three.
    """
    information = torch.full((1, steps, 1, 1), (0.1 / 0.3) ** 2)
    pull = torch.full((steps, 1), 0.1)
    local = gaussian(information.flatten(0, 1), pull)
    found = []
    for excess in (information, None):
        mean = composed(local, 1, steps, excess)
        _, covariance = draw_moments(
            mean, torch.zeros(1), EDM().angles(64)[:-1], corrections, lambda size: 0.25 * min(1, 4 / size)
        )
        precision = 1 + float(information.sum())
        found.append(float(covariance[0, 0] * precision) ** 0.5)
    assert found == pytest.approx([corrected, plain], abs=1e-3)


def test_what_a_step_adds_is_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a few draws of exact scores, of which each tells less than the error: the sum of many steps is what counts."""
    added, problem = 0.05, ring()

    def residual(v: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        """That of N(0, 1 / 1.05), whatever was seen."""
        return -angle.cos() * angle.sin() * added / (1 + angle.sin() ** 2 * added) * v

    monkeypatch.setattr(FactorizedScore, "residual", staticmethod(residual))
    estimator = FactorizedScore(problem, **SMALL | {"draws": 16})
    found = estimator.excess(torch.zeros(100, 40, 4))
    # A precision of sixteen draws has a relative error of (2 / 11) ** 0.5.
    assert float(found.mean()) == pytest.approx(added, abs=4 * (2 / 11 / 4000) ** 0.5)
    assert float(found.std()) > 5 * added
    assert (found.sum(dim=1) >= -1e-6).all()


def test_steps_start_anywhere_with_parameters_of_the_prior() -> None:
    """Pairs obey the model with the parameters that they come with, which where they start says nothing of."""
    problem = ring(model_error=None)
    estimator, twin = FactorizedScore(problem, **SMALL, crops=500), problem.sample((2,))
    found = estimator.steps(twin)
    assert found.x.shape == (1000, 2, 1, 8)
    torch.testing.assert_close(problem.system_at(found.theta).step(found.x[:, 0]), found.x[:, 1])
    starts = {tuple(x.tolist()) for x in found.x[:, 0].flatten(1)}
    assert starts == {tuple(x.tolist()) for x in twin.x.flatten(0, 1).flatten(1)}
    assert abs(float(found.theta.mean()) - 8) < 0.2
    residual = (found.window.y - found.x) / 0.1
    assert float(residual.std()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("error", [None, 0.3])
def test_innovations_are_what_the_model_leaves_at_the_median(error: float | None) -> None:
    """Of steps with parameters that are known and states that are seen, what they leave is the errors of the model."""
    parameters = {"forcing": Normal(8.0, 1e-6)}
    problem = replace(ring(model_error=error, parameters=parameters), observation=Observation(Identity((1, 8)), 1e-9))
    estimator = FactorizedScore(problem, **SMALL, crops=500)
    left = estimator.step.innovation(estimator.steps(problem.sample((2,))).window)
    assert left.shape == (1000, 1, 8)
    assert float(left.std()) == pytest.approx(error or 0, abs=0.01)


@pytest.mark.parametrize("problem", [ring(forecast=1), ring(window=2)], ids=["a forecast", "one step"])
def test_draws_are_those_of_parameters_and_what_is_observed(problem: Problem) -> None:
    estimator = FactorizedScore(problem, **SMALL)
    twin = problem.sample((3,))
    estimator.standardize(twin)
    check_loss(estimator, twin)
    drawn = estimator.mark_trained().sample(twin.window, 5)
    assert drawn.theta.shape == (5, 3, 1)
    assert drawn.x.shape == (5, 3, problem.steps, 1, 8)
    assert float(((drawn.x[:, :, : problem.window] - twin.window.y) / 0.1).std()) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_learned_scores_find_the_exact_posterior() -> None:
    """Of the mean of a chain, from records of twenty steps, by scores of single ones."""
    problem = relaxing(21)
    estimator = FactorizedScore(problem, MLP((32, 32)), MLP((32, 32)), 2, sampler=RungeKutta(6), crops=4, draws=32)
    twin, test = problem.sample((128,)), problem.sample((64,))
    estimator.standardize(twin)
    optimizer = torch.optim.Adam(estimator.parameters(), 5e-3)
    for update in range(2000):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - update / 2000)
        loss = estimator.loss(twin)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = estimator.mark_trained().sample(test.window, 20).theta[..., 0]
    x, precision = test.window.y[..., 0], 1 + 20
    exact = (x[:, 1:] - 0.9 * x[:, :-1]).sum(dim=1) * 0.1 / 0.1**2 / precision
    assert float(drawn.std(dim=0).mean()) * precision**0.5 == pytest.approx(1, abs=0.15)
    assert float((drawn.mean(dim=0) - exact).square().mean() * precision) ** 0.5 < 0.4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {}}, "parameters: FactorizedScore estimates unknown ones, and there are none; name some"),
        ({"window": 1}, "window: FactorizedScore learns from steps between two observations; make it 2 at least"),
        (
            {"observation": Observation(Identity((1, 8)), masks=(RandomMask(0.5),))},
            "FactorizedScore takes observations of all states for these, and masks hide some; observe all, or",
        ),
        ({"observation": Observation(Pointwise((1, 8), "tanh"))}, "and Pointwise is not the state; observe all, or"),
    ],
)
def test_records_of_which_states_are_hidden_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FactorizedScore.pose(replace(ring(), **change))


def test_windows_with_missing_entries_are_refused() -> None:
    problem = ring()
    window = problem.sample((3,)).window
    window.y[1, 2, 0, 3] = torch.nan
    with pytest.raises(
        ValueError, match="takes observations of all states for these, and 1 entries are missing; choose"
    ):
        FactorizedScore(problem, **SMALL).mark_trained().sample(window, 2)


def test_centred_residuals_have_mean_zero(monkeypatch) -> None:
    """Of residuals that are linear in parameters and what steps say: what they say on average is taken off."""
    problem = ring()
    estimator, twin = FactorizedScore(problem, **SMALL, crops=64), problem.sample((256,))
    estimator.standardize(twin)
    monkeypatch.setattr(estimator.step, "context", lambda window: torch.randn(len(window.y), 4))

    def residual(v, angle, context):
        return angle.tan().unsqueeze(-1) * (0.5 - 0.3 * v + context[:, :1])

    monkeypatch.setattr(estimator.step.residual, "forward", residual)
    estimator.settle([twin] * 4)
    v, context, angle = torch.randn(9, 1), torch.randn(9, 4), torch.tensor([0.3])
    found = estimator.residual(v, angle, context) / angle.tan()
    torch.testing.assert_close(found, context[:, :1], atol=0.15, rtol=0)
    assert FactorizedScore(problem, **SMALL, centred=False).residual is not estimator.residual


@pytest.mark.parametrize(
    ("options", "message"), [({"context": 0}, "context: at least one"), ({"draws": 2}, "draws: a pre")]
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FactorizedScore(ring(), **options)


def test_a_hopeless_case_leaves_the_others_what_they_have() -> None:
    problem = ring()
    estimator, window = FactorizedScore(problem, **SMALL), problem.sample((3,)).window
    estimator.standardize(problem.sample((8,)))
    estimator.mark_trained()
    last = torch.tensor(2)
    spoilt = window._replace(y=window.y.index_fill(0, last, 1e300), std=window.std.index_fill(0, last, 1e290))
    found = []
    for given in (window, spoilt):
        torch.manual_seed(0)
        found.append(estimator.sample(given, 4).theta[:, :2])
    torch.testing.assert_close(*found)


def test_a_later_window_is_that_of_a_later_system() -> None:
    """Of a system that depends on time: what it learns from is run at the time of each step."""
    problem = ring(start=(3, 9), forecast=1)
    twin = problem.sample((4,))
    found = FactorizedScore(problem, **SMALL).steps(twin)
    starts = twin.window.start.unsqueeze(1) + torch.arange(problem.steps)
    assert set(found.window.start.tolist()) <= set(starts.flatten().tolist())


def test_parameters_of_systems_without_a_grid() -> None:
    parameters = {"rho": Normal(28.0, 1.0), "sigma": Normal(10.0, 1.0)}
    settings = {"joint": "climatology", "background_std": None, "parameters": parameters}
    problem = Problem(Lorenz63(), Observation(Identity((3,)), 0.1), 5, **settings)
    estimator = FactorizedScore(problem, MLP((16,)), MLP((16,)), 4, draws=8)
    estimator.standardize(problem.sample((8,)))
    assert estimator.mark_trained().sample(problem.sample((2,)).window, 3).theta.shape == (3, 2, 2)
