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
