"""Flows over vectors: densities that integrate to one, and draws of them."""

import pytest
import torch
from torch import nn

from posterity.flows import AutoregressiveSpline, CouplingSpline, MaskedAutoregressive
from posterity.flows.autoregressive import MonotoneMaps
from posterity.flows.vector import groups, halves, order
from posterity.testing import check_gradients

PLANS = [
    CouplingSpline(transforms=4, hidden=(16,), bins=4),
    MaskedAutoregressive(transforms=2, hidden=(16,)),
    AutoregressiveSpline(transforms=2, hidden=(16,), bins=4),
    MaskedAutoregressive(transforms=2, hidden=(4,), passes=2),
    AutoregressiveSpline(transforms=2, hidden=(16,), bins=4, passes=3),
]


def stir(flow: nn.Module) -> nn.Module:
    """Moves the weights, so that the flow is far from the identity."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("shape", "context"), [((1, 8), (3, 8)), ((5,), (4,)), ((2, 2, 2), (1, 2, 2)), ((1,), (2,))])
def test_the_density_of_draws_is_the_one_they_come_with(plan, shape, context) -> None:
    flow, given = stir(plan.build(shape, context)), torch.randn(30, *context)
    z, log_q = flow.draw(given)
    assert z.shape == (30, *shape)
    torch.testing.assert_close(flow.log_prob(z, given), log_q)
    assert not torch.allclose(flow.log_prob(z, given.roll(1, 0)), log_q)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_densities_integrate_to_one(plan) -> None:
    """By the trapezium rule over a square that holds nearly all of the mass."""
    flow = stir(plan.build((2,), (1,)))
    line = torch.linspace(-12, 12, 401)
    points = torch.cartesian_prod(line, line)
    density = flow.log_prob(points, torch.ones(1, 1).expand(len(points), 1)).exp()
    assert float(density.sum() * (line[1] - line[0]) ** 2) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("plan", PLANS)
def test_the_log_determinant_is_that_of_autograd(plan) -> None:
    flow, context = stir(plan.build((5,), (3,))), torch.randn(3, 1)
    z = torch.randn(5, 1)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z, context)[0].squeeze(-1), z).squeeze(-1)
    torch.testing.assert_close(flow(z, context)[1], torch.linalg.slogdet(jacobian).logabsdet.view(1))


@pytest.mark.parametrize("hidden", [(16, 16), (3,), (40,), (8, 20, 8)])
@pytest.mark.parametrize(
    "ranks",
    [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, -1, 0, -1, -1], [1, 0, 1, 2, -1], [*range(16)], [*range(15, -1, -1)]],
)
def test_entries_depend_on_those_of_lower_rank_alone(ranks, hidden) -> None:
    """And on all of those, with few units and with many."""
    order, entries = torch.tensor(ranks), len(ranks)
    maps = stir(MonotoneMaps(order, 2, hidden, 0))
    context = torch.randn(2, 1)
    jacobian = torch.autograd.functional.jacobian(lambda z: maps(z, context)[0].squeeze(-1), torch.randn(entries, 1))
    jacobian, below = jacobian.squeeze(-1), (order < order.unsqueeze(-1)) & (order >= 0).unsqueeze(-1)
    itself = torch.eye(entries, dtype=torch.bool)
    assert (jacobian[~(below | itself)] == 0).all()
    assert (jacobian[below] != 0).all()
    assert (jacobian[itself & (order < 0).unsqueeze(-1)] == 1).all()


def test_without_a_context_there_is_one_density() -> None:
    flow = stir(MaskedAutoregressive(transforms=2, hidden=(8,)).build((3,), (0,)))
    z, log_q = flow.draw(torch.empty(20, 0))
    torch.testing.assert_close(flow.log_prob(z, torch.empty(20, 0)), log_q)


@pytest.mark.parametrize("plan", PLANS)
def test_every_weight_has_a_gradient(plan) -> None:
    flow = plan.build((1, 4), (2, 4))
    flow.log_prob(torch.randn(50, 1, 4), torch.randn(50, 2, 4)).sum().backward()
    check_gradients(flow)


@pytest.mark.parametrize(("size", "number"), [(7, 2), (12, 3), (3, 8), (1, 2)])
def test_groups_are_of_equal_sizes_and_differ_between_transforms(size, number) -> None:
    one, other = groups(size, 0, number), groups(size, 1, number)
    counts = torch.bincount(one)
    assert len(counts) == min(size, number)
    assert int(counts.max() - counts.min()) <= 1
    assert torch.equal(one, groups(size, 0, number))
    assert size < 7 or not torch.equal(one, other)


def test_fields_in_groups_take_networks_narrower_than_them() -> None:
    """An affine coupling of 200 entries, drawn in two passes through layers of 16 units."""
    flow = MaskedAutoregressive(transforms=1, hidden=(16, 16), passes=2).build((2, 10, 10), (0,))
    (maps,) = flow.maps
    assert maps.passes == 2
    assert sum(parameter.numel() for parameter in flow.parameters()) == (200 + 1) * 16 + 17 * 16 + 17 * 400
    with pytest.raises(ValueError, match="passes: entries see each other with two groups or more, not 1"):
        MaskedAutoregressive(passes=1)


@pytest.mark.parametrize("size", [2, 3, 8, 11])
def test_couplings_transform_all_entries_and_split_all_pairs(size) -> None:
    """Within two transforms for each binary digit."""
    split = torch.zeros(size, size, dtype=torch.bool)
    for index in range(0, 2 * (size - 1).bit_length(), 2):
        one, other = halves(size, index), halves(size, index + 1)
        assert torch.equal(one, ~other)
        assert 0 < int(one.sum()) < size
        split |= one.unsqueeze(0) != one.unsqueeze(1)
    assert torch.equal(split, ~torch.eye(size, dtype=torch.bool))


def test_the_order_of_entries_is_reversed_in_turn() -> None:
    assert order(4, 0).tolist() == [0, 1, 2, 3]
    assert order(4, 1).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("kind", [CouplingSpline, MaskedAutoregressive, AutoregressiveSpline])
def test_impossible_options_are_refused(kind) -> None:
    with pytest.raises(ValueError, match="transforms: at least one is needed, not 0"):
        kind(transforms=0)
    with pytest.raises(ValueError, match="hidden: at least one width"):
        kind(hidden=())


@pytest.mark.parametrize("kind", [CouplingSpline, AutoregressiveSpline])
def test_splines_need_bins(kind) -> None:
    with pytest.raises(ValueError, match="bins: at least two are needed, not 1"):
        kind(bins=1)
