"""Schedules, the denoiser of a network, and its loss."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from posterity.diffusion import EDM, LearnedDenoiser, Residual, Straight, denoising_loss
from posterity.diffusion.denoisers import FINEST, FaintResidual, stratified
from posterity.nn import MLP, Layout, Network


class Plan(Network):
    """Makes a module that was made before."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        return self.module


class Copy(nn.Module):
    """Gives back the channels behind the first."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x[:, 1:]


class Nothing(nn.Module):
    """Gives zero for the first channel."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1])


def test_grids_go_from_noise_to_data() -> None:
    for steps in (1, 2, 7, 64):
        angles = EDM().angles(steps)
        assert len(angles) == steps + 1
        assert angles[-1] == 0
        assert math.tan(angles[0]) == pytest.approx(1e3)
        assert all(late < early for early, late in pairwise(angles))
    assert math.tan(angles[-2]) == pytest.approx(2e-3)
    assert Straight().angles(64) == angles


def test_grids_are_spaced_as_those_of_edm_where_noise_does_not_hide_the_data() -> None:
    """EDM's formula for the ratios of noise to data, held against ratios that saturate at five."""
    ratios = [math.tan(angle) for angle in EDM(least=0.01).angles(20)[:-1]]
    saturated = torch.tensor([ratio / (1 + ratio / 5) for ratio in ratios])
    first, last = saturated[0], saturated[-1]
    part = torch.linspace(0, 1, 20)
    expected = (first ** (1 / 7) + part * (last ** (1 / 7) - first ** (1 / 7))) ** 7
    torch.testing.assert_close(saturated, expected)


def test_densities_are_those_of_the_literature() -> None:
    """EDM's log-normal noise, -1.2 and 1.2 for data of deviation 0.5; and straight paths at uniform times."""
    share = torch.linspace(0.01, 0.99, 99)
    noise = torch.distributions.LogNormal(-1.2, 1.2).icdf(share)
    torch.testing.assert_close(EDM().quantile(share).tan(), noise / 0.5, rtol=0.01, atol=0)
    torch.testing.assert_close(Straight(exponent=0.0).quantile(share), share * math.pi / 2)
    # With an exponent of one the density falls in a line, which leaves the square of what is left.
    left = 1 - 2 / math.pi * Straight().quantile(share)
    torch.testing.assert_close(left.square(), 1 - share)


def test_the_loss_at_uniform_angles_is_that_of_flow_matching() -> None:
    """The integral over times of the error of a velocity is that over angles of the error of its residual."""
    z, noise, n = torch.tensor(0.7), torch.tensor(-1.3), 20_000
    share = (torch.arange(n) + 0.5) / n

    def residual(x: Tensor, angle: Tensor) -> Tensor:
        return 0.3 * x - angle.sin()

    t, scale = share, torch.hypot(share, 1 - share)
    x = ((1 - t) * noise + t * z) / scale
    velocity = ((2 * t - 1) * x + residual(x, torch.atan2(1 - t, t))) / scale
    matching = (velocity - (z - noise)).square().mean()

    angle = Straight(exponent=0.0).quantile(share)
    x = angle.cos() * z + angle.sin() * noise
    error = residual(x, angle) - (angle.sin() * z - angle.cos() * noise)
    torch.testing.assert_close(math.pi / 2 * error.square().mean(), matching, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EDM(least=0), "least: must lie between 0 and 1000, not 0"),
        (lambda: Straight(least=1e4), "least: must lie between 0 and 1000, not 10000"),
        (lambda: EDM(std=0), "std: must be positive, not 0"),
        (lambda: Straight(exponent=-1.0), "exponent: must be larger than -1, not -1"),
    ],
)
def test_schedules_refuse_what_is_none(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("angle", [0.01, 0.6, 1.5])
def test_the_denoiser_recovers_data_from_what_is_orthogonal_to_their_noisy_values(angle) -> None:
    """A network that is right about each row gives back the data, at all levels of noise."""
    z, noise = torch.randn(20, 1, 5), torch.randn(20, 1, 5)
    denoiser = LearnedDenoiser(Residual(Layout((1, 5)), 1, Plan(Copy())), math.sin(angle) * z - math.cos(angle) * noise)
    torch.testing.assert_close(denoiser.mean(math.cos(angle) * z + math.sin(angle) * noise, angle), z)


def test_pullbacks_are_products_with_the_jacobian() -> None:
    """Of each point that is asked for, at each angle, however often the denoiser is asked about others."""
    denoiser = LearnedDenoiser(Residual(Layout((2,)), 3, MLP((8,))), torch.randn(6, 3))
    for _ in range(2):
        for x in torch.randn(2, 6, 2):
            for angle in (0.2, 1.0):
                w = torch.randn(6, 2)
                _, expected = torch.autograd.functional.vjp(lambda x, angle=angle: denoiser.mean(x, angle), x, w)
                for factor in (1, 2):
                    torch.testing.assert_close(denoiser.pullback(x, angle, factor * w), factor * expected)


def test_means_and_pullbacks_at_one_point_share_a_sweep() -> None:
    residual, context, sweeps = Residual(Layout((2,)), 3, MLP((8,))), torch.randn(6, 3), []
    plain, pulled = (LearnedDenoiser(residual, context, pulled) for pulled in (False, True))
    x, w = torch.randn(6, 2), torch.randn(6, 2)
    expected = plain.mean(x, 0.6), plain.pullback(x, 0.6, w)
    residual.register_forward_hook(lambda *_: sweeps.append(1))
    torch.testing.assert_close((pulled.mean(x, 0.6), pulled.pullback(x, 0.6, w)), expected)
    assert len(sweeps) == 1


def test_the_network_sees_the_level_of_noise_and_the_context() -> None:
    residual = Residual(Layout((2,)), 3, MLP((8,)))
    x, t, context = torch.randn(6, 2), torch.rand(6), torch.randn(6, 3)
    found = residual(x, t, context)
    assert found.shape == (6, 2)
    assert not torch.isclose(residual(x, t + 0.1, context), found).all(dim=1).any()
    assert not torch.isclose(residual(x, t, context + 0.1), found).all(dim=1).any()
    # At both ends too, where the logarithm of the level would be infinite.
    ends = residual(x, torch.tensor([0.0, math.pi / 2] * 3), context)
    assert ends.isfinite().all()


def test_the_loss_of_knowing_nothing_is_one_and_that_of_knowing_all_is_zero() -> None:
    z = torch.randn(4000, 1, 5)
    nothing = Residual(Layout((1, 5)), 0, Plan(Nothing()))
    # The mean of 20 000 squares of standard normal numbers.
    assert float(denoising_loss(nothing, EDM(), z, z[:, :0])) == pytest.approx(1, abs=4 * (2 / 20_000) ** 0.5)

    class Told(nn.Module):
        """Is told the data, and finds the noise and its level from the noisy ones and the encoding."""

        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            # The first sine and cosine have frequency one, and the level is a quarter of the logarithm.
            angle = (4 * torch.atan2(condition[:, 0], condition[:, 16])).exp().atan().view(-1, 1, 1)
            noise = (x[:, :1] - angle.cos() * x[:, 1:]) / angle.sin()
            return angle.sin() * x[:, 1:] - angle.cos() * noise

    told = Residual(Layout((1, 5)), 1, Plan(Told()))
    assert float(denoising_loss(told, EDM(), z, z)) < 1e-16


def test_stratified_draws_fill_each_interval_once() -> None:
    found = stratified(torch.empty(1000, 1))
    assert torch.equal((found * 1000).long().sort().values, torch.arange(1000))
    # In random order: neighbours are no nearer than others.
    assert float(found.diff().abs().mean()) == pytest.approx(1 / 3, abs=0.05)


def test_scores_of_faint_residuals_settle_as_noise_fades() -> None:
    """Beyond the score of the prior there is F / tan: of any network it stays what it is at the smallest noise seen."""
    residual = FaintResidual(Layout((3,)), 2, MLP((8,)))
    clean, context = torch.randn(5, 3), torch.randn(5, 2)

    def score(angle: Tensor) -> Tensor:
        found = residual(clean / angle.cos(), angle, context)
        return found / angle.sin()

    with torch.no_grad():
        finest = score(torch.tensor([FINEST]))
        assert float(finest.abs().min()) > 1e-3
        for angle in (1e-1 * FINEST, 1e-3 * FINEST):
            torch.testing.assert_close(score(torch.tensor([angle])), finest, atol=5e-3, rtol=0)
