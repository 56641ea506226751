"""Lorenz-63: fixed points, symmetry and Lyapunov exponents."""

from math import sqrt

import pytest
import torch

from posterity.systems import Lorenz63, jacobian


def test_fixed_points():
    system = Lorenz63()
    wing = sqrt(system.beta * (system.rho - 1))
    x = torch.tensor([[0.0, 0.0, 0.0], [wing, wing, 27.0], [-wing, -wing, 27.0]])
    torch.testing.assert_close(system.tendency(x), torch.zeros(3, 3))
    torch.testing.assert_close(system.step(x), x)


def test_half_turns_about_z_commute_with_the_model():
    system = Lorenz63()
    turn = torch.tensor([-1.0, -1.0, 1.0])
    x = system.initial((5,))
    torch.testing.assert_close(system.rollout(turn * x, 10), turn * system.rollout(x, 10))


@pytest.mark.slow
def test_lyapunov_exponents():
    """0.906, 0 and −14.572 (Sprott, 2003), summing to −(σ + 1 + β) at every point."""
    members, transient, steps = 400, 150, 250
    system = Lorenz63(dt=0.02, substeps=2)
    x = system.initial((members,))
    frame = torch.eye(3).expand(members, 3, 3)
    growth = torch.zeros(members, 3)
    for k in range(transient + steps):
        x, tangent = jacobian(system.step, x, len(system.shape))
        frame, stretch = torch.linalg.qr(tangent @ frame)
        if k >= transient:
            growth += stretch.diagonal(dim1=-2, dim2=-1).abs().log()
    exponents = growth / (steps * system.dt)
    torch.testing.assert_close(exponents.sum(dim=-1), torch.full((members,), -41 / 3), rtol=1e-4, atol=0)
    error = exponents.std(dim=0) / members**0.5
    expected = torch.tensor([0.9056, 0.0, -14.5723])
    assert float(error.max()) < 0.02
    # One thousandth for what RK4 itself moves the exponents by.
    assert ((exponents.mean(dim=0) - expected).abs() < 4 * error + 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_no_convection_below_the_first_bifurcation(rho):
    system = Lorenz63(rho=rho, spinup=0.0)
    end = system.rollout(torch.randn(5, 3), 4000)[:, -1]
    assert float(end.abs().max()) < 1e-3
