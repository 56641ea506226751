"""What local networks learn from: crops of trajectories, their times, and separators."""

from dataclasses import replace

import pytest
import torch

from posterity.diffusion import PredictorCorrector
from posterity.estimators.trajectories.local import Clock, Crop
from posterity.estimators.trajectories.methods import SDA, SOSDA, SharedSOSDA
from posterity.nn import MLP, Convolution, ResidualMLP
from posterity.problems import Identity, Normal, Observation, Problem, RandomMask, Uniform
from posterity.systems import Kolmogorov, Lorenz63, Lorenz96
from posterity.testing import blind, check_estimator, check_loss

SMALL = Convolution(width=8, blocks=1, kernel=3)


def ring(**options) -> Problem:
    """Windows of Lorenz-96 with an unknown forcing, half of it seen."""
    observation = Observation(Identity((1, 8)), masks=(RandomMask(0.5),))
    settings = {"joint": "climatology", "background_std": None, "parameters": {"forcing": Uniform(6.0, 10.0)}}
    return Problem(Lorenz96(size=8), observation, **{"window": 5, "forecast": 1} | settings | options)


def vector(**options) -> Problem:
    """Windows of three variables without a grid, with two unknown parameters."""
    observation = Observation(Identity((3,)), masks=(RandomMask(0.5),))
    parameters = {"rho": Normal(28.0, 1.0), "sigma": Normal(10.0, 1.0)}
    return Problem(Lorenz63(), observation, **{"window": 5, "parameters": parameters} | options)


PROBLEMS = {"ring": ring(), "vector": vector()}


@pytest.mark.parametrize("kind", [SOSDA, SharedSOSDA])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_crops_are_parts_of_trajectories_with_their_parameters(problem, kind) -> None:
    estimator = kind(problem, order=1, crops=3, **({"stride": 1} if kind is SharedSOSDA else {}))
    twin = problem.sample((20,))
    twin = twin._replace(window=twin.window._replace(start=torch.arange(20) * 10.0))
    estimator.standardize(twin)
    x, v, start = estimator.crop(twin)
    assert x.shape == (60, 3, *problem.shape)
    for row in range(60):
        case, first = int(start[row]) // 10, int(start[row]) % 10
        expected = twin.x[case, first : first + 3]
        torch.testing.assert_close(estimator.scaler.inverse(x[row]), expected)
        beside = v[row].view(-1, len(problem.parameters))
        torch.testing.assert_close(problem.decode_parameters(beside), twin.theta[case].expand(beside.shape))
    assert v.shape[1] == len(problem.parameters) * (3 if kind is SOSDA else 1)
    assert set((start % 10).tolist()) == set(range(problem.steps - 2))


def test_states_are_standardised_by_channel() -> None:
    problem = vector()
    estimator, twin = SOSDA(problem, 1), problem.sample((400,))
    estimator.standardize(twin)
    z = estimator.scaler(twin.x)
    torch.testing.assert_close(z.mean(dim=(0, 1)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 1)), torch.ones(3), atol=1e-3, rtol=0)
    other = SOSDA(problem, 1)
    other.measure(
        type(twin)(twin.x[part], twin.theta[part], twin.window.select(part)) for part in (slice(150), slice(150, None))
    )
    torch.testing.assert_close(other.scaler.scale, estimator.scaler.scale)
    torch.testing.assert_close(other.first.mean, twin.x[:, 0].mean(dim=0))


def test_a_drift_keeps_parameters_standard_normal() -> None:
    estimator = SOSDA(vector(), 2, drift=0.6)
    found = estimator.beside(torch.randn(20_000, 2)).view(-1, 5, 2)
    torch.testing.assert_close(found.var(dim=0), torch.ones(5, 2), atol=0.05, rtol=0)
    lag = (found[:, 1:] * found[:, :-1]).mean(dim=0)
    torch.testing.assert_close(lag, torch.full((4, 2), 0.8), atol=0.03, rtol=0)
    v = torch.randn(4, 2)
    torch.testing.assert_close(SOSDA(vector(), 2).beside(v), v.repeat(1, 5))
    assert torch.equal(estimator.beside(v).view(4, 5, 2)[:, 2], v)


def test_a_separator_shows_nothing_of_other_states() -> None:
    estimator = SharedSOSDA(vector(), 2, ResidualMLP(16, 1), stride=2)
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, v = torch.randn(6, 5, 3), torch.randn(6, 2)
    other = torch.cat((x[:, :3], torch.randn(6, 2, 3)), dim=1)
    angle, start = torch.rand(6), torch.zeros(6)
    whole = torch.arange(6) < 3
    (found, theta), (again, theta_again) = (estimator.local(z, v, angle, start, whole) for z in (x, other))
    torch.testing.assert_close(again[3:, :3], found[3:, :3])
    torch.testing.assert_close(theta_again[3:], theta[3:])
    assert not torch.allclose(again[:3, :3], found[:3, :3])
    told = estimator.local(x, v, angle, start, ~whole)[0]
    assert not torch.allclose(told[:, :3], found[:, :3])


def test_the_loss_of_a_network_that_knows_nothing_is_one() -> None:
    """Of states and parameters of unit variance, at every level of noise; also where states are missing."""
    for problem in (ring(window=9), vector(window=9)):
        for estimator in (SOSDA(problem, 2), SharedSOSDA(problem, 2, stride=2, crops=4)):
            twin = problem.sample((300,))
            estimator.standardize(twin)
            for parameter in estimator.local.parameters():
                torch.nn.init.zeros_(parameter)
            assert float(estimator.loss(twin).detach()) == pytest.approx(1, abs=0.06)


def test_crops_know_their_time_where_asked() -> None:
    problem = ring(start=(0, 4))
    plain, timed = SOSDA(problem, 1, SMALL), SOSDA(problem, 1, SMALL, times=3)
    twin = problem.sample((50,))
    timed.standardize(twin)
    assert (float(timed.local.clock.first), float(timed.local.clock.last)) == (0, 4 + 6 - 3)
    channels = [estimator.local.residual.network.first for estimator in (plain, timed)]
    assert [next(layer.parameters()).shape[1] for layer in channels] == [6, 12]
    clock = timed.local.clock
    torch.testing.assert_close(clock(torch.tensor([0.0])), torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]))
    # Later than any crop of the training, a state is as the last ones.
    torch.testing.assert_close(clock(torch.tensor([7.0])), clock(torch.tensor([70.0])))
    assert Clock(0)(torch.zeros(4)).shape == (4, 0)


def test_a_landscape_tells_sites_apart() -> None:
    """Shifts by a period of the forcing change nothing; others along its waves do."""
    flow = Kolmogorov(size=16, dt=0.1, wavenumber=2)
    problem = Problem(flow, Observation(Identity(flow.shape)), window=3, joint="climatology", background_std=None)
    x, v = torch.randn(2, 3, 2, 16, 16), torch.zeros(2, 0)
    local = SDA(problem, 1, SMALL).local
    for parameter in local.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

    def found(x: torch.Tensor) -> torch.Tensor:
        return local(x, v, torch.tensor([0.3, 0.8]), torch.zeros(2), torch.ones(2, dtype=torch.bool))[0]

    for rows, columns, same in ((8, 3, True), (3, 0, False)):
        moved = found(x.roll((rows, columns), (-2, -1))).roll((-rows, -columns), (-2, -1))
        assert torch.allclose(moved, found(x)) == same


def test_observations_train_nothing() -> None:
    problem = ring()
    estimator, twin = SOSDA(problem, 1, SMALL), problem.sample((20,))
    estimator.standardize(twin)
    losses = []
    for seen in (twin, twin._replace(window=blind(twin.window))):
        torch.manual_seed(2)
        losses.append(estimator.loss(seen))
    assert torch.equal(*losses)


@pytest.mark.parametrize("kind", [SOSDA, SharedSOSDA])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_weight_learns(problem, kind) -> None:
    options = {"times": 2} | ({"stride": 2} if kind is SharedSOSDA else {})
    estimator = kind(problem, 1, SMALL if problem.shape[1:] else MLP((8,)), **options)
    twin = problem.sample((20,))
    estimator.standardize(twin)
    assert all(check_loss(estimator, twin).values())


def test_values_and_their_parts() -> None:
    for crop in (Crop(3, (2, 4, 4), 2), Crop(3, (2, 4, 4), 0), Crop(3, (3,), 2)):
        x, v = torch.randn(5, 3, *crop.shape), torch.randn(5, crop.numbers)
        z = crop.join(x, v)
        assert z.shape == (5, *crop.layout.shape)
        for found, expected in zip(crop.split(z), (x, v), strict=True):
            assert torch.equal(found, expected)
        seen = crop.layout.spread(z)
        assert seen.shape == (5, *crop.layout.field)
        if crop.shape[1:]:
            torch.testing.assert_close(seen[:, 2:4], x[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SDA, SOSDA, SharedSOSDA])
def test_it_keeps_what_estimators_promise(kind) -> None:
    options = {"stride": 1} if kind is SharedSOSDA else {}
    sampler = PredictorCorrector(4)
    check_estimator(lambda problem: kind(problem, 1, SMALL, sampler=sampler, **options), density=None)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SOSDA, {"order": 0}, "order: at least one state on either side is needed, not 0"),
        (SOSDA, {"crops": 0}, "crops: at least one of each trajectory is needed, not 0"),
        (SOSDA, {"drift": 1.0}, "drift: must not be negative, and be less than 1, not 1"),
        (SOSDA, {"times": -1}, "times: must not be negative"),
        (SharedSOSDA, {"order": 1}, "stride: must lie between 1 and 2, twice the order, not 4"),
    ],
)
def test_mistakes_are_named(kind, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        kind(vector(), **options)


def test_trajectories_that_are_shorter_than_crops_are_refused() -> None:
    problem = replace(ring(), window=4, forecast=0)
    estimator, twin = SOSDA(problem, 2, SMALL), problem.sample((8,))
    estimator.standardize(twin)
    with pytest.raises(ValueError, match="order: crops of 5 states, and trajectories have 4; make window or forecast"):
        estimator.loss(twin)


def test_unknown_parameters_are_none_of_sda() -> None:
    with pytest.raises(ValueError, match="parameters: SDA takes them for known, and forcing are not; choose sosda"):
        SDA.check_problem(ring())


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_centred_residuals_of_parameters_have_mean_zero(problem, monkeypatch) -> None:
    """Of residuals that say more of whole crops than of separators: what they say on average is taken off."""
    estimator = SharedSOSDA(problem, order=1, crops=8, stride=1)
    states = torch.randn(2048, problem.steps, *problem.shape)
    theta = problem.decode_parameters(torch.randn(2048, len(problem.parameters)))
    one = problem.sample((1,))
    twin = one._replace(x=states, theta=theta, window=one.window._replace(start=torch.zeros(2048)))
    estimator.standardize(twin)

    def residual(x, v, angle, start, whole):
        return x, angle.tan().unsqueeze(-1) * (0.5 - 0.3 * v + whole.unsqueeze(-1) + x.flatten(1)[:, :1])

    monkeypatch.setattr(estimator.local, "forward", residual)
    estimator.settle([twin] * 2)
    x, v, angle = torch.randn(9, 3, *problem.shape), torch.randn(9, len(problem.parameters)), torch.tensor([0.3])
    for whole in (False, True):
        given = x, v, angle, torch.zeros(9), torch.full((9,), whole)
        found = estimator.local.centred(*given)[1] / angle.tan()
        # Terms at a level have a twentieth of the rows.
        torch.testing.assert_close(found, x.flatten(1)[:, :1].expand(found.shape), atol=0.25, rtol=0)
