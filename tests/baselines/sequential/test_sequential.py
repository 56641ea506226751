"""What sequential methods share, and the Kalman family against the exact marginals of linear problems.

The square-root methods add no noise of their own. From an ensemble whose sample moments are exactly those of the
prior, and of the model errors, they must give the exact posterior moments: no tolerance for sampling is needed.
"""

import sys

import pytest
import torch

from posterity.baselines import ETKF, LETKF, EnKS, FreeRun, IEnKS, LaggedFourDVar, LocalEnKS, StochasticEnKF, ThreeDVar
from posterity.baselines.sequential.kalman import solve_gain
from posterity.baselines.sequential.record import Record, is_valid, refill
from posterity.problems import Identity, Observation, Problem, RandomMask, TimeMask, Window, exact_posterior
from posterity.problems.priors import Normal
from posterity.systems import LinearAdvection, Lorenz96
from posterity.testing import Breaking, blind, linear_gaussian

METHODS = {
    "enkf": lambda problem, n: StochasticEnKF(problem, n),
    "etkf": lambda problem, n: ETKF(problem, n, inflation=1.02, rotation=True),
    "letkf": lambda problem, n: LETKF(problem, n, radius=2.0),
    "enks": lambda problem, n: EnKS(problem, n, rotation=True),
    "lenks": lambda problem, n: LocalEnKS(problem, n, radius=2.0),
    "ienks": lambda problem, n: IEnKS(problem, n, rotation=True),
    "ienks, sliding": lambda problem, n: IEnKS(problem, n, lag=1, shift=1),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)

#: Square-root methods that take every observation into account, without rotation, as that would mix the members.
EXACT = {
    "etkf": ETKF,
    "letkf without localisation": lambda problem, n: LETKF(problem, n, radius=None),
    "enks": EnKS,
    "lenks without localisation": lambda problem, n: LocalEnKS(problem, n, radius=None),
    "enks, lag 3": lambda problem, n: EnKS(problem, n, lag=3),
    "ienks": IEnKS,
    "ienks, quasi-static": lambda problem, n: IEnKS(problem, n, shift=1),
    "ienks, lag 3, shift 2": lambda problem, n: IEnKS(problem, n, lag=3, shift=2),
    "ienks, lag 0": lambda problem, n: IEnKS(problem, n, lag=0),
}


#: Two independent sites that keep their values; states whose first site exceeds 1 have no next.
BRITTLE = Breaking(inner=LinearAdvection(size=2, speed=0.0, damping=0.0, diffusion=0.0))


def small(weak=None, forecast=2, **options):
    """4 sites, 6 steps, half of the entries missing."""
    observation = Observation(Identity((1, 4)), std=(0.5, 1.0), masks=(RandomMask(0.5),))
    return Problem(LinearAdvection(size=4), observation, window=6, forecast=forecast, model_error=weak, **options)


def moments(x):
    """Sample means and covariances, with shapes ``(case, time, n)`` and ``(case, time, n, n)``."""
    x = x.flatten(3)
    anomalies = x - x.mean(dim=0)
    return x.mean(dim=0), torch.einsum("scti,sctj->ctij", anomalies, anomalies) / (len(x) - 1)


@pytest.mark.parametrize("weak", [None, 0.3], ids=["strong", "weak"])
@pytest.mark.parametrize("method", EXACT.values(), ids=EXACT)
def test_square_root_methods_are_exact_for_exact_sample_moments(method, weak, second_order):
    problem = small(weak)
    window = problem.sample((5,)).window
    exact = exact_posterior(problem, window)
    second_order(40, 4 + 4 * 7)
    posterior = method(problem, 40).sample(window, 40)
    mean, covariance = moments(posterior.x)
    assert len(posterior.steps) == posterior.x.shape[2]
    times = list(posterior.steps)
    torch.testing.assert_close(mean, exact.mean[:, times], rtol=0, atol=1e-8)
    torch.testing.assert_close(covariance, exact.covariance[:, times], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("method", "start"),
    [(ETKF, 5), (EnKS, 0), (lambda p: EnKS(p, lag=2), 3), (IEnKS, 0), (lambda p: IEnKS(p, lag=2), 3)],
    ids=["etkf", "enks", "enks, lag 2", "ienks", "ienks, lag 2"],
)
def test_a_single_window_is_returned_where_all_observations_are_in(method, start):
    assert method(small()).steps == range(start, 8)
    assert method(small(forecast=0, cycles=3)).steps == range(18)


@pytest.mark.slow
def test_the_stochastic_filter_tends_to_the_exact_marginals():
    """32 filters for each of 4 cases show the Monte Carlo errors; what is left of the bias is below them."""
    problem = small(0.3)
    window = problem.sample((4,)).window
    exact = exact_posterior(problem, window)
    members, repeats = 1000, 32
    repeated = Window(*(field.repeat_interleave(repeats, dim=0) for field in window))
    x = StochasticEnKF(problem, members).sample(repeated, members).x.flatten(3)
    variance = exact.covariance[:, 5:].diagonal(dim1=-2, dim2=-1)
    bias = x.mean(dim=0).unflatten(0, (4, repeats)) - exact.mean[:, None, 5:]
    excess = x.var(dim=0).unflatten(0, (4, repeats)) / variance.unsqueeze(1) - 1
    for error in (bias, excess):
        assert float((error.mean(dim=1) / error.std(dim=1)).abs().max()) * repeats**0.5 < 6


#: At the last of three times; 3DVAR, whose covariance is static, at the only one.
PRECISE = {
    "enkf": (StochasticEnKF, 3),
    "etkf": (ETKF, 3),
    "letkf": (lambda problem, n: LETKF(problem, n, radius=None), 3),
    "enks": (EnKS, 3),
    "ienks": (IEnKS, 3),
    "lagged 4DVAR": (LaggedFourDVar, 3),
    "3DVAR": (ThreeDVar, 1),
}


@pytest.fixture
def single():
    """Single precision, as in runs."""
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize(("method", "length"), PRECISE.values(), ids=PRECISE)
def test_observations_a_million_times_as_precise_as_the_background(method, length, single):
    """In single precision, which holds states to a tenth of such a standard deviation."""
    problem = linear_gaussian(8, window=length, forecast=0, std=(1e-6, 1e-6), masks=(), background_std=(1.0, 1.0))
    window = problem.sample((6,)).window
    drawn = method(problem, 60).sample(window, 60).x[:, :, -1].flatten(2).double()
    torch.set_default_dtype(torch.float64)
    exact = exact_posterior(problem, Window(*(field.double() for field in window)))
    std = exact.covariance[:, -1].diagonal(dim1=-2, dim2=-1).sqrt()
    assert float(((drawn.mean(dim=0) - exact.mean[:, -1]) / std).abs().max()) < 1
    ratio = drawn.std(dim=0) / std
    assert 0.6 < float(ratio.min()) < float(ratio.max()) < 1.6


@pytest.mark.parametrize("std", [1e-30, 1e-9])
def test_errors_below_the_precision_of_the_numbers_are_refused(std, single):
    """Where digits end, in words; in double precision the second is drawn."""
    problem = linear_gaussian(4, std=(std, std), masks=())
    window = problem.sample((2,)).window
    with pytest.raises(ValueError, match=r"std: .* is below the .* that torch.float32 resolves"):
        ETKF(problem).sample(window, 10)
    wide = Window(*(field.double() for field in window))
    wide = wide._replace(std=torch.full_like(wide.std, 1e-9))
    assert ETKF(problem).sample(wide, 10).x.isfinite().all()


@pytest.mark.parametrize(("members", "observations"), [(20, 6), (6, 20), (9, 9)])
def test_the_gain_keeps_its_digits(members, observations):
    """Against singular values, for anomalies of a million standard deviations and of one."""
    s, d = torch.randn(3, members, observations), torch.randn(3, observations, 2)
    for scale in (1.0, 1e6):
        u, sigma, v = torch.linalg.svd(scale * s, full_matrices=False)
        expected = u @ ((sigma / (1 + sigma.square())).unsqueeze(-1) * (v @ (scale * d)))
        torch.testing.assert_close(solve_gain(scale * s, scale * d), expected, rtol=0, atol=1e-9)


@each_method
def test_without_observations_the_prior_is_left(method):
    """No observation, no analysis: the same draws as those of a filter that learns nothing."""
    problem = small()
    window = problem.sample((3,)).window
    torch.manual_seed(1)
    free = FreeRun(problem, 20).sample(blind(window), 20)
    torch.manual_seed(1)
    posterior = method(problem, 20).sample(blind(window), 20)
    torch.testing.assert_close(posterior.x[:, :, -3:], free.x, rtol=0, atol=0)


@each_method
def test_a_case_that_sees_nothing_is_left_alone(method):
    """Whatever inflation, rotation and the other case: no observation of it, no change."""
    problem = small(forecast=0)
    window = problem.sample((2,)).window
    y = window.y.clone()
    y[0] = torch.nan
    torch.manual_seed(1)
    alone = FreeRun(problem, 10).sample(window, 10).x[:, 0, -1]
    torch.manual_seed(1)
    x = method(problem, 10).sample(window._replace(y=y), 10).x[:, :, -1]
    torch.testing.assert_close(x[:, 0], alone, rtol=0, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("method", EXACT.values(), ids=EXACT)
def test_a_batch_does_what_its_cases_do_alone(method, monkeypatch):
    """Also where the cases need different numbers of iterations."""
    observation = Observation(Identity((1, 6)), std=(0.5, 1.0), masks=(RandomMask(0.7),))
    problem = Problem(Lorenz96(size=6, dt=0.1), observation, window=5)
    window = problem.sample((4,)).window
    initial = window.background.flatten(1) + torch.randn(12, 4, 6)

    def sample(index):
        monkeypatch.setattr(Record, "prior", lambda record, members: initial[:, index])
        torch.manual_seed(1)
        return method(problem, 12).sample(window.select(index), 12).x

    together = sample(slice(0, 4))
    apart = torch.cat([sample(slice(i, i + 1)) for i in range(4)], dim=1)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-9)


@each_method
def test_members_that_fail_are_replaced_and_counted(method):
    """A third of the prior draws have no next; what is drawn has."""
    problem = Problem(BRITTLE, Observation(Identity((1, 2)), std=(2.0, 2.0)), window=2)
    zero = torch.zeros(6, 1, 2)
    window = Window(
        zero.unsqueeze(1).repeat(1, 2, 1, 1), 2 + zero.unsqueeze(1).repeat(1, 2, 1, 1), zero, 2 + zero, torch.zeros(6)
    )
    posterior = method(problem, 50).sample(window, 50)
    assert posterior.x.isfinite().all()
    assert (posterior.info["failed"] > 0).all()
    assert (posterior.info["failed"] < 50).all()


@each_method
def test_a_case_without_any_good_member_is_lost_alone(method):
    problem = Problem(BRITTLE, Observation(Identity((1, 2))), window=2)
    zero = torch.zeros(2, 1, 2)
    background = torch.tensor([[[100.0, 0.0]], [[-100.0, 0.0]]])
    y = background.unsqueeze(1).repeat(1, 2, 1, 1)
    window = Window(y, 1 + 0 * y, background, 1 + zero, torch.zeros(2))
    posterior = method(problem, 20).sample(window, 20)
    assert posterior.x[:, 0].isnan().all()
    assert posterior.x[:, 1].isfinite().all()
    assert posterior.info["failed"].tolist() == [20, 0]


def test_steps_that_lead_nowhere_are_halved():
    """Observations of what no member survives: filters lose the case, iterations stop where members live."""
    problem = Problem(BRITTLE, Observation(Identity((1, 2)), std=(0.1, 0.1)), window=2)
    zero, y = torch.zeros(2, 1, 2), torch.zeros(2, 2, 1, 2)
    y[0, 0, 0, 0] = 5
    window = Window(y, y * 0 + 0.1, zero, zero + 0.3, torch.zeros(2))
    assert ETKF(problem, 20).sample(window, 20).x.isnan().flatten(2).all(dim=-1).all(dim=0).tolist() == [True, False]
    for iterations in (1, 20):
        posterior = IEnKS(problem, 20, iterations=iterations).sample(window, 20)
        assert posterior.x.isfinite().all()
        assert posterior.info["converged"].tolist() == [0, iterations > 1]
    assert float(posterior.x[:, 0, 0, 0, 0].mean()) > 0.3


def test_failed_members_are_told_and_refilled_from_their_own_case():
    values = torch.arange(12.0).reshape(4, 3, 1)
    values[1, 0], values[3, 0], values[:, 1], values[0, 2] = torch.nan, torch.inf, torch.nan, -1e200
    good = is_valid(values, torch.ones(4, 3, 2))
    assert good.tolist() == [[True, False, False], [False, False, True], [True, False, True], [False, False, True]]
    filled = refill(good, values)
    assert filled[:, 0, 0].tolist() == [0, 6, 6, 6]
    assert filled[:, 1].isnan().all()
    assert filled[:, 2, 0].tolist() == [5, 5, 8, 11]


def test_draws_are_members_without_replacement_and_follow_the_model():
    problem = small()
    posterior = FreeRun(problem, 30).sample(problem.sample((3,)).window, 20)
    assert posterior.x.shape == (20, 3, 3, 1, 4)
    assert len(posterior.x[:, 0, 0, 0, 0].unique()) == 20
    torch.testing.assert_close(problem.system.step(posterior.x[:, :, 0]), posterior.x[:, :, 1])


def test_the_work_is_counted():
    problem = small()
    window = problem.sample((3,)).window
    info = ETKF(problem, 10).sample(window, 10).info
    assert info["model_steps"].tolist() == [10 * 7] * 3
    assert info["gradients"].tolist() == [0] * 3
    # One iteration runs through the window, its step is tried, and the result runs into the forecast.
    info = IEnKS(problem, 10, iterations=1).sample(window, 10).info
    assert info["model_steps"].tolist() == [10 * (5 + 5 + 7)] * 3


def test_without_a_background_the_prior_is_the_systems_own_ensemble():
    problem = small(forecast=0, joint="climatology", background_std=None, cycles=2)
    x = FreeRun(problem, 4000).sample(problem.sample((2,)).window, 4000).x[:, :, 0]
    assert float(x.mean(dim=0).abs().max()) < 4.5 / 4000**0.5
    assert float((x.var(dim=0) - 1).abs().max()) < 4.5 * (2 / 4000) ** 0.5


@pytest.mark.slow
@each_method
def test_unknown_parameters_are_learned(method):
    """The forcing of Lorenz-96 in a well observed window: to a twentieth of its prior spread, within its errors."""
    observation = Observation(Identity((1, 8)), std=(0.1, 0.1))
    problem = Problem(
        Lorenz96(size=8, dt=0.05),
        observation,
        window=20,
        background_std=(0.3, 0.3),
        parameters={"forcing": Normal(8.0, 1.0)},
    )
    twin = problem.sample((24,))
    posterior = method(problem, 60).sample(twin.window, 60)
    assert posterior.theta.shape == (60, 24, 1)
    z = (posterior.theta.mean(dim=0) - twin.theta) / posterior.theta.std(dim=0)
    assert float(posterior.theta.std(dim=0).mean()) < 0.05
    assert float(z.square().mean()) < 1 + 4 * (2 / 24) ** 0.5


@pytest.mark.parametrize("method", EXACT.values(), ids=EXACT)
def test_pieces_of_a_large_batch_are_the_batch(method, monkeypatch):
    """One case at a time, from the same members."""
    problem = small()
    window = problem.sample((3,)).window
    noise = torch.randn(20, 1, 4)
    monkeypatch.setattr(Record, "prior", lambda record, members: record.window.background.flatten(1) + noise)
    whole = method(problem, 20).sample(window, 20)
    monkeypatch.setattr(sys.modules["posterity.problems.chunks"], "MEMORY", 1)
    pieces = method(problem, 20).sample(window, 20)
    for found, expected in zip(moments(pieces.x), moments(whole.x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert pieces.info.keys() == whole.info.keys()
    # A case that has converged waits for the others of its batch, and alone for none.
    assert (pieces.info["model_steps"] <= whole.info["model_steps"]).all()


def test_sparse_observations_are_met_when_they_come():
    """Times without observations are forecasts: the same as one long step to the next observation."""
    masks = (TimeMask(every=3, start=2),)
    fine = Problem(LinearAdvection(size=4, dt=0.5), Observation(Identity((1, 4)), masks=masks), window=6)
    coarse = Problem(LinearAdvection(size=4, dt=1.5), Observation(Identity((1, 4))), window=2)
    window = fine.sample((3,)).window
    # The first state of the coarse problem is the third of the fine one.
    ahead = LinearAdvection(size=4, dt=1.0)
    initial = torch.randn(9, 3, 4)

    def sample(problem, window, start):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Record, "prior", lambda record, members: start)
            torch.manual_seed(1)
            return ETKF(problem, 9).sample(window, 9).x

    start = ahead.step(initial.unsqueeze(-2)).squeeze(-2)
    seen = window._replace(y=window.y[:, 2::3], std=window.std[:, 2::3])
    torch.testing.assert_close(sample(fine, window, initial), sample(coarse, seen, start))


def test_impossible_ensembles_are_refused():
    problem = small()
    with pytest.raises(ValueError, match=r"members: an ensemble needs at least 2, not 1"):
        ETKF(problem, members=1)
    with pytest.raises(ValueError, match=r"samples: 11 asked of an ensemble of 10 members; raise members"):
        ETKF(problem, members=10).sample(problem.sample((1,)).window, 11)
