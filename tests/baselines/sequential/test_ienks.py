"""The iterative smoother: its minimum, its sliding window, its published errors."""

import pytest
import torch

from posterity.baselines import ETKF, EnKS, IEnKS
from posterity.baselines.sequential.record import Record
from posterity.problems import Identity, Observation, Problem, RandomMask
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96


def sample(method, window, samples=20):
    torch.manual_seed(1)
    return method.sample(window, samples)


def test_one_iteration_is_the_smoother_of_a_linear_problem():
    """The first state given all observations at once is that given one after another."""
    problem = Problem(LinearAdvection(size=6), Observation(Identity((1, 6)), masks=(RandomMask(0.7),)), window=5)
    window = problem.sample((3,)).window
    one, enks = sample(IEnKS(problem, 20, iterations=1), window), sample(EnKS(problem, 20), window)
    torch.testing.assert_close(one.x.mean(dim=0), enks.x.mean(dim=0))
    anomalies = [p.x.flatten(3) - p.x.flatten(3).mean(dim=0) for p in (one, enks)]
    first, second = (torch.einsum("scti,sctj->ctij", a, a) for a in anomalies)
    torch.testing.assert_close(first, second)
    assert (one.info["iterations"] == 1).all()


@pytest.mark.parametrize(("lag", "shift"), [(0, 1), (1, 1), (3, 1), (3, 2), (3, 4)])
def test_sliding_windows_of_a_linear_problem_follow_the_filter(lag, shift):
    """Seven states do not divide by all shifts: the last window is shorter. The ends of shifts are filtered."""
    problem = Problem(
        LinearAdvection(size=6), Observation(Identity((1, 6)), masks=(RandomMask(0.7),)), window=1, cycles=7
    )
    window = problem.sample((3,)).window
    filtered = sample(ETKF(problem, 20), window)
    sliding = sample(IEnKS(problem, 20, lag=lag, shift=shift), window)
    ends = [*range(shift - 1, 6, shift), 6]
    mean, expected = (p.x[:, :, ends].mean(dim=0) for p in (sliding, filtered))
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-8)
    variance, expected = (p.x[:, :, ends].var(dim=0) for p in (sliding, filtered))
    torch.testing.assert_close(variance, expected, rtol=0, atol=1e-8)


def test_iterations_find_the_mode():
    """The mean of the ensemble is the mode of the cost with the prior's sample covariance, which one step misses.

    Observations are accurate, so that the model is linear over the ensemble that they leave, and its sensitivities
    are right; the prior is wide, so that the way there is not straight. Measured in posterior standard deviations.
    """
    observation = Observation(Identity((1, 8)), std=(0.01, 0.01), masks=(RandomMask(0.5),))
    problem = Problem(Lorenz96(size=8, dt=0.1), observation, window=6, background_std=(0.5, 0.5))
    window = problem.sample((6,)).window
    torch.manual_seed(1)
    prior = Record(problem, window).prior(40)
    anomalies = (prior - prior.mean(dim=0)).movedim(0, 1)
    precision = torch.linalg.inv(anomalies.mT @ anomalies / 39)

    def cost(x0, mean, precision, y, std):
        departure = x0 - mean
        x = problem.system.rollout(x0.unflatten(0, (1, 8)), 5)
        residual = torch.where(y.isnan(), 0, (y.nan_to_num() - x) / std)
        return 0.5 * (departure @ precision @ departure + residual.square().sum())

    def distance(iterations):
        posterior = sample(IEnKS(problem, 40, iterations=iterations, tolerance=1e-3), window, 40)
        point = (posterior.x[:, :, 0].mean(dim=0).flatten(1), prior.mean(dim=0), precision, window.y, window.std)
        gradient, hessian = (torch.func.vmap(f(cost))(*point) for f in (torch.func.grad, torch.func.hessian))
        return (gradient * torch.linalg.solve(hessian, gradient)).sum(dim=-1).sqrt()

    assert float(distance(40).max()) < 0.1
    assert float(distance(1).min()) > 5


def test_more_iterations_change_nothing_once_converged():
    problem = Problem(Lorenz96(size=8, dt=0.1), Observation(Identity((1, 8))), window=4)
    window = problem.sample((6,)).window
    some, more = (sample(IEnKS(problem, 40, iterations=n), window) for n in (20, 60))
    assert some.info["converged"].all()
    torch.testing.assert_close(some.x, more.x, rtol=0, atol=0)
    assert (some.info["iterations"] > 1).all()


def test_shifts_that_leave_gaps_are_refused():
    problem = Problem(LinearAdvection(size=6), Observation(Identity((1, 6))), window=5)
    assert IEnKS(problem).stride == 5
    for shift in (0, 4):
        with pytest.raises(ValueError, match=rf"shift: must be between 1 and lag \+ 1 = 3, not {shift}"):
            IEnKS(problem, lag=2, shift=shift)
    for name, message in (("lag", "must not be negative"), ("iterations", "at least one"), ("tolerance", "negative")):
        with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
            IEnKS(problem, **{name: -1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "std", "method", "published", "cases"),
    [
        (
            Lorenz96(size=40, dt=0.2, substeps=4),
            1.0,
            lambda problem: IEnKS(problem, 20, inflation=1.05, rotation=True, lag=4, shift=1, iterations=10),
            0.31,
            4,
        ),
        (
            Lorenz63(dt=0.25, substeps=10),
            2**0.5,
            lambda problem: IEnKS(problem, 10, inflation=1.02, rotation=True, lag=1, shift=1, iterations=10),
            0.31,
            12,
        ),
    ],
    ids=["Lorenz-96", "Lorenz-63"],
)
def test_published_errors(system, std, method, published, cases):
    """Of the last state of each window: Bocquet & Sakov (2013) and Sakov, Oliver & Bertino (2012), as DAPPER has them.

    Their runs are far longer: from a good start, 60 cycles after the first 20 lie within 5 errors.
    """
    observation = Observation(Identity(system.shape), std=(std, std))
    problem = Problem(system, observation, window=1, cycles=80, background_std=(0.05, 0.05))
    twin = problem.sample((cases,))
    ensemble = method(problem)
    x = ensemble.sample(twin.window, ensemble.members).x
    rmse = (x.mean(dim=0) - twin.x)[:, 20:].flatten(2).square().mean(dim=-1).sqrt().mean(dim=1)
    assert abs(float(rmse.mean()) - published) < 5 * float(rmse.std()) / cases**0.5
