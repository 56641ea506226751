"""Samplers, held against a Gaussian whose denoiser is known."""

from itertools import pairwise
from math import cos, log, sin, tan
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, Mean, Sampler, Schedule
from posterity.diffusion.samplers import Ancestral, Multistep, PredictorCorrector, RungeKutta, arrive, integral
from posterity.diffusion.schedules import MOST

STD = (0.1, 0.3, 0.8, 1.2)


class Gaussian(NamedTuple):
    """A Gaussian of mean m and covariance Q S^2 Q^T, whose directions are none of the axes."""

    mean: Tensor
    basis: Tensor
    std: Tensor

    @property
    def denoise(self) -> Mean:
        """The mean given noisy values, m + cos C (cos^2 C + sin^2 I)^-1 (x - cos m)."""

        def denoise(x: Tensor, angle: float) -> Tensor:
            gain = cos(angle) * self.std**2 / (cos(angle) ** 2 * self.std**2 + sin(angle) ** 2)
            return self.mean + (x - cos(angle) * self.mean) @ self.basis * gain @ self.basis.mT

        return denoise

    def whiten(self, x: Tensor) -> Tensor:
        """In units in which the Gaussian is standard normal."""
        return (x - self.mean) @ self.basis / self.std

    def draw(self, sampler: Sampler, schedule: Schedule, draws: int) -> Tensor:
        """Whitened draws by a sampler."""
        return self.whiten(sampler(self.denoise, schedule, torch.randn(draws, 4)))

    def affine(self, sampler: Sampler, schedule: Schedule) -> Tensor:
        """What a deterministic sampler makes of noise: the whitened mean, and below it the whitened factor."""
        noise = torch.cat((torch.zeros(1, 4), torch.eye(4)))
        found = self.whiten(sampler(self.denoise, schedule, noise))
        return torch.cat((found[:1], found[1:] - found[:1]))


@pytest.fixture
def gaussian() -> Gaussian:
    basis, _ = torch.linalg.qr(torch.randn(4, 4))
    return Gaussian(basis @ torch.tensor([1.0, -1.0, 0.5, 0.0]) / 1.5, basis, torch.tensor(STD))


@pytest.mark.parametrize(
    ("make", "order", "coarse", "error"),
    [(lambda steps: Ancestral(steps, eta=0.0), 1, 64, 0.06), (Multistep, 2.5, 32, 4e-4), (RungeKutta, 4, 16, 1e-4)],
    ids=["1", "3", "4"],
)
def test_deterministic_samplers_are_exact_but_for_errors_of_their_order(gaussian, make, order, coarse, error) -> None:
    """Mean and covariance without Monte Carlo errors: Gaussian noise goes through an affine map.

    The first steps of the multistep method are of lower order, which is half of what is left with so many.
    """
    schedule = EDM(least=2e-4)
    found = [gaussian.affine(make(steps), schedule) for steps in (coarse, 2 * coarse, 4 * coarse)]
    change = [float((rough - fine).abs().max()) for rough, fine in pairwise(found)]
    assert change[0] / change[1] == pytest.approx(2**order, rel=0.25)
    # Beyond the discretisation there are only the data that the first noise should hold.
    start = float(gaussian.mean.norm()) / MOST / min(STD)
    mean, factor = found[-1][0], found[-1][1:]
    assert float(mean.abs().max()) < start + 2 * change[-1]
    assert float((factor.mT @ factor - torch.eye(4)).abs().max()) < start + 4 * change[-1]
    assert change[-1] < error


@pytest.mark.parametrize("width", [0.002, 0.004, 0.02])
def test_the_last_step_neither_loses_variance_nor_adds_any(width) -> None:
    """Noise of 0.002 is left, of which draws would have a half too much, and their means as much too little."""
    angle = 0.002
    noisy = torch.tensor([[(width**2 * cos(angle) ** 2 + sin(angle) ** 2) ** 0.5]])

    def mean(x: Tensor, angle: float) -> Tensor:
        return cos(angle) * width**2 * x / noisy**2

    excess = (angle / width) ** 2
    found = float(arrive(mean, noisy, angle)) / width - 1
    assert abs(found) < 0.126 * excess**2 + 1e-5
    assert float(noisy) / width - 1 > 0.4 * excess
    assert 1 - float(mean(noisy, angle)) / width > 0.25 * excess


@pytest.mark.parametrize("sampler", [RungeKutta(4), Multistep(4)], ids=lambda s: type(s).__name__)
def test_the_probability_flow_leaves_standard_normal_noise_as_it_is(sampler) -> None:
    noise = torch.randn(10, 3)
    torch.testing.assert_close(sampler(lambda x, angle: cos(angle) * x, EDM(), noise), noise)


@pytest.mark.parametrize(("steps", "error"), [(10, 0.03), (12, 0.02), (16, 0.012), (32, 0.004)])
def test_few_steps_reach_posteriors_of_any_width(steps, error) -> None:
    """From a hundredth of the prior to half as much again, each by as many evaluations as there are steps."""
    width, asked = torch.tensor([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5]), []

    def denoise(x: Tensor, angle: float) -> Tensor:
        asked.append(angle)
        return cos(angle) * width**2 / (cos(angle) ** 2 * width**2 + sin(angle) ** 2) * x

    found = Multistep(steps)(denoise, EDM(), torch.ones(1, 8)) / width
    assert float((found - 1).abs().max()) < error
    assert asked == EDM().angles(steps)[:-1]


def test_integrals_are_those_of_polynomials_in_the_level() -> None:
    """Of second degree, held against a sum over many points; and of a constant, the width of the interval."""

    def level(angle: float) -> float:
        return log(tan(angle))

    def value(angle: float) -> float:
        return 0.3 - 2 * level(angle) + level(angle) ** 2

    known, t, s = (1.4, 1.1, 0.8), 0.8, 0.3
    points = [t + (k + 0.5) / 10_000 * (s - t) for k in range(10_000)]
    expected = (s - t) / 10_000 * sum(map(value, points))
    values = [torch.tensor([1.0, value(angle)]) for angle in known]
    torch.testing.assert_close(integral(values, known, t, s), torch.tensor([s - t, expected]), rtol=1e-5, atol=0)


def test_ancestral_draws_come_near_as_steps_become_small(gaussian) -> None:
    """Too narrow, by a part that falls with the number of steps."""
    schedule, draws, lost = EDM(), 10_000, []
    for steps in (32, 128):
        x = gaussian.draw(Ancestral(steps), schedule, draws)
        assert float(x.mean(dim=0).abs().max()) < 4.5 / draws**0.5 + 0.0125
        lost.append(1 - float(x.std(dim=0).min()))
    assert 0 < lost[1] < 0.5 * lost[0]
    assert float(x.std(dim=0).max()) < 1 + 4.5 / (2 * draws) ** 0.5


def test_a_share_of_new_noise_lies_between(gaussian) -> None:
    """Narrower the more noise is new, at the same number of steps; without any nothing is drawn."""
    schedule = EDM()
    spread = [float(gaussian.draw(Ancestral(32, eta), schedule, 10_000).var()) for eta in (0.0, 0.5, 1.0)]
    assert spread[0] > spread[1] > spread[2]
    denoise, noise = gaussian.denoise, torch.randn(5, 4)
    assert torch.equal(*(Ancestral(8, 0.0)(denoise, schedule, noise) for _ in range(2)))


@pytest.mark.parametrize("tau", [0.05, 0.2])
def test_corrections_widen_by_a_part_of_order_tau(gaussian, tau) -> None:
    """No narrower than steps without corrections, and wider than exact by what small Langevin steps may be."""
    schedule, draws = EDM(), 10_000
    x = gaussian.draw(PredictorCorrector(64, 1, tau), schedule, draws)
    monte_carlo = 4.5 / draws**0.5
    assert float(x.mean(dim=0).abs().max()) < monte_carlo + 0.0125
    plain = gaussian.affine(Ancestral(64, 0.0), schedule)[1:].square().sum(dim=0).sqrt()
    assert (x.std(dim=0) > plain - monte_carlo).all()
    assert float(x.std(dim=0).max()) < 1 + tau / 2 + monte_carlo


def test_corrections_undo_errors_of_steps(gaussian) -> None:
    schedule, noise = EDM(), torch.randn(10_000, 4)
    denoise = gaussian.denoise
    plain, corrected = (
        gaussian.whiten(PredictorCorrector(12, number, 0.2)(denoise, schedule, noise)).std(dim=0) for number in (0, 8)
    )
    assert ((1 - corrected).abs() < 0.6 * (1 - plain)).all()
    same = Ancestral(12, 0.0)(denoise, schedule, noise[:9])
    assert torch.equal(PredictorCorrector(12, 0)(denoise, schedule, noise[:9]), same)


def test_scores_that_are_much_too_large_shorten_corrections() -> None:
    """A score of a thousand times what it can be would throw draws away, were corrections not shorter by its square."""
    schedule = EDM()

    def denoise(x: Tensor, angle: float) -> Tensor:
        return (x - 1000 * x.sign() * sin(angle)) / cos(angle)

    start = PredictorCorrector(2, 0)(denoise, schedule, torch.ones(1, 4))
    found = PredictorCorrector(2, 1)(denoise, schedule, torch.ones(1, 4))
    # 0.25 * 4 / 1000 in units of the noise, and random numbers as small.
    assert 0 < float((found - start).abs().max()) < 0.01 * schedule.least


@pytest.mark.parametrize(
    "sampler", [Ancestral(8), Multistep(4), RungeKutta(2), PredictorCorrector(8)], ids=lambda s: type(s).__name__
)
def test_rows_do_not_see_each_other(sampler) -> None:
    """Fields of any shape are drawn, and other rows change nothing."""
    schedule = EDM()

    def denoise(x: Tensor, angle: float) -> Tensor:
        return 0.1 * x.roll(1, dims=-1) + 0.2

    noise = torch.randn(6, 2, 4, 4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = sampler(denoise, schedule, noise)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = sampler(denoise, schedule, torch.cat((noise[:3], 5 * noise[3:])))
    assert found.shape == noise.shape
    torch.testing.assert_close(other[:3], found[:3])
    assert not torch.isclose(other[3:], found[3:]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multistep(0), "steps: at least one is needed, not 0"),
        (lambda: RungeKutta(0), "steps: at least one is needed, not 0"),
        (lambda: Ancestral(eta=1.5), "eta: must lie between 0 and 1, not 1.5"),
        (lambda: PredictorCorrector(corrections=-1), "corrections: must not be negative, not -1"),
        (lambda: PredictorCorrector(tau=0.0), "tau: must be positive, not 0"),
    ],
)
def test_samplers_refuse_what_is_none(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
