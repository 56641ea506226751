"""What networks see of a window: one field for every pattern of observations."""

from itertools import product

import pytest
import torch

from posterity.estimators import Features, Standardizer
from posterity.problems import (
    Coarsen,
    Crop,
    GaussianStations,
    GridMask,
    Identity,
    Observation,
    Operator,
    Problem,
    RandomMask,
    Speed,
    Strided,
    Twin,
    Vorticity,
)
from posterity.systems import Kolmogorov, LinearAdvection, Lorenz96


@pytest.fixture
def masked(make_problem) -> tuple[Features, Twin]:
    """Half of the entries are missing, and all standard deviations differ."""
    problem = make_problem(6, masks=(RandomMask(0.5),), std=(0.5, 1.0), background_std=(0.5, 1.5))
    features, twin = Features(problem), problem.sample((50,))
    features.fit(twin.window)
    return features, twin


@pytest.fixture
def stations() -> Problem:
    """Two stations on a ring of eight sites, and windows that start at any of 21 times."""
    operator = GaussianStations((1, 8), positions=(1, 6))
    system = Lorenz96(size=8, spinup=0.0)
    observation = Observation(operator, std=(0.5, 0.5))
    return Problem(system, observation, 3, joint="climatology", background_std=None, start=(0, 20))


@pytest.mark.parametrize("value", [0.0, -1.0, 1e6, torch.inf, torch.nan])
def test_what_stands_under_the_mask_does_not_matter(masked, value) -> None:
    features, twin = masked
    window = twin.window
    std = torch.where(window.y.isnan(), value, window.std)
    assert torch.equal(features(window._replace(std=std)), features(window))
    # And what is observed does.
    assert not torch.allclose(features(window._replace(y=window.y + 0.1)), features(window))


def test_missing_entries_differ_from_zeros(masked) -> None:
    features, twin = masked
    filled = twin.window._replace(y=twin.window.y.nan_to_num())
    assert not torch.allclose(features(filled), features(twin.window))


def test_statistics_are_those_of_what_is_observed_and_are_saved(masked) -> None:
    features, twin = masked
    window, state = twin.window, features.state_dict()
    seen = window.y[~window.y.isnan()]
    torch.testing.assert_close(state["y.mean"].squeeze(), seen.mean())
    torch.testing.assert_close(state["y.scale"].squeeze(), seen.std(unbiased=False))
    torch.testing.assert_close(state["spread.mean"].squeeze(), window.background_std.mean())
    other = Features(features.problem)
    assert not torch.allclose(other(window), features(window))
    other.load_state_dict(state)
    assert torch.equal(other(window), features(window))


def test_constant_inputs_are_standardised_to_finite_numbers(make_problem) -> None:
    problem = make_problem(4)
    features, twin = Features(problem), problem.sample((20,))
    features.fit(twin.window)
    assert features(twin.window).isfinite().all()


def test_a_constant_of_training_tells_nothing_of_values_nearby(make_problem) -> None:
    """In single precision, where deviations of 0.3 have a spread of rounding: those of a user are a per cent off."""
    torch.set_default_dtype(torch.float32)
    try:
        problem = make_problem(4, masks=(), std=(0.3, 0.3), background_std=(0.7, 0.7))
        features, twin = Features(problem), problem.sample((4096,))
        # A climatology without spread, too.
        window = twin.window._replace(background=torch.full_like(twin.window.background, 250.1))
        features.fit(window)
        given = window._replace(
            std=1.01 * window.std, background_std=1.01 * window.background_std, background=window.background + 0.07
        )
        # Deviations, then background and its deviations; innovations are in units of deviations anyway.
        known, found = (features(each)[:, [4, 5, 6, 7, 16, 17]] for each in (window, given))
    finally:
        torch.set_default_dtype(torch.float64)
    assert float(known.abs().max()) < 0.01
    torch.testing.assert_close(found.mean(dim=(0, 2)), torch.full((6,), 0.1), atol=0.005, rtol=0, check_dtype=False)


def test_deviations_that_differ_keep_their_own_scale(make_problem) -> None:
    problem = make_problem(6, std=(0.5, 1.0))
    features, twin = Features(problem), problem.sample((4096,))
    features.fit(twin.window)
    assert float(features.std.scale) == pytest.approx(0.5 / 12**0.5, rel=0.02)
    assert float(features.state.scale) == pytest.approx(float(twin.window.background.std()), rel=1e-3)


def test_all_entries_missing_is_finite_too(masked) -> None:
    features, twin = masked
    assert features(twin.window._replace(y=torch.full_like(twin.window.y, torch.nan))).isfinite().all()


def test_channels_are_observations_background_and_time(make_problem) -> None:
    problem = make_problem()
    # Four times of observation, deviation, mask and innovation; two of the background; all windows start at once.
    assert Features(problem).shape == (4 * 4 + 2, 8)
    assert Features(problem, observed=False).shape == (2, 8)
    assert Features(problem, flat=True).shape == (18 * 8,)
    twin = problem.sample((3,))
    assert Features(problem)(twin.window).shape == (3, 18, 8)
    assert torch.equal(Features(problem, flat=True)(twin.window), Features(problem)(twin.window).flatten(1))


def test_innovations_are_those_of_the_trajectory_of_the_background(make_problem) -> None:
    """The trajectory of the background itself, observed without noise, has none."""
    problem = make_problem(masks=())
    twin = problem.sample((3,))
    still = torch.zeros(3, 5, 1, 8)
    x = problem.system.step(twin.window.background)
    states = [twin.window.background, x]
    for _ in range(2):
        states.append(problem.system.step(states[-1]))
    y = torch.stack(states, dim=1)
    found = Features(problem)(twin.window._replace(y=y))[:, 12:16]
    torch.testing.assert_close(found, still[:, :4, 0], atol=1e-12, rtol=0)
    found = Features(problem)(twin.window._replace(y=y + 0.5))[:, 12:16]
    torch.testing.assert_close(found, torch.full_like(found, 1.0).asinh())


def test_observations_that_stand_nowhere_are_refused_at_once(make_problem) -> None:
    """Before anything is simulated; what sees no observations takes any."""

    class Norm(Operator):
        """All of a state in one number."""

        @property
        def out_shape(self) -> tuple[int, ...]:
            return (1,)

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x.square().flatten(-2).sum(dim=-1, keepdim=True).sqrt()

    problem = Problem(Lorenz96(size=8), Observation(Norm((1, 8))), window=3)
    with pytest.raises(ValueError, match="operator: Norm does not say at which sites its observations stand"):
        Features(problem)
    assert Features(problem, observed=False).shape == (2, 8)


PLANE = (2, 6, 8)


@pytest.mark.parametrize(
    ("operator", "places"),
    [
        (Coarsen(PLANE, [3, 4]), [(1, 2), (1, 6), (4, 2), (4, 6)]),
        (Strided(PLANE, 4, [1, 2]), [(1, 2), (1, 6), (5, 2), (5, 6)]),
        (Crop(PLANE, [1, 3], [5, 5]), [(5, 5), (5, 6), (5, 7)]),
        (GaussianStations(PLANE, [(4, 1), (0, 7)]), [(4, 1), (0, 7)]),
        (Vorticity(PLANE), None),
        (Speed(PLANE), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_observations_of_planes_stand_at_their_sites(operator, places) -> None:
    system = LinearAdvection(size=PLANE[1:], names=("u", "v"), speed=(0.5, 0.3))
    problem = Problem(system, Observation(operator), window=1, joint="climatology", background_std=None)
    window = problem.sample((2,)).window
    field = Features(problem)(window)
    count = operator.out_shape[0]
    assert field.shape == (2, 3 * count, *PLANE[1:])
    places = list(product(*map(range, PLANE[1:]))) if places is None else places
    mask = torch.zeros(PLANE[1:])
    for number, (row, column) in enumerate(places):
        mask[row, column] = 1
        y = window.y[:, 0].flatten(2)[..., number]
        torch.testing.assert_close(field[:, :count, row, column], y)
    assert torch.equal(field[:, 2 * count :], mask.expand(2, count, *PLANE[1:]))


def test_stations_at_all_sites_in_another_order_stand_at_theirs() -> None:
    operator = GaussianStations((1, 4), positions=[2, 0, 3, 1], radius=0)
    problem = Problem(
        LinearAdvection(size=4), Observation(operator), window=1, joint="climatology", background_std=None
    )
    window = problem.sample((2,)).window
    assert torch.equal(Features(problem)(window)[:, 0, [2, 0, 3, 1]], window.y[:, 0, 0])


def test_stations_stand_at_their_sites(stations) -> None:
    twin = stations.sample((5,))
    field = Features(stations)(twin.window)
    assert field.shape == (5, 9 + 12, 8)
    mask = field[:, 6:9]
    assert torch.equal(mask, torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0]).expand_as(mask))
    torch.testing.assert_close(field[:, :3, [1, 6]], twin.window.y[:, :, 0])


def test_features_move_with_the_grid(make_problem) -> None:
    problem = make_problem(masks=())
    twin = problem.sample((5,))
    features = Features(problem)
    features.fit(twin.window)
    window = twin.window
    moved = type(window)(*(value.roll(3, -1) for value in window[:4]), window.start)
    torch.testing.assert_close(features(moved), features(window).roll(3, -1))


def test_the_time_is_seen_if_it_differs(stations) -> None:
    twin = stations.sample((5,))
    features, blind = Features(stations, times=2), Features(stations, times=0)
    assert (features.shape, blind.shape) == ((13, 8), (9, 8))
    for start, phases in ((0.0, [0.0, 0.0, 1.0, 1.0]), (20.0, [1.0, 0.0, 0.0, -1.0])):
        window = twin.window._replace(start=torch.full((5,), start))
        seen = features(window)[:, 9:]
        torch.testing.assert_close(seen, torch.tensor(phases).view(1, 4, 1).expand_as(seen), atol=1e-12, rtol=0)
        assert torch.equal(blind(window), blind(twin.window))


def test_nothing_to_see_is_a_field_without_channels(stations) -> None:
    features = Features(stations, observed=False, times=0)
    assert features(stations.sample((5,)).window).shape == (5, 0, 8)


def test_two_dimensional_grids_pass() -> None:
    standardizer = Standardizer((2, 3, 4))
    x = torch.tensor([1.0, -5.0]).view(2, 1, 1) + torch.tensor([2.0, 0.5]).view(2, 1, 1) * torch.randn(4000, 2, 3, 4)
    standardizer.fit(x)
    z = standardizer(x)
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-10, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 2, 3), unbiased=False), torch.ones(2))
    torch.testing.assert_close(standardizer.inverse(z), x)


def test_gaps_do_not_count_in_statistics() -> None:
    standardizer = Standardizer((1, 4))
    x = torch.randn(100, 1, 4)
    standardizer.fit(torch.where(torch.rand_like(x) < 0.5, x, torch.nan))
    assert standardizer(x).isfinite().all()
    standardizer.fit(torch.full_like(x, torch.nan))
    assert torch.equal(standardizer(x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_of_parts_are_those_of_the_whole(dtype) -> None:
    """With gaps, a constant channel, one that some parts never see, and one that none sees; far from zero too."""
    x = 100 + torch.randn(60, 5, 4, 6, dtype=dtype) * torch.tensor([1.0, 5.0, 1.0, 0.0, 1.0], dtype=dtype).view(5, 1, 1)
    x = torch.where(torch.rand(x.shape) < 0.3, torch.nan, x)
    x[:40, 2], x[:, 4] = torch.nan, torch.nan
    whole, parts = Standardizer((5, 4, 6)).to(dtype), Standardizer((5, 4, 6)).to(dtype)
    whole.fit(x, 0.5)
    for part in x.split(13):
        parts.count(part)
    parts.settle(0.5)
    tolerance = {"rtol": 1e-5, "atol": 0} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 0}
    torch.testing.assert_close(parts.mean, whole.mean, **tolerance)
    torch.testing.assert_close(parts.scale, whole.scale, **tolerance)
    seen = x[:, 1][~x[:, 1].isnan()]
    torch.testing.assert_close(whole.scale[1], seen.std(correction=0).view(1, 1), **tolerance)
    assert whole.scale.flatten()[3:].tolist() == [0.5, 1.0]


def test_negative_frequencies_are_refused(make_problem) -> None:
    with pytest.raises(ValueError, match="times: must not be negative, not -1"):
        Features(make_problem(), times=-1)


def test_masks_that_differ_are_one_network(make_problem) -> None:
    """The same shape for every pattern: that is what lets one network serve them all."""
    shapes = {Features(make_problem(masks=masks)).shape for masks in ((), (GridMask(2),), (RandomMask(0.5),))}
    assert shapes == {Features(make_problem()).shape}


def test_the_landscape_of_a_system_is_seen() -> None:
    """What a force does depends on where it acts: a flow that a wave drives is not the same when shifted along it."""
    flow = Kolmogorov(size=16, dt=0.1, spinup=0.0)
    problem = Problem(flow, Observation(Identity(flow.shape)), window=2, joint="climatology", background_std=None)
    found = Features(problem, times=0)
    twin = problem.sample((3,))
    found.fit(twin.window)
    assert torch.equal(found(twin.window)[:, -1:], flow.landscape.to(twin.window.y).expand(3, 1, 16, 16))
    assert found.shape[0] == 1 + 3 * 2 * 2 == Features(problem, times=0, flat=True).shape[0] // 256 + 1
