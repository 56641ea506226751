"""Observation operators: values, adjoints, derivatives, refusals."""

import pytest
import torch

from posterity.problems import Channels, Composed, GaussianStations, Identity, Pointwise, Quadratic
from posterity.testing import check_operator

RING = (2, 12)
OPERATORS = {
    "Identity": Identity(RING),
    "Quadratic": Quadratic(RING),
    "atan": Pointwise(RING, "atan", scale=3.0),
    "exp": Pointwise(RING, "exp"),
    "stations": GaussianStations(RING),
    "channels": Channels(RING, [1]),
    "clipped": GaussianStations(RING, positions=[0, 5, 11], wrap=False),
    "Composed": Composed(RING, [Quadratic(RING), GaussianStations(RING)]),
}
each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


@each_operator
def test_what_is_taken_for_granted(operator):
    """Shapes and batches, derivatives, and adjoints that are transposes."""
    check_operator(operator)


def test_values():
    x = torch.tensor([[-2.0, 0.5, 3.0]])
    torch.testing.assert_close(Identity((1, 3))(x), x)
    torch.testing.assert_close(Quadratic((1, 3))(x), torch.tensor([[4.0, 0.25, 9.0]]))
    torch.testing.assert_close(Pointwise((1, 3), "atan", scale=2.0)(x), torch.atan(x / 2))


def test_channels_are_chosen_in_their_order():
    x = torch.randn(5, 4, 3, 7)
    assert torch.equal(Channels((3, 7), [2, 0])(x), torch.stack((x[..., 2, :], x[..., 0, :]), dim=-2))
    assert torch.equal(Channels((3,), [1])(x[..., 0]), x[..., 1:2, 0])
    assert Channels((3, 7), [2, 0]).sites.tolist() == list(range(7))


@pytest.mark.parametrize("channels", [[], [3], [-1], [0, 0], ["x"], [True]])
def test_channels_that_are_none_are_refused(channels):
    with pytest.raises(ValueError, match="channels: must be some of the numbers 0 to 2, each once"):
        Channels((3,), channels)


def test_composition_acts_in_order():
    x = torch.randn(5, *RING)
    stations = GaussianStations(RING)
    torch.testing.assert_close(OPERATORS["Composed"](x), stations(x.square()))
    assert Composed(RING, []).out_shape == RING
    torch.testing.assert_close(Composed(RING, [])(x), x)


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ([], True),
        ([Identity(RING)], True),
        ([Quadratic(RING)], False),
        ([Identity(RING), GaussianStations(RING)], False),
    ],
)
def test_a_composition_observes_the_state_if_all_of_it_does(operators, expected):
    assert Composed(RING, operators).observes_state is expected


# exp(−d²/2·0.8²) for d = 1 and 2; nothing beyond the radius of 2.
WEIGHTS = (1.0, 0.458, 0.0439)


def test_stations_weigh_their_neighbourhood():
    operator = GaussianStations((1, 12), positions=[5])
    expected = torch.zeros(12)
    expected[3:8] = torch.tensor([WEIGHTS[2], WEIGHTS[1], WEIGHTS[0], WEIGHTS[1], WEIGHTS[2]])
    seen = operator(torch.eye(12).unsqueeze(-2)).flatten()
    torch.testing.assert_close(seen, expected, atol=5e-4, rtol=0)
    assert float(seen[3]) == pytest.approx(torch.e ** (-2 / 0.64))


def test_stations_at_the_edge_wrap_or_clip():
    basis = torch.eye(12).unsqueeze(-2)
    wrapped = GaussianStations((1, 12), positions=[0, 11])(basis).squeeze(-2).mT
    clipped = GaussianStations((1, 12), positions=[0, 11], wrap=False)(basis).squeeze(-2).mT
    near = torch.tensor(WEIGHTS)
    nothing = torch.zeros(7)
    left = torch.cat((near, nothing, near[[2, 1]]))
    torch.testing.assert_close(wrapped, torch.stack((left, left.flip(0))), atol=5e-4, rtol=0)
    left = torch.cat((near, torch.zeros(9)))
    torch.testing.assert_close(clipped, torch.stack((left, left.flip(0))), atol=5e-4, rtol=0)


def test_stations_commute_with_shifts_if_they_wrap():
    x = torch.randn(1, 12)
    at_three, at_ten = (GaussianStations((1, 12), positions=[p]) for p in (3, 10))
    torch.testing.assert_close(at_ten(x.roll(7, -1)), at_three(x))


def test_stations_stand_in_their_blocks_and_are_drawn_from_the_seed_alone():
    stands = []
    for seed in range(20):
        torch.manual_seed(seed + 100)
        operator = GaussianStations((1, 40), kernel=3, stride=1, seed=seed)
        assert len(operator.positions) == 10
        assert all(4 * block <= site < 4 * block + 3 for block, site in enumerate(operator.positions))
        assert operator.positions == GaussianStations((1, 40), kernel=3, stride=1, seed=seed).positions
        stands.append(operator.positions)
    assert len(set(stands)) > 15


def test_stations_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    GaussianStations((1, 40))
    assert torch.equal(before, torch.random.get_rng_state())


def test_stations_keep_the_precision_of_the_state():
    assert GaussianStations((1, 12))(torch.randn(1, 12, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize("name", ["attan", "float32", "sort", "matmul", "nn", "softmax", "argsort", "isnan"])
def test_unknown_functions_are_refused(name):
    with pytest.raises(ValueError, match=f"function: torch has no pointwise function '{name}' .*try atan"):
        Pointwise(RING, name)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pointwise(RING, "atan", scale=0.0), "scale: must be positive, not 0"),
        (lambda: GaussianStations((3,)), "kernel: there is no grid"),
        (lambda: GaussianStations(RING, positions=[12]), "positions: must name sites 0 to 11"),
        (lambda: GaussianStations(RING, positions=[-1]), "positions: must name sites 0 to 11"),
        (lambda: GaussianStations(RING, positions=[]), "positions: must name sites 0 to 11"),
        (lambda: GaussianStations(RING, kernel=10, stride=4), "kernel: 10 sites and 4 between do not fit"),
        (lambda: GaussianStations(RING, width=0.0), "width: must be positive, not 0"),
        (lambda: Composed(RING, [GaussianStations(RING), Quadratic(RING)]), r"operators: .*\(2, 12\).*\(2, 3\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_observations_know_where_they_stand():
    """On the flattened grid of the state, through whatever stands between."""
    stations = GaussianStations(RING, positions=[2, 5, 9])
    of_stations = GaussianStations((2, 3), positions=[2, 0], kernel=1)
    assert Identity((2, 3, 4)).sites.tolist() == list(range(12))
    assert stations.sites.tolist() == [2, 5, 9]
    assert Composed(RING, [Quadratic(RING), stations, of_stations]).sites.tolist() == [9, 2]


def test_a_class_that_sees_otherwise_forgets_what_is_seen_at_a_site():
    class Cubic(Quadratic):
        """Cubes."""

        def __call__(self, x):
            """Cubes each entry."""
            return x**3

    class Named(Quadratic):
        """The same under another name."""

    assert Cubic(RING).at_site([2.0, 3.0]) is None
    assert Named(RING).at_site([2.0, 3.0]) == [4.0, 9.0]
    assert Composed(RING, [Quadratic(RING), Channels(RING, [1])]).at_site([2.0, 3.0]) == [9.0]
    assert Composed(RING, [Quadratic(RING), GaussianStations(RING)]).at_site([2.0, 3.0]) is None
