"""Networks over periodic grids: translations, how far they see, how large they are, and what they refuse."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from posterity.nn import MLP, Convolution, UNet
from posterity.nn.layers import Attention, Block, PeriodicConvolution, offsets


def livened(module: nn.Module) -> nn.Module:
    """Weights of a trained network's size."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("plan", "grid", "stride"),
    [
        (Convolution(8, blocks=2), (8,), 1),
        (Convolution(8, blocks=2, kernel=3), (4, 6), 1),
        (Convolution(8, blocks=2, kernel=3, gated=True), (4, 6), 1),
        (UNet((8, 16)), (8,), 2),
        (UNet((8, 8, 8), blocks=1), (12,), 4),
        (UNet((8, 8, 8), blocks=1, attention=(1, 2), heads=2), (12,), 4),
        (UNet((8, 8), blocks=1, attention=(0, 1), heads=2), (4, 6), 2),
        (UNet((8,), attention=(0,), heads=2), (7,), 1),
    ],
    ids=["conv-1d", "conv-2d", "conv-gated", "unet-1d", "unet-three", "unet-attention", "unet-2d", "unet-one-level"],
)
def test_a_translated_input_gives_a_translated_output(plan, grid, stride) -> None:
    module = livened(plan.build(3, 2, grid, 4))
    x, condition = torch.randn(5, 3, *grid), torch.randn(5, 4)
    y = module(x, condition)
    axes = tuple(range(2, 2 + len(grid)))
    for shift in (stride, -2 * stride, 3 * stride):
        shifts = tuple(shift * (axis - 1) for axis in axes)
        torch.testing.assert_close(module(x.roll(shifts, axes), condition), y.roll(shifts, axes), rtol=0, atol=1e-11)
    # The comparison can fail: the output is no constant.
    assert (y - y.roll(1, 2)).abs().max() > 1e-3


def test_a_gated_block_adds_products_of_standardised_channels() -> None:
    block, x = Block(1, 2, 1, 0, gated=True), torch.randn(4, 2, 8)
    inner, outer = (block.branch[i].layer for i in (0, 2))
    with torch.no_grad():
        for layer in (inner, outer):
            layer.bias.zero_()
        # Of channels a and b, the products a b and b b.
        inner.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]).unsqueeze(-1))
        outer.weight.copy_(torch.eye(2).unsqueeze(-1))
    a, b = ((x - x.mean((1, 2), keepdim=True)) / x.std((1, 2), keepdim=True, unbiased=False)).unbind(1)
    torch.testing.assert_close(block(x), x + torch.stack((a * b, b * b), dim=1), rtol=1e-4, atol=1e-4)


def test_a_unet_is_not_equivariant_below_its_stride() -> None:
    module, x = livened(UNet((8, 16)).build(1, 1, (8,))), torch.randn(5, 1, 8)
    assert not torch.allclose(module(x.roll(1, 2)), module(x).roll(1, 2), atol=1e-3)


@pytest.mark.parametrize("kernel", [1, 3, 5, 17])
def test_a_periodic_convolution_is_the_sum_over_the_ring(kernel) -> None:
    layer = PeriodicConvolution(1, 2, 3, kernel)
    x = torch.randn(4, 2, 8)
    expected = layer.layer.bias.view(-1, 1) + sum(
        torch.einsum("oi,bin->bon", layer.layer.weight[..., k], x.roll(kernel // 2 - k, -1)) for k in range(kernel)
    )
    torch.testing.assert_close(layer(x), expected)


def test_a_periodic_convolution_of_two_dimensions_is_that_of_torch() -> None:
    layer = PeriodicConvolution(2, 2, 3, 5)
    peer = nn.Conv2d(2, 3, 5, padding=2, padding_mode="circular")
    peer.load_state_dict(layer.layer.state_dict())
    x = torch.randn(4, 2, 4, 6)
    torch.testing.assert_close(layer(x), peer(x))


@pytest.mark.parametrize("grid", [(5,), (4, 3)])
def test_offsets_are_those_of_the_periodic_grid(grid) -> None:
    found = offsets(grid)
    sites = [
        tuple(map(int, site))
        for site in torch.cartesian_prod(*(torch.arange(size) for size in grid)).view(-1, len(grid))
    ]
    for i, here in enumerate(sites):
        for j, there in enumerate(sites):
            apart = tuple((b - a) % size for a, b, size in zip(here, there, grid, strict=True))
            assert sites[int(found[i, j])] == apart


def test_attention_sees_every_site_and_its_distance() -> None:
    module = livened(Attention(1, 4, heads=2))
    x = torch.randn(1, 4, 6)
    y = module(x)
    moved = x.clone()
    moved[..., 0] += 1
    assert ((module(moved) - y).abs().amax(dim=1) > 1e-6).all()
    # Two other sites in each other's places: without distances, the output at the third would not see it.
    swapped = x[..., [0, 2, 1, 3, 4, 5]]
    assert (module(swapped) - y)[..., 0].abs().max() > 1e-6


@pytest.mark.parametrize("grid", [(6,), (4, 6)])
def test_attention_is_the_softmax_of_turned_products(grid) -> None:
    """Held against the sum over all pairs of sites, with phases of the offset between the two."""
    module, x = livened(Attention(len(grid), 20, heads=2)), torch.randn(3, 20, *grid)
    parts = module.inside(module.norm(x)).flatten(2).unflatten(1, (3, 2, 10))
    q, k, v = parts.unbind(1)
    sites = torch.cartesian_prod(*(torch.arange(size) for size in grid)).view(-1, len(grid))
    apart = (sites.unsqueeze(0) - sites.unsqueeze(1)) / torch.tensor(grid)  # from query to key
    turns = torch.cat([apart[..., [axis]] * torch.arange(1, module.waves + 1) for axis in range(len(grid))], dim=-1)
    (cos, sin), pairs = ((2 * torch.pi * turns).cos(), (2 * torch.pi * turns).sin()), turns.shape[-1]
    qa, qb, qc = q.split((pairs, pairs, 10 - 2 * pairs), dim=2)
    ka, kb, kc = k.split((pairs, pairs, 10 - 2 * pairs), dim=2)
    logits = torch.einsum("bhci,bhcj->bhij", qc, kc)
    for ones, others, wave, sign in ((qa, ka, cos, 1), (qb, kb, cos, 1), (qb, ka, sin, 1), (qa, kb, sin, -1)):
        logits += sign * torch.einsum("bhci,bhcj,ijc->bhij", ones, others, wave)
    mixed = torch.einsum("bhij,bhcj->bhci", (logits / 10**0.5).softmax(dim=-1), v)
    torch.testing.assert_close(module(x), x + module.outside(mixed.reshape(x.shape)))


def test_attention_holds_no_pairs_of_sites() -> None:
    """It runs where torch may use no kernel but the one whose memory is linear in sites, forward and backward."""
    module, x = Attention(2, 16, heads=2), torch.randn(2, 16, 4, 6, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        module(x).sum().backward()
    assert x.grad is not None


@torch.no_grad()
def test_weights_serve_grids_of_any_size() -> None:
    """A smooth field on twice as many sites has the same image there, since waves are counted around the grid."""
    module = livened(Attention(2, 8, heads=2))
    coarse, fine = (torch.cartesian_prod(*[torch.arange(n) * (2 * torch.pi / n)] * 2).mT for n in (16, 32))
    mix = torch.randn(8, 4)
    small, large = (
        (mix @ torch.stack((y.sin(), (x - y).cos(), x.sin(), torch.ones_like(x)))).view(1, 8, n, n)
        for (y, x), n in ((coarse, 16), (fine, 32))
    )
    torch.testing.assert_close(module(large)[..., ::2, ::2], module(small), rtol=0, atol=1e-6)
    unet = UNet((8, 8), attention=(1,), heads=2).build(2, 1, (8, 8))
    other = UNet((8, 8), attention=(1,), heads=2).build(2, 1, (4, 12))
    other.load_state_dict(unet.state_dict())


def test_networks_are_as_large_as_their_options_say() -> None:
    assert count(MLP((16, 16)).build(3, 2, (8,), 5)) == (29 * 16 + 16) + (16 * 16 + 16) + (16 * 16 + 16)
    block = 2 * (8 * 8 * 5 + 8)
    assert count(Convolution(8, blocks=3).build(3, 2, (8,))) == (3 * 8 * 5 + 8) + 3 * block + (8 * 2 * 5 + 2)
    # Those of a convolutional network do not grow with the grid; those of a perceptron do.
    assert count(Convolution(8).build(3, 2, (64,))) == count(Convolution(8).build(3, 2, (8,)))
    assert count(MLP((16,)).build(3, 2, (64,))) > 5 * count(MLP((16,)).build(3, 2, (8,)))
    # The defaults are of a size that trains in minutes.
    assert 1e5 < count(Convolution().build(8, 1, (8,), 32)) < 3e5
    assert 2e5 < count(UNet().build(8, 1, (8,), 32)) < 1e6


@pytest.mark.parametrize(
    ("plan", "options", "message"),
    [
        (MLP, {"hidden": ()}, "hidden: at least one width"),
        (MLP, {"hidden": (16, 0)}, "hidden: .*all of them positive"),
        (Convolution, {"kernel": 4}, "kernel: must be odd and positive, not 4"),
        (Convolution, {"blocks": 0}, "width, blocks: must both be positive, not 64 and 0"),
        (UNet, {"widths": ()}, "widths, blocks: must all be positive"),
        (UNet, {"kernel": 0}, "kernel: must be odd and positive, not 0"),
        (UNet, {"attention": (2,)}, r"attention: levels are 0 to 1, and \[2\] has others"),
        (UNet, {"attention": (1,), "heads": 3}, "heads: the widths of levels with attention cannot be divided by 3"),
    ],
)
def test_options_that_make_no_network_are_refused(plan, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**options)


@pytest.mark.parametrize(
    ("plan", "grid", "message"),
    [
        (Convolution(), (), "network: convolution needs a grid of one or two dimensions, and vectors .*; use mlp"),
        (UNet(), (), "network: unet needs a grid of one or two dimensions, and vectors .*; use mlp"),
        (
            UNet((8, 8), attention=(1,)),
            (4, 4),
            "heads: 4 of 8 channels leave 2 to each, .* 2 dimensions takes 4; give few",
        ),
        (UNet(), (4, 4, 4), "network: unet .* grids of 3 dimensions"),
        (Convolution(kernel=9), (3,), "kernel: 9 sites go more than once around a grid of 3"),
        (UNet((8, 8, 8), kernel=5), (4,), "kernel: 5 sites go more than once around a grid of 1"),
        (UNet((8, 8, 8)), (10,), "widths: 3 levels need sizes that are multiples of 4, and the grid is 10; give fewer"),
        (UNet((8, 8)), (4, 5), "widths: .* the grid is 4 by 5; give fewer widths"),
    ],
)
def test_grids_that_a_network_has_not_are_refused(plan, grid, message) -> None:
    with pytest.raises(ValueError, match=message):
        plan.build(2, 1, grid)
