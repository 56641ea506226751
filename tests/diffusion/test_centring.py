"""The mean of learned residuals given noisy numbers: what it is fitted to, and what it mends."""

from math import cos, sin

import pytest
import torch
from torch import Tensor

from posterity.diffusion import Centring


def rows(count: int, noise: float, numbers: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random numbers, angles and residuals with a mean that is known, in units of scores."""
    v, angle = torch.randn(count, numbers), Centring.angles(torch.rand(count))
    level = angle.tan().log()
    bias = torch.stack((0.3 + 0.2 * v[:, 0] * level - 0.1 * v[:, 0] ** 2, 0.1 * v[:, 0] * v[:, 1] * level), dim=1)
    return v, angle, angle.tan().unsqueeze(-1) * (bias + noise * torch.randn(count, 2)), bias


def error(centring: Centring) -> float:
    """The root mean square error of a fit, in units of scores, where numbers are not clamped."""
    v, angle, _, bias = rows(4000, 0.0)
    found = centring(v, angle) / angle.tan().unsqueeze(-1)
    return float((found - bias)[(v.abs() < 2.4).all(dim=1)].square().mean().sqrt())


def test_a_mean_is_found_to_the_error_of_least_squares() -> None:
    """Of 40 000 rows in parts: 20 levels of 10 terms leave an error of the noise times the root of 200 / 40 000."""
    centring = Centring(2, 2)
    centring.fit(rows(8000, 1.5)[:3] for _ in range(5))
    assert error(centring) == pytest.approx(1.5 * (200 / 40_000) ** 0.5, rel=0.2)


def test_of_few_rows_little_is_made() -> None:
    """Where the noise is all, nothing: a fit of a thousand rows by itself would be off by thirty."""
    centring = Centring(2, 2)
    nothing = error(centring)
    centring.fit([rows(1000, 100.0)[:3]])
    assert error(centring) < 1.05 * nothing


def test_one_angle_serves_all_rows() -> None:
    centring = Centring(2, 3)
    centring.coefficients.normal_()
    v = torch.randn(7, 2)
    angle = torch.tensor([0.2])
    torch.testing.assert_close(centring(v, angle), centring(v, angle.expand(7)))


def test_what_adds_up_over_observations_is_taken_off() -> None:
    r"""A hundred observations :math:`y_t = \theta + 2 w_t`, whose exact scores are off by a third of a unit each.

    One observation has :math:`E[\theta | \bar\theta, y] = (\cos\varphi \bar\theta / \sin^2\varphi + y / 4) / \lambda`
    with :math:`\lambda = 1 + \cot^2\varphi + 1/4`; the sum of the scores of likelihoods of true parameters has mean
    zero, and those that are off one of 100 / 3. Where the noise is small it is -2.5 standard deviations of the sum.
    """

    def residual(v: Tensor, angle: Tensor, y: Tensor) -> Tensor:
        exact = (angle.cos() / angle.sin() ** 2 * v + y / 4) / (1 + angle.tan() ** -2 + 0.25)
        return (exact - angle.cos() * v) / angle.sin() + angle.tan() / 3

    def noisy(count: int, angle: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.randn(count)
        return v, angle.cos() * v + angle.sin() * torch.randn(count)

    def fitted():
        for _ in range(16):
            angle = Centring.angles(torch.rand(16384))
            v, bar = noisy(16384, angle)
            y = v + 2 * torch.randn(16384)
            yield bar.unsqueeze(-1), angle, residual(bar, angle, y).unsqueeze(-1)

    centring = Centring(1, 1)
    centring.fit(fitted())
    angle = torch.tensor([0.1])
    v, bar = noisy(1000, angle)
    y = v + 2 * torch.randn(100, 1000)
    scale = cos(0.1) / sin(0.1)
    plain = scale * residual(bar, angle, y).sum(dim=0)
    centred = plain - 100 * scale * centring(bar.unsqueeze(-1), angle).squeeze(-1)
    # Of the likelihood of y given noisy parameters, whose variance is 4 + tan^2: its score has variance 1 / that.
    deviation = 100**0.5 * (4 + angle.tan().item() ** 2) ** -0.5
    assert float(plain.mean()) == pytest.approx(100 / 3, abs=4 * deviation / 1000**0.5)
    assert abs(float(centred.mean())) < 0.2 * deviation + 4 * deviation / 1000**0.5
