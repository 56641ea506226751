"""Two-scale Lorenz-96: its invariants, its limits, its order."""

import pytest
import torch

from posterity.systems import Lorenz96, TwoScaleLorenz96

SYSTEM = TwoScaleLorenz96(size=6, fast=4, spinup=1.0)


def test_the_tendency_is_lorenz_s_site_by_site():
    x = torch.randn(SYSTEM.shape)
    slow, fast = x[0], x[1:].mT.flatten()
    n, j = SYSTEM.size, SYSTEM.fast
    expected = torch.empty_like(x)
    for k in range(n):
        own = fast[j * k : j * (k + 1)].sum()
        expected[0, k] = (slow[(k + 1) % n] - slow[k - 2]) * slow[k - 1] - slow[k] + 10.0 - own
    for i in range(n * j):
        turning = 100.0 * (fast[i - 1] - fast[(i + 2) % (n * j)]) * fast[(i + 1) % (n * j)]
        expected[1 + i % j, i // j] = turning - 10.0 * fast[i] + slow[i // j]
    torch.testing.assert_close(SYSTEM.tendency(x), expected)


def test_advection_and_coupling_keep_the_energy():
    """Without forcing, only damping changes it: dE/dt = -|X|² - c |Y|²."""
    system = TwoScaleLorenz96(size=6, fast=4, forcing=0.0)
    x = torch.randn(20, *system.shape)
    slow, fast = x[:, :1].square().sum(dim=(1, 2)), x[:, 1:].square().sum(dim=(1, 2))
    torch.testing.assert_close((x * system.tendency(x)).sum(dim=(1, 2)), -slow - 10.0 * fast)


@pytest.mark.slow
def test_without_coupling_the_slow_sites_are_lorenz_96():
    system = TwoScaleLorenz96(size=6, fast=4, coupling=0.0, forcing=8.0, dt=0.05, substeps=5)
    x0 = system.initial((3,))
    alone = Lorenz96(size=6, forcing=8.0, dt=0.05, substeps=5).rollout(x0[:, :1], 4)
    torch.testing.assert_close(system.rollout(x0, 4)[:, :, :1], alone)


@pytest.mark.slow
def test_the_scheme_is_of_fourth_order():
    x = SYSTEM.initial(())
    coarse, fine, exact = (TwoScaleLorenz96(size=6, fast=4, dt=0.04, substeps=n).step(x) for n in (16, 32, 512))
    ratio = (coarse - exact).norm() / (fine - exact).norm()
    assert 12 < ratio < 20


def test_parameters_may_differ_between_cases():
    forcing = torch.tensor([8.0, 12.0])
    x = SYSTEM.initial((2,))
    both = TwoScaleLorenz96(size=6, fast=4, forcing=forcing).step(x)
    for case in range(2):
        alone = TwoScaleLorenz96(size=6, fast=4, forcing=float(forcing[case])).step(x[case])
        torch.testing.assert_close(both[case], alone)


@pytest.mark.parametrize("change", [{"size": 3}, {"fast": 0}, {"substeps": 0}])
def test_impossible_rings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TwoScaleLorenz96(**change)
