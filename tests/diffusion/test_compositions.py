"""Compositions, and what those of exact local denoisers of a chain get right and wrong with nothing to learn."""

from collections.abc import Callable
from math import cos, sin, tan

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, DPSGuidance, Guidance, MomentMatching, PredictorCorrector, SDAGuidance
from posterity.diffusion.compositions import Blankets, Composition, Fold, Junction, LocalLikelihood, Trajectory
from posterity.testing import UnknownMean, cosine_angles, draw_moments, matched

EXACT = MomentMatching(iterations=50, tolerance=1e-12)
COMPOSITIONS = [Fold(1), Fold(2), Blankets(4, 2), Blankets(5, 2), Junction(1), Junction(2)]
ANGLES = [0.002, 0.3, 1.0, 1.56]


class Wavy:
    """A local denoiser that is not linear, sees time and mixes all entries of a window."""

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        return (x.cumsum(dim=-1) * cos(angle) + start.view(-1, 1, 1)).sin() + 0.1 * x.flip(-1)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.mean(x, angle, start), x, w)[0]


def observations(states: int, rows: int) -> LocalLikelihood:
    """Two numbers of each state of three entries, a third of them missing, and a background of the first state."""
    matrix = torch.randn(5, 3)
    matrix[2:] = torch.eye(3)
    there = torch.rand(rows, states, 5) > 1 / 3
    there[:, 1:, 2:] = False
    precision = torch.where(there, 0.5 + torch.rand(rows, states, 5), 0)
    return LocalLikelihood(lambda x: (x @ matrix.mT).tanh(), torch.randn(rows, states, 5), precision)


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
@pytest.mark.parametrize("states", [5, 6, 11, 12])
def test_shares_sum_to_one_of_each_state_and_of_the_parameters(composition: Composition, states: int) -> None:
    """A local denoiser that gives back what it sees makes one of trajectories that does."""
    whole, x = Trajectory(states, 3, 2), torch.randn(4, states * 3 + 2)

    class Nothing:
        def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
            return x

        def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
            return w

    found = composition.compose(Nothing(), whole)
    torch.testing.assert_close(found.mean(x, 0.5), x)
    torch.testing.assert_close(found.pullback(x, 0.5, x), x)
    torch.testing.assert_close(found.spread(x, 0.5, x), x)


def test_fold_keeps_centres_and_both_ends() -> None:
    """Against the fold as its authors write it, with its windows at their places in time."""
    whole, x, k = Trajectory(7, 3), torch.randn(4, 21), 2
    frames = x.view(4, 7, 3)
    windows = [Wavy().mean(frames[:, i : i + 5].flatten(1), 0.5, torch.tensor(i))[0].view(4, 5, 3) for i in range(3)]
    expected = torch.cat((windows[0][:, :k], *(part[:, k : k + 1] for part in windows), windows[-1][:, -k:]), dim=1)
    torch.testing.assert_close(Fold(k).compose(Wavy(), whole).mean(x, 0.5), expected.flatten(1))


def test_blankets_move_the_last_window_back_and_average() -> None:
    whole, x = Trajectory(9, 1, 1), torch.randn(4, 10)
    total, count, shared = torch.zeros(4, 9), torch.zeros(9), []
    for start in (0, 2, 4, 5):
        window = torch.cat((x[:, start : start + 4], x[:, 9:]), dim=1)
        found = Wavy().mean(window, 0.5, torch.tensor(start))[0]
        total[:, start : start + 4] += found[:, :4]
        count[start : start + 4] += 1
        shared.append(found[:, 4:])
    expected = torch.cat((total / count, torch.stack(shared).mean(dim=0)), dim=1)
    torch.testing.assert_close(Blankets(4, 2).compose(Wavy(), whole).mean(x, 0.5), expected)
    assert [len(part.start) for part in Blankets(4, 2).windows(8)] == [3]


def test_junction_is_the_score_of_a_product_of_densities(chain: UnknownMean) -> None:
    """The sum over windows of Gaussian scores less that over separators, and without noise that of the chain itself."""
    whole, x, angle = chain.trajectory(6), torch.randn(4, 7), 0.4
    score = torch.zeros_like(x)
    for length, first, last, sign in ((3, 0, 4, 1), (2, 1, 4, -1)):
        noisy = cos(angle) ** 2 * chain.covariance(x, length) + sin(angle) ** 2 * torch.eye(length + 1)
        for start in range(first, last):
            places = [*range(start, start + length), 6]
            score[:, places] -= sign * torch.linalg.solve(noisy, x[:, places].mT).mT
    denoiser = Junction(1).compose(chain, whole)
    torch.testing.assert_close(denoiser.mean(x, angle), (x + sin(angle) ** 2 * score) / cos(angle))

    small = 1e-4
    score = (cos(small) * denoiser.mean(x, small) - x) / sin(small) ** 2
    torch.testing.assert_close(score, -torch.linalg.solve(chain.covariance(x, 6), x.mT).mT, rtol=1e-4, atol=1e-4)


@pytest.fixture
def chain() -> UnknownMean:
    return UnknownMean()


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
def test_pullbacks_are_products_with_the_jacobian(composition: Composition) -> None:
    whole, x, w = Trajectory(7, 2, 1), torch.randn(3, 15), torch.randn(3, 15)
    denoiser = composition.compose(Wavy(), whole)
    step, parts = 1e-6, []
    for direction in torch.eye(15):
        ends = [denoiser.mean(x + side * step * direction, 0.5) for side in (1, -1)]
        parts.append(((ends[0] - ends[1]) * w).sum(dim=1) / (2 * step))
    torch.testing.assert_close(denoiser.pullback(x, 0.5, w), torch.stack(parts, dim=1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
def test_spreads_are_products_with_the_symmetric_part(composition: Composition, chain: UnknownMean) -> None:
    whole, unit = chain.trajectory(8), torch.eye(9)
    denoiser = composition.compose(chain, whole)
    back, spread = (product(unit, 0.5, unit) for product in (denoiser.pullback, denoiser.spread))
    torch.testing.assert_close(spread, (back + back.mT) / 2)
    assert torch.allclose(back, back.mT) == isinstance(composition, Junction)


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
@pytest.mark.parametrize("guidance", [EXACT, SDAGuidance(), DPSGuidance()], ids=lambda kind: type(kind).__name__)
def test_pieces_and_rows_change_nothing(composition: Composition, guidance: Guidance) -> None:
    """Windows one, two or all at a time, rows alone or together: the same draws, guided as a whole or by windows."""
    whole, noise = Trajectory(8, 3, 1), torch.randn(3, 25)
    seen = observations(8, 3)

    def draw(rows: slice, number: int | None, local: bool) -> Tensor:
        denoiser = composition.compose(Wavy(), whole, number)
        given = LocalLikelihood(seen.operator, seen.y[rows], seen.precision[rows])
        mean = denoiser.guided(guidance, given) if local else guidance.guide(denoiser, given.whole(whole))
        return PredictorCorrector(2, 0)(mean, EDM(), noise[rows])

    for local in (False, True):
        together = draw(slice(None), None, local)
        for number in (1, 2):
            torch.testing.assert_close(draw(slice(None), number, local), together)
        torch.testing.assert_close(draw(slice(1, 2), 3, local), together[1:2])


@pytest.mark.parametrize("angle", ANGLES)
def test_guidance_of_one_window_is_that_of_the_whole(angle: float, chain: UnknownMean) -> None:
    """Where a window holds the trajectory all compositions and both ways are the exact posterior's mean."""
    whole, x = chain.trajectory(5), torch.randn(3, 6)
    y, precision = torch.randn(3, 5, 1), 2 * torch.ones(3, 5, 1)
    seen = LocalLikelihood(lambda x: x, y, precision)
    prior, noise = chain.covariance(x, 5), tan(angle) ** 2 * torch.eye(6)
    pseudo = x / cos(angle)
    precise = torch.linalg.inv(prior) + torch.linalg.inv(noise) + torch.diag(torch.tensor([4.0] * 5 + [0.0]))
    data = pseudo / tan(angle) ** 2 + 4 * torch.cat((y[..., 0], torch.zeros(3, 1)), dim=1)
    expected = torch.linalg.solve(precise, data.mT).mT
    for composition in (Fold(2), Blankets(5, 0), Junction(2)):
        denoiser = composition.compose(chain, whole)
        torch.testing.assert_close(EXACT.guide(denoiser, seen.whole(whole))(x, angle), expected)
        torch.testing.assert_close(denoiser.guided(EXACT, seen)(x, angle), expected)


@pytest.mark.parametrize("composition", [Fold(1), Blankets(4, 2), Junction(1)], ids=repr)
@pytest.mark.parametrize("angle", [0.002, 0.1])
def test_moment_matching_is_that_by_matrices(composition: Composition, angle: float, chain: UnknownMean) -> None:
    """Where noise is small: at large noise what is composed is no covariance, and conjugate gradients stop early."""
    whole, x, y = chain.trajectory(8), torch.randn(3, 9), torch.randn(8)
    denoiser = composition.compose(chain, whole, number=2)
    seen = LocalLikelihood(lambda x: x, y.expand(3, 8).unsqueeze(-1), torch.full((3, 8, 1), 3.0))
    found = EXACT.guide(denoiser, seen.whole(whole))(x, angle)
    torch.testing.assert_close(found, matched(denoiser, chain.seen(y), y, 1 / 9)(x, angle))


def test_observations_of_windows_are_those_of_their_states() -> None:
    """Of a background too, which is seen in the first state alone."""
    whole, seen, x = Trajectory(6, 3, 2), observations(6, 4), torch.randn(4, 20)
    residual = seen.whole(whole).residual(x).view(4, 6, 5)
    assert (residual[:, 1:, 2:] == 0).all()
    (windows,) = Fold(1).windows(6)
    found = seen.within(windows, whole).residual(windows.cut(whole, x)).view(4, 4, 3, 5)
    for start in range(4):
        torch.testing.assert_close(found[start], residual[:, start : start + 3])


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
        center, covariance = draw_moments(remembered, weights, cosine_angles(512), number, tau=0.5)
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


@pytest.mark.slow
@pytest.mark.parametrize(("states", "order", "expected"), [(33, 1, 0.84), (33, 4, 0.97), (65, 1, 0.73), (65, 4, 0.87)])
def test_prior_draws_of_corrected_junctions_are_somewhat_narrow(states: int, order: int, expected: float) -> None:
    """The variance of the parameter among draws without observations, of one."""
    chain = UnknownMean()
    denoiser = Junction(order).compose(chain, chain.trajectory(states))
    weights = chain.weights(torch.empty(states))
    _, covariance = draw_moments(denoiser.mean, weights, cosine_angles(512), 1, tau=0.5)
    assert float(weights @ covariance @ weights) == pytest.approx(expected, abs=5.1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fold(0), "order: at least one state on either side is needed, not 0"),
        (lambda: Junction(0), "order: at least one state on either side is needed, not 0"),
        (lambda: Blankets(0), "length: at least one state is needed, not 0"),
        (lambda: Blankets(4, 4), "overlap: must lie between 0 and 3, not 4"),
        (lambda: Fold(2).compose(Wavy(), Trajectory(4, 3)), "windows of 5 states do not fit a trajectory of 4; make"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
