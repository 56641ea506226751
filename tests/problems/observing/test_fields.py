"""Operators and masks of grids in one dimension and in two: values, sites, derivatives, refusals."""

from math import exp, pi

import numpy as np
import pytest
import torch

from posterity.experiment import catalog
from posterity.problems import (
    Arctan,
    Channels,
    Coarsen,
    Composed,
    Crop,
    GaussianStations,
    GridMask,
    Observation,
    Pointwise,
    RingMask,
    Saturation,
    Speed,
    Strided,
    TrackMask,
    Truncation,
    Vorticity,
)
from posterity.testing import check_operator

RING, FIELD = (1, 12), (2, 6, 9)
#: Options that kinds of the catalogue need.
OPTIONS = {
    "channels": {"channels": [0]},
    "coarsen": {"factor": 3},
    "crop": {"size": 4, "start": 1},
    "pointwise": {"function": "tanh"},
    "truncation": {"cutoff": 2},
}
#: Those that are of velocities on a plane alone.
PLANE = ("vorticity",)
CASES = [
    (kind, shape)
    for kind in catalog.CATALOG["operator"]
    for shape in (RING, FIELD, (2, 8, 8))
    if len(shape) == 3 or kind not in PLANE
]


def made(kind: str, shape: tuple[int, ...]):
    options = OPTIONS.get(kind, {})
    if kind == "coarsen" and shape == (2, 8, 8):
        options = {"factor": [2, 4]}
    return catalog.resolve("operator", kind)(shape, **options)


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_all_of_the_catalogue_keep_the_rules(kind, shape):
    """Any batch and precision, derivatives forward and back, adjoints that are transposes, sites on the grid."""
    operator = made(kind, shape)
    check_operator(operator)
    assert operator == made(kind, shape)


def test_block_averages():
    x = torch.randn(3, 2, 6, 9)
    seen = Coarsen(FIELD, [2, 3])(x).numpy()
    for row in range(3):
        for column in range(3):
            block = x.numpy()[:, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            np.testing.assert_allclose(seen[:, :, row, column], block.mean(axis=(2, 3)))
    assert Coarsen(FIELD, [2, 3]).sites.tolist() == [9 * row + column for row in (1, 3, 5) for column in (1, 4, 7)]
    assert Coarsen((1, 9), 3).sites.tolist() == [1, 4, 7]


def test_crops_and_strides_are_slices_at_their_own_sites():
    x = torch.arange(54.0).view(1, 6, 9)
    for operator, expected in (
        (Crop((1, 6, 9), size=[2, 3], start=[4, 1]), x[:, 4:6, 1:4]),
        (Strided((1, 6, 9), every=[2, 4], start=[1, 0]), x[:, 1::2, ::4]),
        (Strided((1, 6, 9), every=4), x[:, ::4, ::4]),
    ):
        assert operator.out_shape == expected.shape
        assert torch.equal(operator(x), expected)
        assert operator.sites.tolist() == expected.flatten().tolist()


def test_equality_does_not_depend_on_what_was_asked_before():
    asked, fresh = Strided(FIELD), Strided(FIELD)
    assert asked.out_shape == (2, 3, 5)
    assert asked == fresh
    assert asked != Strided(FIELD, start=1)


TRIVIAL = [
    (Coarsen((2, 12), 3), lambda shape, one: Coarsen(shape, one(3, 1))),
    (Crop((2, 12), 5, 2), lambda shape, one: Crop(shape, one(5, 1), one(2, 0))),
    (Strided((2, 12), 5, 1), lambda shape, one: Strided(shape, one(5, 1), one(1, 0))),
    (Truncation((2, 12), 3), lambda shape, one: Truncation(shape, one(3, 0))),
    (
        GaussianStations((2, 12), seed=4),
        lambda shape, one: GaussianStations(shape, kernel=one(3, 1), stride=one(1, 0), radius=one(2, 0), seed=4),
    ),
]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("line", "plane"), TRIVIAL, ids=lambda case: type(case).__name__)
def test_one_dimension_is_two_with_a_trivial_axis(line, plane, axis):
    shape = (2, 12, 1) if axis == 0 else (2, 1, 12)
    operator = plane(shape, lambda long, short: [long, short] if axis == 0 else [short, long])
    x = torch.randn(3, 2, 12)
    # Axes draw in turn, so a trivial one in front leaves other numbers to the second.
    if not isinstance(line, GaussianStations) or axis == 0:
        torch.testing.assert_close(operator(x.view(3, *shape)).flatten(2), line(x))
    if not isinstance(line, Truncation):
        assert operator.sites.shape == line.sites.shape


@pytest.mark.parametrize("wrap", [True, False])
def test_given_stations_of_a_line_are_those_of_a_plane_of_one_row(wrap):
    x, places = torch.randn(3, 2, 12), [0, 5, 11]
    line, row, column = (
        GaussianStations(shape, given, radius=4, width=1.5, wrap=wrap, kernel=1, stride=0)
        for shape, given in (
            ((2, 12), places),
            ((2, 1, 12), [(0, place) for place in places]),
            ((2, 12, 1), [(place, 0) for place in places]),
        )
    )
    torch.testing.assert_close(row(x[:, :, None]), line(x))
    torch.testing.assert_close(column(x[..., None]), line(x))
    assert row.sites.tolist() == column.sites.tolist() == line.sites.tolist() == places


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("radius", [2, [1, 3], [0, 20]])
def test_stations_of_a_plane_are_loops_over_sites(wrap, radius):
    grid, x = (7, 8), torch.randn(2, 7, 8)
    places = [(0, 0), (3, 4), (6, 7), (2, 7), (3, 4)]
    operator = GaussianStations((2, *grid), places, radius=radius, width=1.3, wrap=wrap)
    reach = (radius, radius) if isinstance(radius, int) else radius
    expected = np.zeros((2, len(places)))
    for station, place in enumerate(places):
        for site in np.ndindex(grid):
            apart = [abs(a - b) for a, b in zip(site, place, strict=True)]
            if wrap:
                apart = [min(d, size - d) for d, size in zip(apart, grid, strict=True)]
            if all(d <= r for d, r in zip(apart, reach, strict=True)):
                expected[:, station] += exp(-sum(d * d for d in apart) / (2 * 1.3**2)) * x.numpy()[:, *site]
    np.testing.assert_allclose(operator(x).numpy(), expected, atol=1e-12)
    assert operator.sites.tolist() == [8 * row + column for row, column in places]


def test_stations_of_the_literature_on_a_plane():
    """6 × 6 of them on 32 × 32 sites, one in the first 3 × 3 of each block of 6 × 6, as far as the grid goes."""
    options = {"kernel": (3, 3), "stride": (3, 3), "radius": (3, 3), "width": 1.0, "wrap": False}
    found = set()
    for seed in range(30):
        operator = GaussianStations((2, 32, 32), **options, seed=seed)
        assert operator.out_shape == (2, 36)
        for number, place in enumerate(operator.positions):
            for site, block in zip(place, divmod(number, 6), strict=True):
                assert 6 * block <= site < min(6 * block + 3, 32)
        found |= set(operator.positions)
    everywhere = {site for site in range(32) if site % 6 < 3}
    assert {row for row, _ in found} == {column for _, column in found} == everywhere
    assert GaussianStations((2, 32, 32), **options, partial=False).out_shape == (2, 25)


def test_stations_of_a_line_stay_where_they_were():
    """As drawn and weighed by matrices before there were planes."""
    for size, kernel, stride, seed in ((40, 3, 1, 0), (13, 3, 1, 5), (10, 2, 3, 1)):
        blocks = torch.arange(0, size - kernel + 1, kernel + stride)
        sites = blocks + torch.randint(kernel, blocks.shape, generator=torch.Generator().manual_seed(seed))
        operator = GaussianStations((1, size), kernel=kernel, stride=stride, seed=seed)
        assert operator.positions == tuple(sites.tolist())
        distance = (sites[:, None] - torch.arange(size)).abs()
        distance = torch.minimum(distance, size - distance).double()
        matrix = torch.exp(-0.5 * (distance / 0.8) ** 2) * (distance <= 2)
        x = torch.randn(4, 1, size)
        torch.testing.assert_close(operator(x), x @ matrix.mT, rtol=1e-14, atol=1e-14)


def test_stations_hold_their_neighbourhoods_alone():
    operator = GaussianStations((2, 256, 256), kernel=3, stride=3, radius=3)
    assert operator.weight.value.shape == (43 * 43, 49)
    assert operator.index.value.shape == (43 * 43, 49)


@pytest.mark.parametrize("grid", [(16, 16), (9, 12), (15, 7)])
def test_vorticity_of_taylor_and_green(grid):
    """u = sin x cos 2y, v = −½ cos x sin 2y is free of divergence; ∂v/∂x − ∂u/∂y = (½ + 2) sin x sin 2y."""
    length = (3.0, 5.0)
    y = torch.arange(grid[0]).view(-1, 1) * (2 * pi / grid[0])
    x = torch.arange(grid[1]) * (2 * pi / grid[1])
    velocity = torch.stack((x.sin() * (2 * y).cos(), -0.5 * x.cos() * (2 * y).sin()))
    torch.testing.assert_close(Vorticity((2, *grid))(velocity)[0], 2.5 * x.sin() * (2 * y).sin())
    stretched = 0.5 * (2 * pi / length[1]) + 2 * (2 * pi / length[0])
    torch.testing.assert_close(
        Vorticity((2, *grid), length)(velocity)[0], stretched * x.sin() * (2 * y).sin(), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(Vorticity((2, *grid))(velocity + 7.0), Vorticity((2, *grid))(velocity))


def test_speed_has_a_finite_gradient_where_there_is_none():
    operator = Speed((2, 1, 2))
    x = torch.tensor([[[0.0, 3.0]], [[0.0, -4.0]]], requires_grad=True)
    assert operator(x).tolist() == [[[0.0, 5.0]]]
    (gradient,) = torch.autograd.grad(operator(x).sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, torch.tensor([[[0.0, 0.6]], [[0.0, -0.8]]]))
    assert torch.autograd.grad(gradient.square().sum(), x)[0].isfinite().all()
    tangent = torch.func.jvp(operator, (x.detach(),), (torch.ones(2, 1, 2),))[1]
    torch.testing.assert_close(tangent, torch.tensor([[[0.0, -0.2]]]))


def test_saturation_and_arctan():
    x = torch.tensor([[-3.0, 0.0, 1.0, 2.0]], requires_grad=True)
    torch.testing.assert_close(Saturation((1, 4))(x), torch.tensor([[-0.75, 0.0, 0.5, 2 / 3]]))
    torch.testing.assert_close(Saturation((1, 4), scale=2.0)(x)[0, 3], torch.tensor(0.5))
    (gradient,) = torch.autograd.grad(Saturation((1, 4))(x).sum(), x)
    torch.testing.assert_close(gradient, 1 / (1 + x.abs()) ** 2)
    assert torch.equal(Arctan((1, 4), 3.0)(x), Pointwise((1, 4), "atan", 3.0)(x))


@pytest.mark.parametrize("size", [None, 12, [8, 10]])
def test_truncation_is_that_of_waves(size):
    """A low wave is sampled on the smaller grid, a high one vanishes."""
    operator = Truncation((1, 16, 15), [3, 4], size)
    rows, columns = operator.out_shape[1:]

    def waves(rows, columns, k, m):
        y, x = torch.arange(rows).view(-1, 1) * (2 * pi / rows), torch.arange(columns) * (2 * pi / columns)
        return (0.3 + (k * y + m * x).cos() + (k * y).sin() * (m * x).cos()).unsqueeze(0)

    torch.testing.assert_close(operator(waves(16, 15, 3, 4)), waves(rows, columns, 3, 4))
    torch.testing.assert_close(operator(waves(16, 15, 4, 1)), torch.full((1, rows, columns), 0.3))
    torch.testing.assert_close(operator(waves(16, 15, 2, 5)), torch.full((1, rows, columns), 0.3))


def test_compositions_know_their_sites():
    shape = (3, 8, 8)
    parts = [Channels(shape, [0, 2])]
    for kind, options in ((Vorticity, {}), (Crop, {"size": 6, "start": 1}), (Coarsen, {"factor": 3}), (Arctan, {})):
        parts.append(kind(parts[-1].out_shape, **options))
    operator = Composed(shape, parts)
    assert operator.out_shape == (1, 2, 2)
    assert operator.sites.tolist() == [8 * row + column for row in (2, 5) for column in (2, 5)]
    check_operator(operator)
    with pytest.raises(ValueError, match="Truncation sees waves, which stand at no sites"):
        _ = Composed((1, 8), [Truncation((1, 8), 2), Arctan((1, 5))]).sites


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Coarsen((1, 9), 2), "factor: 9 sites do not make blocks of 2; choose a divisor of 9"),
        (lambda: Coarsen((1, 6, 9), [2, 3, 1]), "factor: needs a number, or one for each of the 2 axes"),
        (lambda: Coarsen((3,), 1), "factor: there is no grid"),
        (lambda: Crop((1, 6, 9), 7), "size: 7 sites from start: 0 on do not fit an axis of 6"),
        (lambda: Crop((1, 9), 3, -1), "start: -1 on do not fit"),
        (lambda: Strided((1, 9), 0), "every: must be at least 1"),
        (lambda: Strided((1, 6, 9), 2, 6), "start: 6 does not lie on a grid of 6 × 9 sites"),
        (lambda: Truncation((1, 8), 4), "cutoff: 4 is no wave of 8 sites; choose 0 to 3"),
        (lambda: Truncation((1, 8), 3, 6), "size: 6 sites do not hold waves up to 3"),
        (lambda: Truncation((1, 8), 3, 9), "size: 9 sites .* choose 7 to 8"),
        (lambda: Vorticity((1, 8, 8)), "vorticity is that of two channels"),
        (lambda: Vorticity((2, 8)), "vorticity is that of two channels"),
        (lambda: Vorticity((2, 8, 8), 0.0), "length: must be positive"),
        (lambda: Speed((3, 8, 8)), "one channel for each axis .* operator 'channels'"),
        (lambda: Speed((2,)), "one channel for each axis"),
        (lambda: Saturation((1, 8), 0.0), "scale: must be positive"),
        (lambda: GaussianStations((1, 8, 8), [3, 4]), r"positions: must name pairs \(row, column\) of a grid of 8 × 8"),
        (lambda: GaussianStations((1, 8, 8), [[3, 8]]), "positions: must name pairs"),
        (lambda: GaussianStations((1, 8), radius=-1), "radius: must not be negative"),
        (lambda: TrackMask(width=0), "width: must be at least 1"),
        (lambda: TrackMask(width=2, axis=2), "axis: must be 0 or 1"),
        (lambda: TrackMask(width=2).check(3, (3,)), "have no grid"),
        (lambda: TrackMask(width=2, axis=1).check(3, (1, 8)), "axis: 1 is none of a grid of 8 sites; choose 0"),
        (lambda: TrackMask(width=9).check(3, (1, 8, 12)), "width: 9 is more than the 8 sites of axis 0"),
        (lambda: TrackMask(width=2, slope=1.0).check(3, (1, 8)), "slope: a window on a ring has none"),
        (lambda: RingMask(radius=-1.0), "radius, width: must not be negative"),
        (lambda: RingMask(radius=2.0).check(3, (1, 8)), "have no plane for a ring"),
        (lambda: RingMask(radius=20.0).check(3, (2, 8, 8)), "radius: no site of 8 × 8 lies on a ring of radius 20"),
        (lambda: RingMask(radius=2.0, centre=(1.0,)).check(3, (2, 8, 8)), "centre: needs .* each of the 2 axes"),
        (lambda: GridMask(every=[2, 3]).check(1, (1, 8)), "every: needs a number, or one for each of the 1 axes"),
        (lambda: GridMask(start=[0, 7]).check(1, (1, 9, 7)), "start: .* behind a grid of 9 × 7 sites"),
    ],
)
def test_what_does_not_suit_is_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("speed", [1.0, -2.5, 0.1])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_swath_is_a_loop_over_sites(axis, speed):
    grid, steps = (6, 9), 40
    mask = TrackMask(width=2, speed=speed, axis=axis, slope=0.5, start=3)((5,), steps, (2, *grid))
    assert mask.shape == (steps, 1, *grid)
    for t in range(steps):
        for site in np.ndindex(grid):
            # In tenths, whole numbers.
            ahead = 10 * site[axis] + 5 * site[1 - axis] - 30 - round(10 * speed) * t
            assert mask[t, 0][site] == (ahead % (10 * grid[axis]) < 20)


def test_a_swath_on_a_ring_is_a_window_that_moves():
    mask = TrackMask(width=3, speed=2.0, start=0)((), 4, (1, 8))
    expected = [[0, 1, 2], [2, 3, 4], [4, 5, 6], [0, 6, 7]]
    assert [row.nonzero().flatten().tolist() for row in mask.squeeze(1)] == expected


@pytest.mark.parametrize("centre", [None, (1.0, 8.5)])
def test_a_ring_is_a_loop_over_sites_of_a_plane_without_edges(centre):
    grid = (12, 10)
    mask = RingMask(radius=3.0, width=1.5, centre=centre)((5,), 4, (2, *grid))
    assert mask.shape == (1, 1, *grid)
    row, column = centre or (6, 5)
    for site in np.ndindex(grid):
        copies = [
            ((site[0] - row + 12 * i) ** 2 + (site[1] - column + 10 * j) ** 2) ** 0.5
            for i in (-1, 0, 1) for j in (-1, 0, 1)
        ]  # fmt: skip
        assert mask[0, 0][site] == (abs(min(copies) - 3.0) < 0.75)
    assert 0 < mask.sum() < 120


def test_swaths_of_no_given_start_differ_from_case_to_case():
    observation = Observation(Coarsen((2, 16, 16), 2), masks=(TrackMask(width=2), GridMask(every=[1, 2])))
    _, mask = observation.design((50,), 3)
    assert mask.shape == (50, 3, 2, 8, 8)
    assert (mask.sum(dim=(2, 3, 4)) == 2 * 2 * 4).all()
    assert len(set(mask[:, 0].float().argmax(dim=-2).flatten(1)[:, 0].tolist())) > 1
    assert torch.equal(mask[:, 1], mask[:, 0].roll(1, dims=-2))


def test_a_regular_mask_of_a_plane_takes_a_spacing_for_each_axis():
    mask = GridMask(every=[2, 4], start=[1, 0])((), 1, (1, 6, 9))[0, 0]
    assert mask.nonzero().tolist() == [[row, column] for row in (1, 3, 5) for column in (0, 4, 8)]
    assert int(GridMask(every=10)((), 1, (2, 64, 64)).sum()) == 49


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_torch_defaults_do_not_matter_and_functions_are_mapped(kind, shape):
    x = torch.randn(3, *shape)
    expected = made(kind, shape)(x)
    with torch.device("meta"):
        found = made(kind, shape)(x)
    assert torch.equal(found, expected)
    torch.testing.assert_close(torch.func.vmap(made(kind, shape))(x), expected)
