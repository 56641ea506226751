"""The linear system: exact steps."""

import pytest
import torch

from posterity.systems import LinearAdvection


def generator(size: int, speed: float, damping: float, diffusion: float) -> torch.Tensor:
    """The matrix of the equation, written out neighbour by neighbour."""
    matrix = torch.zeros(size, size)
    for i in range(size):
        matrix[i, i] += -damping - 2 * diffusion
        matrix[i, (i + 1) % size] += diffusion - speed / 2
        matrix[i, (i - 1) % size] += diffusion + speed / 2
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 7, 16])
@pytest.mark.parametrize("parameters", [(1.0, 0.05, 0.05), (-2.0, 0.0, 0.0), (0.0, 0.3, 0.0), (0.3, 0.0, 0.8)])
def test_step_is_the_matrix_exponential(size, parameters):
    speed, damping, diffusion = parameters
    system = LinearAdvection(size=size, speed=speed, damping=damping, diffusion=diffusion, dt=0.7)
    expected = torch.linalg.matrix_exp(0.7 * generator(size, speed, damping, diffusion))
    x = torch.randn(5, 1, size)
    torch.testing.assert_close(system.transition(), expected)
    torch.testing.assert_close(system.step(x), x @ expected.mT)


def test_steps_compose_exactly():
    x = torch.randn(5, 1, 16)
    coarse, fine = LinearAdvection(dt=1.0), LinearAdvection(dt=0.25)
    torch.testing.assert_close(coarse.step(x), fine.rollout(x, 4)[:, -1])


def test_advection_alone_conserves_energy_and_mean():
    x = torch.randn(5, 1, 16)
    later = LinearAdvection(damping=0.0, diffusion=0.0).rollout(x, 50)[:, -1]
    torch.testing.assert_close(later.square().sum(dim=-1), x.square().sum(dim=-1))
    torch.testing.assert_close(later.mean(dim=-1), x.mean(dim=-1))


def test_a_positive_speed_moves_a_bump_towards_larger_sites():
    x = torch.zeros(1, 32)
    x[0, 10] = 1.0
    system = LinearAdvection(size=32, speed=1.0, damping=0.0, diffusion=1.0, dt=5.0)
    position = (torch.arange(32) * system.step(x)[0]).sum()
    assert float(position) == pytest.approx(15.0, abs=0.05)


def kronecker(grid: tuple[int, ...], speeds: tuple[float, ...], damping: float, diffusion: float) -> torch.Tensor:
    """The matrix of the equation on a grid, from those of its axes."""
    first, second = (generator(size, speed, 0.0, diffusion) for size, speed in zip(grid, speeds, strict=True))
    rows, columns = (torch.eye(size) for size in grid)
    return torch.kron(first, columns) + torch.kron(rows, second) - damping * torch.eye(grid[0] * grid[1])


@pytest.mark.parametrize("grid", [(3, 4), (4, 3), (5, 5), (2, 6)])
@pytest.mark.parametrize("speed", [0.7, (1.0, -0.4)])
def test_steps_on_a_torus_are_the_matrix_exponential_channel_by_channel(grid, speed):
    system = LinearAdvection(size=grid, speed=speed, damping=0.1, diffusion=0.2, dt=0.7, names=["u", "v"])
    assert (system.shape, system.channels) == ((2, *grid), ("u", "v"))
    speeds = speed if isinstance(speed, tuple) else (speed, speed)
    expected = torch.linalg.matrix_exp(0.7 * kronecker(grid, speeds, 0.1, 0.2))
    torch.testing.assert_close(system.transition(), torch.block_diag(expected, expected))
    x = torch.randn(5, 2, *grid)
    torch.testing.assert_close(system.step(x).flatten(2), x.flatten(2) @ expected.mT)


def test_parameters_on_a_torus_may_differ_from_case_to_case():
    speed, diffusion = torch.tensor([0.5, 1.0, -1.0]), torch.tensor([0.0, 0.1, 0.2])
    x = torch.randn(3, 2, 3, 4)
    together = LinearAdvection(size=(3, 4), speed=speed, diffusion=diffusion, names=("u", "v")).step(x)
    for case in range(3):
        alone = LinearAdvection(size=(3, 4), speed=float(speed[case]), diffusion=float(diffusion[case]))
        torch.testing.assert_close(together[case, :1], alone.step(x[case, :1]))


def test_forward_derivatives_are_those_of_the_matrix():
    system = LinearAdvection(size=(3, 4))
    x, dx = torch.randn(2, 1, 3, 4), torch.randn(2, 1, 3, 4)
    _, after = torch.func.jvp(system.step, (x,), (dx,))
    torch.testing.assert_close(after, system.step(dx))
    speed = torch.tensor([0.5, 1.0])

    def moved(speed):
        return LinearAdvection(size=(3, 4), speed=speed).step(x)

    _, forward = torch.func.jvp(moved, (speed,), (torch.ones(2),))
    step = 1e-6
    torch.testing.assert_close(forward, (moved(speed + step) - moved(speed - step)) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [8, 1]}, "size: a ring needs at least 2 sites, not 1"),
        ({"size": [2, 2, 2]}, "size: a grid has one or two axes, not 3"),
        ({"size": [4, 4], "speed": [1.0]}, "speed: 1 numbers for a grid of 2 axes"),
        ({"names": "uv"}, r"names: needs the name of each channel in a list, as \[x\], not 'uv'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LinearAdvection(**options)
