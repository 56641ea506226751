"""Tapers and distances."""

import pytest
import torch

from posterity.baselines.sequential.localization import distances, gaspari_cohn, taper


def test_the_taper_falls_smoothly_from_one_to_zero():
    d = torch.linspace(0, 8, 4001)
    rho = gaspari_cohn(d, 3.0)
    assert rho[0] == 1
    assert (rho.diff() <= 0).all()
    assert (rho[d >= 6] == 0).all()
    assert (rho[d < 5.9] > 0).all()
    # Twice continuously differentiable, also where the chunks meet.
    curvature = rho.diff(n=2) / (d[1] - d[0]) ** 2
    assert float(curvature.diff().abs().max()) < 0.01
    assert float(gaspari_cohn(torch.tensor(3.0), 3.0)) == pytest.approx(5 / 24)


def test_the_taper_is_close_to_a_gaussian_of_its_radius():
    """To second order at zero distance, and within a twentieth everywhere."""
    every = torch.arange(40)
    rho = taper((40,), every, 4.0)[0]
    gauss = torch.exp(-0.5 * (torch.minimum(every, 40 - every) / 4.0) ** 2)
    assert float((rho - gauss).abs().max()) < 0.05
    near = gaspari_cohn(torch.tensor(1e-3), (10 / 3) ** 0.5)
    assert float((1 - near) / (0.5 * 1e-6)) == pytest.approx(1, rel=1e-2)


def test_tapers_are_correlations():
    """Positive definite on a ring that is large compared with the support."""
    matrix = taper((40,), torch.arange(40), 4.0)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


@pytest.mark.parametrize("radius", [None, float("inf")])
def test_no_radius_is_no_taper(radius):
    assert (taper((4, 5), torch.arange(20), radius) == 1).all()


def test_distances_take_the_shorter_way_around():
    assert distances((6,), torch.tensor([0, 4])).mT.tolist() == [[0, 1, 2, 3, 2, 1], [2, 3, 2, 1, 0, 1]]
    square = distances((4, 6), torch.tensor([0, 23])).unflatten(0, (4, 6))
    assert float(square[2, 3, 0]) == pytest.approx(13**0.5)
    assert float(square[3, 5, 0]) == pytest.approx(2**0.5)
    assert float(square[0, 0, 1]) == pytest.approx(2**0.5)


def test_a_state_without_a_grid_is_one_site():
    assert distances((), torch.tensor([0])).tolist() == [[0]]
