"""Compositions of exact local denoisers: what they get right and wrong when nothing is left to learn."""

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, Guidance, MomentMatching, PredictorCorrector, SDAGuidance
from posterity.diffusion.compositions import Blankets, Composition, Fold, Junction, LocalLikelihood
from posterity.diffusion.samplers import arrive
from posterity.testing import GaussianChain, KnownMean, UnknownMean, cosine_angles, draw_moments, matched

EXACT = MomentMatching(iterations=50, tolerance=1e-12)


def published(size: float) -> float:
    """The size of corrections of score-based data assimilation, with a half."""
    return 0.5 / size


def estimates(chain: UnknownMean, composition: Composition, states: int, corrections: list[int]) -> list[float]:
    """Mean and standard deviation of the parameter among draws, all states seen with a variance of a hundredth."""
    y = torch.linspace(0.5, 1, states)
    denoiser = composition.compose(chain, chain.trajectory(states))
    mean, weights, known, found = matched(denoiser, chain.seen(y), y, 0.01), chain.weights(y), dict[float, Tensor](), []

    def remembered(x: Tensor, angle: float) -> Tensor:
        if angle not in known:
            known[angle] = mean(x, angle)
        return known[angle]

    for number in corrections:
        center, covariance = draw_moments(remembered, weights, cosine_angles(512), number, published)
        found += [float(weights @ center), float(weights @ covariance @ weights) ** 0.5]
    return found


#: Length, order, and mean and deviation of the parameter: junction and fold, without corrections and with one, and the
#: fold with a parameter in each frame, with one correction.
TABLE = [
    (17, 1, (1.091, 0.200), (0.730, 0.454), (1.181, 0.407), (0.647, 0.549), (0.631, 0.241)),
    (17, 4, (0.730, 0.421), (0.724, 0.457), (0.275, 0.600), (0.682, 0.504), (0.677, 0.402)),
    (33, 1, (1.147, 0.100), (0.780, 0.388), (1.278, 0.377), (0.658, 0.544), (0.630, 0.170)),
    (33, 4, (0.899, 0.297), (0.775, 0.390), (1.006, 0.458), (0.683, 0.504), (0.672, 0.281)),
    (65, 1, (1.058, 0.013), (0.826, 0.313), (1.204, 0.340), (0.674, 0.537), (0.630, 0.121)),
    (65, 4, (1.016, 0.156), (0.824, 0.315), (1.227, 0.445), (0.684, 0.503), (0.670, 0.196)),
]


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[] if row[:2] == (17, 1) else pytest.mark.slow) for row in TABLE], ids=str
)
def test_parameters_of_exact_scores(row) -> None:
    """Corrected junctions find the exact posterior of the parameter; nothing else does, however exact the scores."""
    states, order, *expected = row
    shared, frames = UnknownMean(), UnknownMean(per_frame=True)
    found = estimates(shared, Junction(order), states, [0, 1])
    found += estimates(shared, Fold(order), states, [0, 1])
    found += estimates(frames, Fold(order), states, [1])
    assert found == pytest.approx([number for pair in expected for number in pair], abs=5.1e-4)


def test_exact_posteriors_are_those_of_a_filter() -> None:
    """The chain's own exact answer, held against a Kalman filter of state and parameter; and per frame the same."""
    y, a, q = torch.linspace(0.5, 1, 17), 0.9, 0.3
    scale = (1 + q**2 / (1 - a**2)) ** 0.5
    center = torch.zeros(2)
    covariance = torch.tensor([[scale**2, 1.0], [1.0, 1.0]])
    move, seen = torch.tensor([[a, 1 - a], [0.0, 1.0]]), torch.tensor([1 / scale, 0.0])
    for number, value in enumerate(y):
        if number:
            center, covariance = move @ center, move @ covariance @ move.mT + torch.diag(torch.tensor([q**2, 0.0]))
        gain = covariance @ seen / (seen @ covariance @ seen + 0.01)
        center = center + gain * (value - seen @ center)
        covariance = covariance - torch.outer(gain, seen @ covariance)
    for per_frame in (False, True):
        chain = UnknownMean(per_frame=per_frame)
        found, spread = chain.given(y, 0.01)
        weights = chain.weights(y)
        torch.testing.assert_close(weights @ found, center[1])
        torch.testing.assert_close(weights @ spread @ weights, covariance[1, 1])


def directly(y: Tensor, rows: int, std: float) -> LocalLikelihood:
    """Observations of the first entry of each state, the same for some rows."""
    shape = (rows, len(y), 1)
    return LocalLikelihood(lambda x: x[..., :1], y.unsqueeze(-1).expand(shape), torch.full(shape, 1 / std))


@pytest.mark.parametrize("states", [17, *(pytest.param(number, marks=pytest.mark.slow) for number in (33, 65))])
@pytest.mark.parametrize("chain", [KnownMean(), UnknownMean()], ids=lambda chain: type(chain).__name__)
@pytest.mark.parametrize("composition", [Junction(2), Junction(2, 4)], ids=repr)
def test_windows_guided_one_by_one_find_the_posterior_in_few_steps(
    composition: Composition, chain: GaussianChain, states: int
) -> None:
    """Corrected junctions on the grid of all samplers, 64 steps: deviations of states and parameter within 3 %."""
    y, whole, sampler = torch.linspace(0.5, 1, states), chain.trajectory(states), PredictorCorrector(64, 2, 0.5)
    mean = composition.compose(chain, whole).guided(EXACT, directly(y, whole.entries + 1, 0.1))
    angles = EDM().angles(sampler.steps)[:-1]
    center, covariance = draw_moments(
        mean, y.new_zeros(whole.entries), angles, sampler.corrections, lambda size: sampler.tau * min(1, 4 / size)
    )
    exact, spread = chain.given(y, 0.1**2)
    assert float((center - exact).abs().max()) < 0.02
    assert covariance.diagonal().sqrt().tolist() == pytest.approx(spread.diagonal().sqrt().tolist(), rel=0.03)


@pytest.mark.parametrize(
    ("guidance", "local"),
    [(SDAGuidance(0.01), False), (SDAGuidance(0.01), True), (MomentMatching(2), True)],
    ids=["sda", "sda by windows", "moment matching by windows"],
)
def test_accurate_observations_make_no_draws_diverge(guidance: Guidance, local: bool) -> None:
    """The first half of the states, seen with an error of a hundredth: that of SDA is a hundred times too steep."""
    chain, whole, std, draws = KnownMean(), KnownMean().trajectory(12), 0.01, 200
    y, seen = torch.linspace(0.5, 1, 12), torch.eye(12)[:6]
    prior = chain.covariance(y, 12)
    gain = torch.linalg.solve(seen @ prior @ seen.mT + std**2 * torch.eye(6), seen @ prior).mT
    exact, spread = gain @ y[:6], (prior - gain @ seen @ prior).diagonal().sqrt()

    given = directly(y, draws, std)
    given = given._replace(precision=given.precision * (torch.arange(12) < 6).unsqueeze(-1))
    denoiser = Blankets(5, 3).compose(chain, whole)
    mean = denoiser.guided(guidance, given) if local else guidance.guide(denoiser, given.whole(whole))
    found = PredictorCorrector(64, 1, 0.5)(mean, EDM(), torch.randn(draws, 12))
    # Monte Carlo errors are 0.07 of a mean and 0.05 of a deviation, and corrections widen. States that are not seen
    # follow from windows of five, and from pulls that are right along one direction at a time.
    away, wide = (found.mean(dim=0) - exact) / spread, found.std(dim=0) / spread
    assert float(away[:6].abs().max()) < 0.3
    assert float(away.abs().max()) < 0.6
    assert wide[:6].tolist() == pytest.approx([1] * 6, abs=0.2)
    assert wide.tolist() == pytest.approx([1] * 12, abs=0.4)
    misfit = float((found[:, :6] - y[:6]).square().mean().sqrt()) / std
    assert misfit == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("gauss", "expected"), [(False, 0.8954), (True, 1.0416)])
def test_gaussian_junctions_of_long_records_need_few_corrections(gauss: bool, expected: float) -> None:
    """The deviation of the parameter over the exact one: 53 states, 48 steps, one correction of a quarter after each.

    As one computes it from the windows' own matrices.
    """
    states, chain = 53, UnknownMean()
    y, whole = torch.linspace(0.5, 1, states), chain.trajectory(states)
    mean = Junction(2, 4, gauss).compose(chain, whole).guided(EXACT, directly(y, whole.entries + 1, 0.1))
    angles = EDM().angles(48)[:-1]
    _, covariance = draw_moments(mean, y.new_zeros(whole.entries), angles, 1, lambda size: 0.25 * min(1, 4 / size))
    _, spread = chain.given(y, 0.1**2)
    assert float((covariance[-1, -1] / spread[-1, -1]).sqrt()) == pytest.approx(expected, abs=5e-4)


def test_moments_of_draws_are_those_of_the_sampler() -> None:
    """In Monte Carlo errors, with few steps and large corrections."""
    chain, y, rows = UnknownMean(), torch.linspace(0.5, 1, 5), 4000
    sampler, schedule = PredictorCorrector(6, 2, 0.5), EDM(least=0.3)
    denoiser = Junction(1).compose(chain, chain.trajectory(5))
    mean = denoiser.guided(EXACT, directly(y, rows, 1.0))
    draws = sampler(mean, schedule, torch.randn(rows, 6))

    affine, angles = denoiser.guided(EXACT, directly(y, 7, 1.0)), schedule.angles(6)[:-1]
    center, covariance = draw_moments(affine, draws[0], angles, 2, lambda size: sampler.tau)
    # The last step, to no noise at all.
    end = arrive(affine, torch.cat((torch.zeros(1, 6), torch.eye(6))), angles[-1])
    factor = end[1:] - end[0]
    center, variance = center @ factor + end[0], (factor.mT @ covariance @ factor).diagonal()
    assert float(((draws.mean(dim=0) - center) / (variance / rows).sqrt()).abs().max()) < 4
    assert float(((draws.var(dim=0) / variance - 1) * (rows / 2) ** 0.5).abs().max()) < 4


@pytest.mark.slow
@pytest.mark.parametrize(("states", "order", "expected"), [(33, 1, 0.84), (33, 4, 0.97), (65, 1, 0.73), (65, 4, 0.87)])
def test_prior_draws_of_corrected_junctions_are_somewhat_narrow(states: int, order: int, expected: float) -> None:
    """The variance of the parameter among draws without observations, of one."""
    chain = UnknownMean()
    denoiser = Junction(order).compose(chain, chain.trajectory(states))
    weights = chain.weights(torch.empty(states))
    _, covariance = draw_moments(denoiser.mean, weights, cosine_angles(512), 1, published)
    assert float(weights @ covariance @ weights) == pytest.approx(expected, abs=5.1e-3)
