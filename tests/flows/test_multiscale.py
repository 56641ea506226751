"""The multi-scale flow: a bijection whose log-Jacobian is known, on any grid."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from posterity.flows import MultiScale
from posterity.flows.flow import log_normal
from posterity.flows.invertible import ActNorm, Chain, Coupling, InvertibleConvolution
from posterity.flows.multiscale import MultiScaleModule, squeeze, unsqueeze
from posterity.testing import check_gradients

SHAPES = [(1, 8), (1, 12), (2, 6), (1, 2), (3, 5), (1, 4, 4), (2, 5, 2), (2, 3, 3)]


@pytest.fixture
def make_flow() -> Callable[..., MultiScaleModule]:
    """A flow whose weights are drawn, so that it is far from the identity."""

    def flow(shape: tuple[int, ...], bins: int = 5) -> MultiScaleModule:
        module = MultiScale(blocks=2, scales=3, width=12, bins=bins).build(shape, (3, *shape[1:]))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return module

    return flow


def base(flow: MultiScaleModule, z: Tensor, context: Tensor) -> Tensor:
    """Where the flow sends fields: the gradient of the base's log-density, whose sign is that of minus the field."""
    seen = []
    handle = flow.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    flow.log_prob(z, context)
    handle.remove()
    return seen[0]


@pytest.mark.slow
@pytest.mark.parametrize("bins", [0, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_log_jacobian_is_that_of_autograd(make_flow, shape, bins) -> None:
    flow = make_flow(shape, bins)
    z, context = torch.randn(1, *shape), torch.randn(1, 3, *shape[1:])
    full = torch.autograd.functional.jacobian(lambda v: base(flow, v.view(1, *shape), context).flatten(), z.flatten())
    expected = torch.linalg.slogdet(full)[1].detach()
    found = flow.log_prob(z, context) - log_normal(base(flow, z, context))
    torch.testing.assert_close(found[0], expected, atol=1e-9, rtol=0)
    assert abs(float(expected)) > 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_of_draws_is_the_one_they_come_with(make_flow, shape) -> None:
    flow, context = make_flow(shape), torch.randn(40, 3, *shape[1:])
    z, log_q = flow.draw(context)
    assert z.shape == (40, *shape)
    torch.testing.assert_close(flow.log_prob(z, context), log_q, atol=1e-9, rtol=0)
    # It depends on the context.
    assert not torch.allclose(flow.log_prob(z, context.roll(1, 0)), log_q)


@pytest.mark.parametrize("shape", [(1, 8), (2, 6), (1, 4, 4)])
def test_the_inverse_undoes_it(make_flow, shape) -> None:
    flow = make_flow(shape)
    z, h = torch.randn(20, *shape[1:], shape[0]), torch.randn(20, *shape[1:], 3)
    for block in flow.blocks:
        image, log_det = block(z, h)
        back, again = block.inverse(image, h)
        torch.testing.assert_close(back, z, atol=1e-10, rtol=0)
        torch.testing.assert_close(again, log_det, atol=1e-10, rtol=0)
        assert not torch.allclose(image, z)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ActNorm(4, 3),
        lambda: InvertibleConvolution(1, 4, 3, 3),
        lambda: Coupling(1, 4, 3, 6, 3, 5, True),
        lambda: Coupling(1, 4, 3, 6, 3, 0, False),
    ],
)
def test_each_layer_is_inverted(make) -> None:
    layer = make()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, h = torch.randn(5, 6, 4), torch.randn(5, 6, 3)
    image, _ = layer(z, h)
    assert not torch.allclose(image, z)
    torch.testing.assert_close(layer.inverse(image, h)[0], z, atol=1e-10, rtol=0)


def test_convolutions_keep_volumes() -> None:
    layer = InvertibleConvolution(2, 6, 3, 3)
    torch.nn.init.normal_(layer.steer.weight)
    z, h = torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 3)
    full = torch.autograd.functional.jacobian(lambda v: layer(v.view(z.shape), h)[0].flatten(), z.flatten())
    assert float(torch.linalg.slogdet(full)[1]) == pytest.approx(0, abs=1e-10)
    assert float(layer(z, h)[1]) == 0


@pytest.mark.parametrize("shape", [(1, 8), (1, 4, 4)])
def test_shifts_of_field_and_context_go_together(make_flow, shape) -> None:
    """By two to the number of scales; by one site, groups are others."""
    flow = make_flow((shape[0], *(2 * size for size in shape[1:])))
    z, context = flow.draw(torch.randn(10, 3, *flow.shape[:-1]))[0], torch.randn(10, 3, *flow.shape[:-1])
    log_q = flow.log_prob(z, context)
    by = 2**3
    torch.testing.assert_close(flow.log_prob(z.roll(by, -1), context.roll(by, -1)), log_q)
    assert not torch.allclose(flow.log_prob(z.roll(1, -1), context.roll(1, -1)), log_q)


@pytest.mark.parametrize(("size", "scales"), [(8, 3), (12, 2), (6, 1), (32, 3)])
def test_grids_have_as_many_scales_as_they_can_be_halved(make_flow, size, scales) -> None:
    assert len(make_flow((1, size)).blocks[0].steps) == scales


@pytest.mark.parametrize("grid", [(6,), (4, 6), (5, 4), (3,)])
def test_squeezing_is_undone_and_splits_by_colour(grid) -> None:
    factor = tuple(1 if size % 2 else 2 for size in grid)
    z = torch.randn(3, *grid, 2)
    small = squeeze(z, factor)
    assert small.shape[-1] == 2 * 2 ** sum(by == 2 for by in factor)
    assert torch.equal(unsqueeze(small, factor), z)
    if all(by == 2 for by in factor):
        # Neighbours are never in the same half.
        index = torch.stack(torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")).sum(dim=0) % 2
        colour = squeeze(index.unsqueeze(0).unsqueeze(-1), factor)
        half = colour.shape[-1] // 2
        assert (colour[..., :half] == 0).all()
        assert (colour[..., half:] == 1).all()


def test_it_starts_from_the_statistics_of_what_reaches_each_layer() -> None:
    flow = MultiScale(blocks=1, scales=2, width=8).build((1, 8), (3, 8))
    z, context = 3 + 2 * torch.randn(500, 1, 8), torch.randn(500, 3, 8)
    before = flow.log_prob(z, context).mean().item()
    flow.standardize(z, context)
    image = base(flow, z, context)
    assert image.mean().item() == pytest.approx(0, abs=0.05)
    assert image.std().item() == pytest.approx(1, abs=0.05)
    assert flow.log_prob(z, context).mean().item() > before + 5
    # It is saved and loaded like any weight.
    other = MultiScale(blocks=1, scales=2, width=8).build((1, 8), (3, 8))
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other.log_prob(z, context), flow.log_prob(z, context))


def test_every_weight_has_a_gradient(make_flow) -> None:
    flow = make_flow((1, 8))
    flow.log_prob(torch.randn(30, 1, 8), torch.randn(30, 3, 8)).sum().backward()
    found = check_gradients(flow)
    assert all(found.values()), found


def test_draws_can_be_learned_from(make_flow) -> None:
    flow, context = make_flow((1, 8)), torch.randn(30, 3, 8, requires_grad=True)
    z, log_q = flow.draw(context)
    (gradient,) = torch.autograd.grad((z.square().flatten(1).sum(dim=1) + log_q).sum(), context)
    assert gradient.isfinite().all()
    assert float(gradient.abs().max()) > 0


def test_a_chain_goes_back_the_way_it_came() -> None:
    chain = Chain([ActNorm(2, 3), InvertibleConvolution(1, 2, 3, 3)])
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, h = torch.randn(5, 4, 2), torch.randn(5, 4, 3)
    image, log_det = chain(z, h)
    back, again = chain.inverse(image, h)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(again, log_det)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 0}, "blocks: at least 1 is needed, not 0"),
        ({"scales": 0}, "scales: at least 1"),
        ({"width": 0}, "width: at least 1"),
        ({"bins": 1}, "bins: a spline needs at least two"),
        ({"kernel": 2}, "kernel: must be odd"),
    ],
)
def test_impossible_options_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        MultiScale(**options)


@pytest.mark.parametrize(("shape", "message"), [((5,), "needs a grid"), ((1, 5), "odd number of sites")])
def test_shapes_without_halves_are_refused(shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        MultiScale().build(shape, (3, *shape[1:]))
