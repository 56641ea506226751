"""3DVAR and 4DVAR with static covariances against textbook formulas and the exact posterior."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from posterity.baselines import LaggedFourDVar, ThreeDVar
from posterity.baselines.sequential.record import Record
from posterity.baselines.sequential.threedvar import first_guess, observed_root
from posterity.problems import (
    GridMask,
    Identity,
    Normal,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    Window,
    exact_posterior,
)
from posterity.problems.chunks import CACHE
from posterity.problems.climatology import Moments, climatological_moments
from posterity.problems.linearized.solvers import Cholesky, ConjugateGradients
from posterity.systems import LinearAdvection, Lorenz96
from posterity.testing import Breaking, blind, check_isolated

MEMBERS = 4000


def linear(**options):
    return Problem(
        LinearAdvection(size=4), Observation(Identity((1, 4)), std=(0.5, 1.0), masks=(RandomMask(0.7),)), **options
    )


@pytest.fixture
def white(monkeypatch):
    """Climatologies of mean zero and unit variance, without the noise of an estimate."""

    def moments(problem, start, draws):
        size = problem.system.shape[-1] + len(problem.parameters)
        return Moments(torch.zeros(len(start), size), torch.eye(size).expand(len(start), size, size))

    monkeypatch.setattr("posterity.problems.climatology.climatological_moments", moments)


def check_draws(x, mean, covariance):
    """Draws of shape ``(samples, case, n)`` against a Gaussian of each case; the level 6e-5 is shared out."""
    n = len(x)
    bound = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - 3e-5 / covariance.numel())))
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    assert float(((x.mean(dim=0) - mean) / (variance / n).sqrt()).abs().max()) < bound
    centred = x - mean
    found = torch.einsum("sci,scj->cij", centred, centred) / n
    error = ((covariance.square() + variance.unsqueeze(-1) * variance.unsqueeze(-2)) / n).sqrt()
    assert float(((found - covariance) / error).abs().max()) < bound


@pytest.mark.parametrize("operator", [Identity, Quadratic])
def test_the_analysis_is_the_textbook_one(operator):
    """K = B Hᵀ (H B Hᵀ + R)⁻¹, with H linearised at the forecast, and draws from (I - K H) B around it."""
    problem = Problem(
        LinearAdvection(size=4), Observation(operator((1, 4)), std=(0.5, 1.0), masks=(RandomMask(0.7),)), window=1
    )
    window = problem.sample((3,)).window
    record, method, root = Record(problem, window), ThreeDVar(problem, members=MEMBERS), torch.randn(4, 4)
    z = first_guess(record, torch.zeros(3, 4))
    analysis = method.analyse(record, 0, z, record.innovation(z, 0)[0], root.expand(3, 4, 4))
    b, mean, covariance = root @ root.mT, [], []
    for case in range(3):
        there = ~window.y[case].flatten().isnan()
        x = window.background[case].flatten()
        slope = torch.diag(2 * x if operator is Quadratic else torch.ones(4))[there]
        r = torch.diag(window.std[case].flatten()[there].square())
        gain = b @ slope.mT @ torch.linalg.inv(slope @ b @ slope.mT + r)
        mean.append(x + gain @ (window.y[case].flatten()[there] - problem.observation.operator(x)[there]))
        covariance.append((torch.eye(4) - gain @ slope) @ b)
    torch.testing.assert_close(analysis[0], torch.stack(mean))
    check_draws(analysis[1:], torch.stack(mean), torch.stack(covariance))


def test_an_analysis_costs_what_is_observed():
    """A sixteenth of the sites seen is a sixteenth of the products of which the Hessian is made."""
    work = []
    for masks in ((), (GridMask(16),)):
        observation = Observation(Identity((1, 64)), masks=masks)
        problem = Problem(LinearAdvection(size=64), observation, window=1)
        record = Record(problem, problem.sample((1,)).window)
        z, root = torch.randn(1, 1, 64), torch.randn(1, 64, 48)
        method = ThreeDVar(problem, members=2)
        with FlopCounterMode(display=False) as count:
            method.analyse(record, 0, z, record.innovation(z, 0)[0], root)
        work.append(count.get_total_flops())
    hessian = 2 * 48 * 48 * 64
    assert work[0] - work[1] >= hessian * 15 / 16


@pytest.mark.usefixtures("white")
def test_one_time_is_exact_if_the_covariance_is():
    """3DVAR of one time, and 4DVAR of one window, whose backgrounds have the covariance that they assume."""
    problem = linear(window=1, forecast=2, background_std=(0.7, 0.7))
    window = problem.sample((4,)).window
    exact = exact_posterior(problem, window)
    drawn = ThreeDVar(problem, MEMBERS, scale=0.49).sample(window, MEMBERS)
    for t in drawn.steps:
        check_draws(drawn.x[:, :, t].flatten(2), exact.mean[:, t], exact.covariance[:, t])


@pytest.mark.usefixtures("white")
def test_cycles_of_3dvar_are_the_textbook_ones():
    problem = linear(window=1, cycles=5, background_std=(0.7, 0.7))
    window = problem.sample((3,)).window
    drawn = ThreeDVar(problem, MEMBERS, scale=0.3).sample(window, MEMBERS)
    weight = torch.where(window.y.isnan(), 0, window.std**-2).flatten(2)
    x = window.background.flatten(1)
    for t in range(5):
        if t > 0:
            x = x @ problem.system.transition().mT
        covariance = torch.diag_embed(1 / (1 / 0.3 + weight[:, t]))
        innovation = window.y[:, t].flatten(1).nan_to_num() - x
        x = x + (covariance @ (weight[:, t] * innovation).unsqueeze(-1)).squeeze(-1)
        seen = (weight[:, t] > 0).any(dim=-1)
        check_draws(drawn.x[:, seen, t].flatten(2), x[seen], covariance[seen])


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("large", [False, True], ids=["matrices", "products"])
@pytest.mark.parametrize("lag", [1, 2])
def test_sliding_windows_are_smoothers_with_a_static_prior(lag, large, monkeypatch):
    """Each window is the exact posterior of a problem that starts from the trajectory found before."""
    if large:
        monkeypatch.setattr("posterity.problems.control.LARGE", 0)
    problem = linear(window=3, cycles=3, background_std=(0.6, 0.6))
    window = problem.sample((3,)).window
    drawn = LaggedFourDVar(problem, MEMBERS, lag=lag, scale=0.36).sample(window, MEMBERS)
    first, background = 0, window.background
    for start in (0, 3, 6):
        last = start + 2
        part = replace(problem, cycles=1, window=last - first + 1)
        y = window.y[:, first : last + 1].clone()
        y[:, : start - first] = torch.nan
        exact = exact_posterior(
            part, Window(y, window.std[:, first : last + 1], background, window.background_std, window.start)
        )
        for t in range(start, last + 1):
            check_draws(drawn.x[:, :, t].flatten(2), exact.mean[:, t - first], exact.covariance[:, t - first])
        following = max(0, last + 3 - 3 * lag)
        background, first = exact.mean[:, following - first].unflatten(-1, (1, 4)), following


@pytest.mark.slow
def test_unknown_parameters_are_drawn_to_what_is_seen():
    """The forcing of Lorenz-96 has a large effect on the climatology, through which a static gain sees it."""
    problem = Problem(
        Lorenz96(size=8, dt=0.05, spinup=5.0),
        Observation(Identity((1, 8)), std=(0.5, 0.5)),
        window=2,
        cycles=40,
        joint="climatology",
        background_std=None,
        parameters={"forcing": Normal(8.0, 1.0)},
    )
    twin = problem.sample((6,))
    for method in (ThreeDVar(problem, 20, scale=0.05), LaggedFourDVar(problem, 20, scale=0.05)):
        drawn = method.sample(twin.window, 20)
        assert float((drawn.x.mean(dim=0) - twin.x)[:, 40:].square().mean().sqrt()) < 0.5
        error = drawn.theta.mean(dim=0) - twin.theta
        assert float(error.square().mean()) < float((twin.theta - 8).square().mean())


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("kind", [ThreeDVar, LaggedFourDVar])
def test_a_lost_case_spoils_no_other(kind):
    problem = replace(linear(window=2, cycles=3), system=Breaking(inner=LinearAdvection(size=4), threshold=20.0))
    window = problem.sample((3,)).window
    background = window.background.clone()
    background[1, 0, 0] = 1e3
    lost = window._replace(background=background, y=window.y.index_fill(0, torch.tensor([1]), torch.nan))
    drawn = kind(problem, members=20).sample(lost, 20)
    check_isolated(drawn, lost=[1])
    assert drawn.x[:, 1].isnan().all()


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("kind", [ThreeDVar, LaggedFourDVar])
def test_without_a_background_the_climatological_mean_is_the_first_guess(kind):
    problem = linear(window=1, joint="climatology", background_std=None)
    window = problem.sample((2,)).window
    drawn = kind(problem, members=MEMBERS).sample(blind(window), MEMBERS)
    check_draws(drawn.x[:, :, 0].flatten(2), torch.zeros(2, 4), torch.eye(4).expand(2, 4, 4))


def test_moments_are_those_of_the_time_at_which_windows_start():
    """Of a linear system from white noise, by powers of its transition; draws that diverge do not count."""
    problem = replace(linear(window=1), start=(0, 20))
    start = torch.tensor([20.0, 0.0, 5.0, 20.0])
    draws = 20_000
    found = climatological_moments(problem, start, draws)
    for case, steps in enumerate(start.int().tolist()):
        power = torch.linalg.matrix_power(problem.system.transition(), steps)
        covariance = power @ power.mT
        variance = covariance.diagonal()
        error = ((covariance.square() + variance * variance.unsqueeze(-1)) / draws).sqrt()
        assert float(((found.root[case].mT @ found.root[case] - covariance) / error).abs().max()) < 4.5
        assert float((found.mean[case] / (variance / draws).sqrt()).abs().max()) < 4.5
        torch.testing.assert_close(found.std[case], variance.sqrt(), rtol=0.05, atol=0)
    broken = replace(problem, system=Breaking(inner=problem.system))
    assert all(field.isfinite().all() for field in climatological_moments(broken, start, 1000))


@pytest.mark.parametrize("kind", [ThreeDVar, LaggedFourDVar])
def test_without_a_background_the_climatology_is_that_of_the_start(kind):
    """Blind windows that start after 20 steps: draws have the spread of that time, a third of the first one's."""
    problem = linear(window=1, joint="climatology", background_std=None, start=(0, 20))
    window = blind(problem.sample((2,), torch.tensor([0.0, 20.0])).window)
    drawn = kind(problem, members=MEMBERS, draws=MEMBERS).sample(window, MEMBERS)
    power = torch.linalg.matrix_power(problem.system.transition(), 20)
    expected = torch.stack([torch.ones(4), (power @ power.mT).diagonal()])
    found = drawn.x[:, :, 0].flatten(2).var(dim=0)
    # Draws, and those that the covariance is estimated from.
    assert float((found / expected - 1).abs().max()) < 4.5 * (4 / MEMBERS) ** 0.5


def test_draws_of_a_large_covariance_cost_what_is_observed():
    """Two numbers seen, 600 directions: exact with two products and a block that finds no third."""
    problem = Problem(
        LinearAdvection(size=600),
        Observation(Identity((1, 600)), std=(0.1, 0.1), masks=(GridMask(600),)),
        window=2,
    )
    window = problem.sample((2,)).window
    drawn = LaggedFourDVar(problem, 200, draws=700).sample(window, 200)
    # A tangent for each draw, behind the minimisation and the eigenpairs.
    assert float(drawn.info["gradients"].max()) < 200 + 60
    # Where it is seen, draws are as far apart as the noise of the observation alone, and elsewhere as the climatology.
    assert float(drawn.x[:, :, 0, 0, 0].std(dim=0).max()) < 0.13
    assert float(drawn.x[:, :, 0, 0, 300].std(dim=0).min()) > 0.8


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"draws": 1}, {"lag": 0}, {"iterations": 0}, {"tolerance": 0.0}])
def test_options_that_go_nowhere(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LaggedFourDVar(linear(window=2), **options)
    if {"scale", "draws"} & set(options):
        with pytest.raises(ValueError, match=next(iter(options))):
            ThreeDVar(linear(window=2), **options)


def test_sliding_windows_refuse_model_errors():
    with pytest.raises(ValueError, match="model_error"):
        LaggedFourDVar(linear(window=2, model_error=0.1))


def test_few_columns_of_the_root_are_carried_by_tangents():
    """A covariance of low rank and many observations: the same analysis as by adjoints of each observation."""
    problem = linear(window=1)
    problem = replace(problem, observation=replace(problem.observation, operator=Quadratic((1, 4))))
    window = problem.sample((3,)).window
    record, root = Record(problem, window), torch.randn(3, 4, 2)
    z = torch.randn(3, 4)
    found = observed_root(record, 0, z, root, slice(None))
    precision = torch.where(window.y[:, 0].isnan(), 0, 1 / window.std[:, 0]).flatten(1)
    torch.testing.assert_close(found, (precision * 2 * z).unsqueeze(-1) * root)
    record.precision[1] = 0
    assert (observed_root(record, 0, z, root, slice(1, 2)) == 0).all()


@pytest.mark.parametrize("start", [[0.0, 0.0, 0.0], [2.0, 0.0, 2.0]])
@pytest.mark.parametrize("kind", [ThreeDVar, LaggedFourDVar])
def test_draws_do_not_depend_on_how_cases_are_cut(kind, start, monkeypatch):
    """One case at a time, or all at once, from the same noise for all cases: in the same climatology of 20 states."""
    problem = linear(window=2, cycles=2, start=(0, 2))
    window = problem.sample((3,), torch.tensor(start)).window
    method = kind(problem, members=4, draws=20)

    def draw():
        torch.manual_seed(1)
        return method.sample(window, 4)

    for module in ("record", "threedvar", "lagged"):
        monkeypatch.setattr(f"posterity.baselines.sequential.{module}.white_noise", lambda like, *s: like.new_ones(s))
    whole = draw()
    for device in CACHE:
        monkeypatch.setitem(CACHE, device, 1)
    torch.testing.assert_close(draw().x, whole.x)
    # Of other draws of the climatology they differ.
    torch.manual_seed(2)
    assert float((method.sample(window, 4).x - whole.x).abs().max()) > 0.01


@pytest.mark.parametrize("kind", [ThreeDVar, LaggedFourDVar])
def test_the_climatology_is_estimated_once_for_all_cases(kind, monkeypatch):
    """However they are cut, and of cases that start together; those that start elsewhere have their own."""
    problem, starts = linear(window=2, start=(0, 2)), []

    def moments(problem, start, draws):
        starts.append(start.tolist())
        return climatological_moments(problem, start, draws)

    monkeypatch.setattr("posterity.problems.climatology.climatological_moments", moments)
    for device in CACHE:
        monkeypatch.setitem(CACHE, device, 1)
    kind(problem, members=4, draws=20).sample(problem.sample((3,), torch.tensor([2.0, 0.0, 2.0])).window, 4)
    assert starts == [[0.0, 2.0]]


def test_products_solve_sliding_windows_as_matrices_do():
    """Cycles of Lorenz-96 with an unknown forcing."""
    problem = Problem(
        Lorenz96(size=8, spinup=2.0),
        Observation(Identity((1, 8)), std=(0.5, 0.5), masks=(RandomMask(0.7),)),
        window=3,
        cycles=2,
        parameters={"forcing": Normal(8.0, 1.0)},
    )
    window = problem.sample((3,)).window

    def draw(solver):
        torch.manual_seed(1)
        method = LaggedFourDVar(problem, 4, lag=2, draws=30, iterations=50, tolerance=1e-14, solver=solver)
        return method.sample(window, 4)

    matrices, products = draw(Cholesky()), draw(ConjugateGradients())
    torch.testing.assert_close(products.x, matrices.x, rtol=0, atol=1e-5)
    torch.testing.assert_close(products.theta, matrices.theta, rtol=0, atol=1e-5)
    assert (products.info["gradients"] > 0).all()
