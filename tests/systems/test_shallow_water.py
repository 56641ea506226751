"""Shallow water: what the scheme conserves, its waves, its laminar flow, its symmetries."""

from itertools import product
from math import pi

import pytest
import torch
from torch import Tensor

from posterity.systems import ShallowWater, jacobian
from posterity.testing import check_system

INVISCID = {"viscosity": 0.0, "drag": 0.0, "forcing": 0.0}


@pytest.fixture
def system() -> ShallowWater:
    """A small basin that is not square, of an odd number of columns."""
    return ShallowWater(size=(8, 5), wavenumber=2, dt=0.05, substeps=1, spinup=0.1)


def flow(system: ShallowWater, cases: int = 3) -> Tensor:
    """Random velocities, and elevations well above the ground."""
    return torch.randn(cases, *system.shape) * torch.tensor([1.0, 1.0, 0.1])[:, None, None]


def enstrophy(system: ShallowWater, x: Tensor) -> Tensor:
    """Potential enstrophy on the corners of cells, by loops over them."""
    (dy, dx), (rows, columns) = system.spacing, system.shape[1:]
    total = x.new_zeros(len(x))
    for j, i in product(range(rows), range(columns)):
        up, on = (j + 1) % rows, (i + 1) % columns
        depth = 1 + (x[:, 2, j, i] + x[:, 2, j, on] + x[:, 2, up, i] + x[:, 2, up, on]) / 4
        vorticity = (x[:, 1, j, on] - x[:, 1, j, i]) / dx - (x[:, 0, up, i] - x[:, 0, j, i]) / dy
        total = total + (system.coriolis + vorticity) ** 2 / depth
    return total


def test_the_system_keeps_the_rules(system) -> None:
    check_system(system)


def test_mass_and_potential_enstrophy_are_conserved() -> None:
    system = ShallowWater(size=(8, 5), wavenumber=2, **INVISCID)
    x = flow(system)
    tendency = system.tendency(x)
    assert float(tendency[:, 2].sum(dim=(-2, -1)).abs().max()) < 1e-12
    value, change = torch.func.jvp(lambda x: enstrophy(system, x), (x,), (tendency,))
    assert float((change / value).abs().max()) < 1e-13
    # The test means something: along another direction it changes.
    assert float((torch.func.jvp(lambda x: enstrophy(system, x), (x,), (flow(system),))[1] / value).abs().min()) > 1e-3


def test_waves_have_the_frequencies_of_the_grid() -> None:
    """Those of the C grid at rest: two waves and a geostrophic mode for each wave vector."""
    system = ShallowWater(size=(6, 5), wavenumber=1, **INVISCID)
    (dy, dx), (rows, columns) = system.spacing, system.shape[1:]
    _, matrix = jacobian(system.tendency, torch.zeros(1, *system.shape), 3)
    expected = []
    for n, m in product(range(rows), range(columns)):
        a, b = pi * n / rows, pi * m / columns
        rotation = (system.coriolis * torch.tensor(a).cos() * torch.tensor(b).cos()) ** 2
        gravity = system.wave_speed**2 * (2 * torch.tensor(a).sin() / dy) ** 2
        gravity = gravity + system.wave_speed**2 * (2 * torch.tensor(b).sin() / dx) ** 2
        frequency = (rotation + gravity).sqrt()
        expected += [-frequency, torch.zeros(()), frequency]
    found = torch.linalg.eigvals(matrix[0])
    assert float(found.real.abs().max()) < 1e-10
    # Squares of zero frequencies are of the order of rounding.
    torch.testing.assert_close(found.imag.sort().values, torch.stack(expected).sort().values, atol=1e-6, rtol=1e-10)


def test_the_laminar_flow_is_at_rest_without_rotation() -> None:
    system = ShallowWater(size=(12, 4), wavenumber=3, coriolis=0.0, forcing=0.4)
    dy = system.spacing[0]
    amplitude = 0.4 / (system.viscosity * (2 - 2 * torch.tensor(3 * dy).cos()) / dy**2 + system.drag)
    x = torch.zeros(1, *system.shape)
    x[:, 0] = amplitude * torch.sin(3 * dy * torch.arange(12)).unsqueeze(-1)
    assert float(system.tendency(x).abs().max()) < 1e-12
    assert float(system.tendency(1.1 * x).abs().max()) > 1e-3


def test_shifts_along_the_force_and_by_its_periods_commute_with_the_model(system) -> None:
    x = flow(system)
    for shifts in ((0, 2), (4, 0)):
        torch.testing.assert_close(system.step(x.roll(shifts, (-2, -1))), system.step(x).roll(shifts, (-2, -1)))


def test_starts_have_no_divergence_and_unit_speed() -> None:
    system = ShallowWater(size=(8, 5), wavenumber=2, spinup=0.0)
    u, v, eta = system.initial((4,)).unbind(dim=1)
    (dy, dx) = system.spacing
    divergence = (u - u.roll(1, -1)) / dx + (v - v.roll(1, -2)) / dy
    assert float(divergence.abs().max()) < 1e-12
    torch.testing.assert_close((u.square() + v.square()).mean(dim=(-2, -1)), torch.ones(4))
    assert not eta.any()


def test_energy_settles() -> None:
    """What the force puts in, drag and viscosity take out: energy stays near one, and the ground covered."""
    system = ShallowWater(size=16, substeps=6, spinup=0.0)
    x = system.rollout(system.initial((2,)), 240)[:, 160:]
    energy = 0.5 * x[:, :, :2].square().sum(dim=2).mean(dim=(0, 1, 2, 3))
    assert 0.5 < float(energy) < 3
    assert float(x[:, :, 2].min()) > -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "size: needs one number or two, each at least 4"),
        ({"size": (8, 8, 8)}, "size: needs one number or two"),
        ({"size": (8, 16)}, "wavenumber: .* 8 of them hold wave numbers from 1 to 2, not 4"),
        ({"substeps": 0}, "substeps: at least one"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        ShallowWater(**options)
