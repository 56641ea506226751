"""What every network promises: shapes, gradients, a condition that matters, and that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from posterity.nn import MLP, Convolution, Network, ResidualMLP, UNet
from posterity.testing import check_gradients

#: Small plans, each with grids that it is made for.
CASES = {
    "mlp-vector": (MLP((16, 16)), ()),
    "mlp-norm": (MLP((16, 16, 8), layer_norm=True), ()),
    "mlp-1d": (MLP((16,)), (8,)),
    "mlp-2d": (MLP((16,)), (4, 6)),
    "convolution-1d": (Convolution(8, blocks=2), (8,)),
    "convolution-2d": (Convolution(8, blocks=1, kernel=3), (4, 6)),
    "convolution-gated": (Convolution(8, blocks=2, gated=True), (8,)),
    "residual-mlp-vector": (ResidualMLP(16, blocks=2), ()),
    "residual-mlp-2d": (ResidualMLP(16, blocks=1), (4, 6)),
    "unet-1d": (UNet((8, 16)), (8,)),
    "unet-deep": (UNet((4, 8, 8), blocks=1, attention=(1, 2), heads=2), (12,)),
    "unet-2d": (UNet((4, 8), blocks=1, attention=(1,), heads=2), (4, 6)),
    "unet-one-level": (UNet((8,), blocks=1), (7,)),
}


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[Network, tuple[int, ...]]:
    return CASES[request.param]


def livened(module: nn.Module) -> nn.Module:
    """Weights of a trained network's size: branches start near zero, and tests of them would see nothing."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("condition", [0, 5])
def test_fields_go_to_fields_of_the_same_grid(case, condition, dtype) -> None:
    plan, grid = case
    module = plan.build(3, 2, grid, condition).to(dtype)
    given = (torch.randn(4, condition, dtype=dtype),) if condition else ()
    y = module(torch.randn(4, 3, *grid, dtype=dtype), *given)
    assert y.shape == (4, 2, *grid)
    assert y.dtype == dtype
    assert y.isfinite().all()


def test_every_parameter_has_a_gradient_from_the_first_step(case) -> None:
    plan, grid = case
    module = plan.build(3, 2, grid, 5)
    (module(torch.randn(4, 3, *grid), torch.randn(4, 5)) - torch.randn(4, 2, *grid)).square().sum().backward()
    found = check_gradients(module)
    assert all(found.values()), found


def test_cases_do_not_see_each_other(case) -> None:
    plan, grid = case
    module = livened(plan.build(3, 2, grid, 5))
    x, condition = torch.randn(4, 3, *grid), torch.randn(4, 5)
    each = torch.cat([module(x[[i]], condition[[i]]) for i in range(4)])
    torch.testing.assert_close(module(x, condition), each)
    one = condition[:1]
    torch.testing.assert_close(module(x, one), module(x, one.expand(4, -1)))


def test_input_and_condition_matter(case) -> None:
    plan, grid = case
    module = livened(plan.build(3, 2, grid, 5))
    x, condition = torch.randn(4, 3, *grid), torch.randn(4, 5)
    y = module(x, condition)
    for entry in range(5):
        moved = condition.clone()
        moved[:, entry] += 1
        assert ((module(x, moved) - y).flatten(1).abs().amax(dim=1) > 1e-6).all()
    for channel in range(3):
        moved = x.clone()
        moved[:, channel] += torch.randn(4, *grid)
        assert ((module(moved, condition) - y).flatten(1).abs().amax(dim=1) > 1e-6).all()


@pytest.mark.slow
def test_derivatives_are_those_of_differences(case) -> None:
    plan, grid = case
    module = livened(plan.build(1, 1, grid))
    x = torch.randn(2, 1, *grid, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_weights_are_saved_and_loaded(case) -> None:
    plan, grid = case
    module, other = livened(plan.build(2, 1, grid, 3)), plan.build(2, 1, grid, 3)
    x, condition = torch.randn(2, 2, *grid), torch.randn(2, 3)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x, condition), module(x, condition))


def relative_error(plan: Network, steps: int, tendency: Callable[[Tensor], Tensor]) -> float:
    """Trains a network on a tendency; the root mean square of its error in standard deviations of the tendency."""
    module = plan.build(1, 1, (8,))
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)

    def loss(cases: int) -> Tensor:
        x = torch.randn(cases, 1, 8)
        y = tendency(2.3 + 3.6 * x)
        return (module(x) - y / 14).square().mean() / (y / 14).var()

    for _ in range(steps):
        optimizer.zero_grad()
        loss(128).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float(loss(4096).sqrt())


@pytest.mark.slow
@pytest.mark.parametrize(("gated", "most"), [(False, 0.12), (True, 0.07)])
def test_convolutions_learn_the_tendency_of_lorenz96(gated, most) -> None:
    """A twelfth of the tendency's standard deviation is left after 300 steps; a twentieth where channels multiply."""

    def tendency(x: Tensor) -> Tensor:
        return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1) - x + 8

    assert relative_error(Convolution(16, blocks=2, gated=gated), 300, tendency) < most


@pytest.mark.slow
def test_a_compiled_network_is_the_same() -> None:
    """In one graph, with its gradients. How the compiler writes it in C++, which takes a minute, is torch's own."""
    module = livened(Convolution(4, blocks=1, kernel=3).build(2, 1, (8,), 3))
    x, condition = torch.randn(4, 2, 8), torch.randn(4, 3)
    found = []
    for network in (torch.compile(module, backend="aot_eager", fullgraph=True), module):
        y = network(x, condition)
        found.append((y, *torch.autograd.grad(y.square().sum(), list(module.parameters()))))
    torch.testing.assert_close(*found)
