"""Priors of parameters at their bounds, where single precision puts draws, and beyond them."""

import pytest
import torch

from posterity.problems import LogitNormal, LogNormal, Normal, Uniform

PRIORS = [
    Uniform(0.9999, 1.0), Uniform(0.0, 0.2), Uniform(-3.0, 5.0), Uniform(1e4, 1e4 + 1), LogNormal(3.0, 0.4),
    LogitNormal(1.0, 2000.0), LogitNormal(-3.0, 5.0, 0.5, 2.0),
]  # fmt: skip


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_draw_is_finite_whitened_and_the_whole_is_standard_normal(prior, dtype) -> None:
    """A million draws, of which rounding puts some on the bounds of all of the uniform ones."""
    v = torch.randn(10**6, dtype=dtype)
    if dtype == torch.float32:
        v = torch.cat((v, torch.tensor([-6.0, 6.0], dtype=dtype)))
    theta = prior.forward(v)
    found = prior.inverse(theta)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert float(found.double().mean()) == pytest.approx(0, abs=5e-3)
    assert float(found.double().std()) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("low", "high"), [(0.9999, 1.0), (0.0, 0.2), (-0.1, 0.3)])
@pytest.mark.parametrize("kind", [Uniform, LogitNormal])
def test_bounds_are_finite_and_what_is_beyond_them_is_not(kind, dtype, low, high) -> None:
    """Also bounds that were rounded to single precision in a file, and are read in double."""
    prior = kind(low, high)
    bounds = torch.tensor([low, high], dtype=torch.float32).to(dtype)
    v = prior.inverse(bounds)
    assert v.isfinite().all()
    assert v[0] < -3
    assert v[1] > 3
    outside = torch.tensor([low - 0.01, high + 0.01], dtype=dtype)
    assert prior.inverse(outside).tolist() == [-torch.inf, torch.inf]
    assert prior.inverse(torch.tensor([torch.nan, (low + high) / 2], dtype=dtype)).isnan().tolist() == [True, False]


def test_a_positive_parameter_is_finite_at_zero_and_not_below() -> None:
    v = LogNormal(2.0, 0.5).inverse(torch.tensor([-1e-3, 0.0, 2.0]))
    assert v[0] == -torch.inf
    assert v[1].isfinite()
    assert v[1] < -100
    assert v[2] == 0


SMOOTH = [Uniform(-1.0, 3.0), Normal(2.0, 0.5), LogNormal(3.0, 0.4), LogitNormal(1.0, 2000.0, -0.5, 0.8)]


@pytest.mark.parametrize("prior", SMOOTH, ids=repr)
def test_the_inverse_inverts_far_into_the_tails(prior) -> None:
    v = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(prior.inverse(prior.forward(v)), v, rtol=1e-9, atol=1e-9)
