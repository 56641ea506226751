"""Compositions of local denoisers: windows, shares, products with derivatives, guidance as a whole and by windows."""

from collections.abc import Callable
from math import cos, sin, tan

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, DPSGuidance, Guidance, MomentMatching, PredictorCorrector, SDAGuidance
from posterity.diffusion.compositions import Blankets, Composition, Fold, Junction, LocalLikelihood, Trajectory
from posterity.testing import GaussianChain, KnownMean, UnknownMean, matched

EXACT = MomentMatching(iterations=50, tolerance=1e-12)
FIXED = [Fold(1), Fold(2), Blankets(4, 2), Blankets(5, 2), Junction(1), Junction(2), Junction(1, 2)]
#: Those whose shares depend on what is found, too.
COMPOSITIONS = [*FIXED, Junction(1, 2, gauss=True)]
ANGLES = [0.002, 0.3, 1.0, 1.56]


class Wavy:
    """A local denoiser that is not linear, sees time and mixes all entries of a window."""

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        return (x.cumsum(dim=-1) * cos(angle) + start.view(-1, 1, 1)).sin() + 0.1 * x.flip(-1)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.mean(x, angle, start), x, w)[0]


@pytest.fixture(params=[KnownMean(), UnknownMean()], ids=lambda chain: type(chain).__name__)
def chain(request: pytest.FixtureRequest) -> GaussianChain:
    """Chains whose states are all that there is, and with a parameter."""
    return request.param


def observations(states: int, rows: int) -> LocalLikelihood:
    """Two numbers of each state of three entries, a third of them missing, and a background of the first state."""
    matrix = torch.randn(5, 3)
    matrix[2:] = torch.eye(3)
    there = torch.rand(rows, states, 5) > 1 / 3
    there[:, 1:, 2:] = False
    precision = torch.where(there, 0.5 + torch.rand(rows, states, 5), 0)
    return LocalLikelihood(lambda x: (x @ matrix.mT).tanh(), torch.randn(rows, states, 5), precision)


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
@pytest.mark.parametrize("states", [5, 7, 11, 13])
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


@pytest.mark.parametrize("stride", [1, 2])
def test_junction_is_the_score_of_a_product_of_densities(chain: GaussianChain, stride: int) -> None:
    """The sum over windows of Gaussian scores less that over separators, and without noise that of the chain itself."""
    whole, angle = chain.trajectory(7), 0.4
    x = torch.randn(4, whole.entries)
    score = torch.zeros_like(x)
    for length, first, sign in ((3, 0, 1), (3 - stride, stride, -1)):
        found = chain.covariance(x, length)
        noisy = cos(angle) ** 2 * found + sin(angle) ** 2 * torch.eye(len(found))
        for start in range(first, 5, stride):
            places = [*range(start, start + length), *range(7, whole.entries)]
            score[:, places] -= sign * torch.linalg.solve(noisy, x[:, places].mT).mT
    denoiser = Junction(1, stride).compose(chain, whole)
    torch.testing.assert_close(denoiser.mean(x, angle), (x + sin(angle) ** 2 * score) / cos(angle))

    small = 1e-4
    score = (cos(small) * denoiser.mean(x, small) - x) / sin(small) ** 2
    torch.testing.assert_close(score, -torch.linalg.solve(chain.covariance(x, 7), x.mT).mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("angle", ANGLES)
def test_gaussian_junction_weighs_parameters_by_their_precision(angle: float, stride: int) -> None:
    """Of a chain with an unknown mean: the variance in each window and separator, and states as without."""
    chain = UnknownMean()
    whole = chain.trajectory(7)
    x, total, weights = torch.randn(4, whole.entries), torch.zeros(4), 0.0
    for length, first, sign in ((3, 0, 1), (3 - stride, stride, -1)):
        precise = chain.covariance(x, length).inverse() + torch.eye(length + 1) / tan(angle) ** 2
        variance = precise.inverse()[-1, -1]
        for start in range(first, 5, stride):
            places = [*range(start, start + length), 7]
            mean = torch.linalg.solve(precise, x[:, places].mT / tan(angle) ** 2 / cos(angle)).mT[:, -1]
            total += sign * mean / variance
            weights += sign / variance
    plain, found = (Junction(1, stride, gauss).compose(chain, whole).mean(x, angle) for gauss in (False, True))
    torch.testing.assert_close(found[:, -1], total / weights)
    torch.testing.assert_close(found[:, :-1], plain[:, :-1])


def test_a_junction_that_knows_less_than_noisy_parameters_say_is_the_plain_sum() -> None:
    """Separators that claim to know more than windows leave a sum that is no precision."""
    whole, x = Trajectory(5, 1, 1), torch.randn(3, 6)

    class Overconfident(Wavy):
        def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
            return w * (0.9 if x.shape[-1] == 4 else 0.1)

    found = [Junction(1, 1, gauss).compose(Overconfident(), whole).mean(x, 0.3) for gauss in (False, True)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("composition", FIXED, ids=repr)
def test_pullbacks_are_products_with_the_jacobian(composition: Composition) -> None:
    whole, x, w = Trajectory(7, 2, 1), torch.randn(3, 15), torch.randn(3, 15)
    denoiser = composition.compose(Wavy(), whole)
    step, parts = 1e-6, []
    for direction in torch.eye(15):
        ends = [denoiser.mean(x + side * step * direction, 0.5) for side in (1, -1)]
        parts.append(((ends[0] - ends[1]) * w).sum(dim=1) / (2 * step))
    torch.testing.assert_close(denoiser.pullback(x, 0.5, w), torch.stack(parts, dim=1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("composition", FIXED, ids=repr)
def test_spreads_are_products_with_the_symmetric_part(composition: Composition, chain: GaussianChain) -> None:
    whole = chain.trajectory(9)
    unit = torch.eye(whole.entries)
    denoiser = composition.compose(chain, whole)
    back, spread = (product(unit, 0.5, unit) for product in (denoiser.pullback, denoiser.spread))
    torch.testing.assert_close(spread, (back + back.mT) / 2)
    assert torch.allclose(back, back.mT) == isinstance(composition, Junction)


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
@pytest.mark.parametrize("guidance", [EXACT, SDAGuidance(), DPSGuidance()], ids=lambda kind: type(kind).__name__)
def test_pieces_and_rows_change_nothing(composition: Composition, guidance: Guidance) -> None:
    """Windows one, two or all at a time, rows alone or together: the same draws, guided as a whole or by windows."""
    whole, noise = Trajectory(7, 3, 1), torch.randn(3, 22)
    seen = observations(7, 3)

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
def test_guidance_of_one_window_is_that_of_the_whole(angle: float, chain: GaussianChain) -> None:
    """Where a window holds the trajectory all compositions and both ways are the exact posterior's mean."""
    whole, unseen = chain.trajectory(5), chain.trajectory(5).parameters
    x, y = torch.randn(3, whole.entries), torch.randn(3, 5)
    seen = LocalLikelihood(lambda x: x, y.unsqueeze(-1), torch.full((3, 5, 1), 2.0))
    precise = chain.covariance(x, 5).inverse() + torch.eye(whole.entries) / tan(angle) ** 2
    precise += torch.diag(torch.tensor([4.0] * 5 + [0.0] * unseen))
    data = x / cos(angle) / tan(angle) ** 2 + 4 * torch.cat((y, torch.zeros(3, unseen)), dim=1)
    expected = torch.linalg.solve(precise, data.mT).mT
    for composition in (Fold(2), Blankets(5, 0), Junction(2)):
        denoiser = composition.compose(chain, whole)
        torch.testing.assert_close(EXACT.guide(denoiser, seen.whole(whole))(x, angle), expected)
        torch.testing.assert_close(denoiser.guided(EXACT, seen)(x, angle), expected)


@pytest.mark.parametrize("composition", [Fold(1), Blankets(4, 2), Junction(1), Junction(1, 2)], ids=repr)
@pytest.mark.parametrize("angle", [0.002, 0.1])
def test_moment_matching_is_that_by_matrices(composition: Composition, angle: float, chain: GaussianChain) -> None:
    """Where noise is small: at large noise what is composed is no covariance, and conjugate gradients stop early."""
    whole, y = chain.trajectory(9), torch.randn(9)
    x = torch.randn(3, whole.entries)
    denoiser = composition.compose(chain, whole, number=2)
    seen = LocalLikelihood(lambda x: x, y.expand(3, 9).unsqueeze(-1), torch.full((3, 9, 1), 3.0))
    found = EXACT.guide(denoiser, seen.whole(whole))(x, angle)
    torch.testing.assert_close(found, matched(denoiser, chain.seen(y), y, 1 / 9)(x, angle))


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
def test_no_more_windows_are_held_at_once_than_are_asked_for(composition: Composition) -> None:
    """Of guided draws, with gradients nowhere but in a local denoiser; each window is met once for each mean."""
    whole, seen, counts = Trajectory(9, 3, 1), observations(9, 2), []

    class Counting(Wavy):
        def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
            assert x.shape[:2] == (len(start), 2)
            assert not torch.is_grad_enabled()
            counts.append(len(start))
            return super().mean(x, angle, start)

        def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
            return w

    denoiser = composition.compose(Counting(), whole, number=3)
    for mean in (SDAGuidance().guide(denoiser, seen.whole(whole)), denoiser.guided(SDAGuidance(), seen)):
        counts.clear()
        assert not mean(torch.randn(2, whole.entries), 0.5).requires_grad
        assert sum(counts) == sum(len(part.start) for part in composition.windows(9))
        assert max(counts) <= 3


def test_observations_of_windows_are_those_of_their_states() -> None:
    """Of a background too, which is seen in the first state alone."""
    whole, seen, x = Trajectory(6, 3, 2), observations(6, 4), torch.randn(4, 20)
    residual = seen.whole(whole).residual(x).view(4, 6, 5)
    assert (residual[:, 1:, 2:] == 0).all()
    (windows,) = Fold(1).windows(6)
    found = seen.within(windows, whole).residual(windows.cut(whole, x)).view(4, 4, 3, 5)
    for start in range(4):
        torch.testing.assert_close(found[start], residual[:, start : start + 3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fold(0), "order: at least one state on either side is needed, not 0"),
        (lambda: Junction(0), "order: at least one state on either side is needed, not 0"),
        (lambda: Blankets(0), "length: at least one state is needed, not 0"),
        (lambda: Blankets(4, 4), "overlap: must lie between 0 and 3, not 4"),
        (lambda: Junction(2, 5), "stride: must lie between 1 and 4, twice the order, not 5"),
        (lambda: Junction(2, 4).windows(12), "4 leads from windows of 5 states to trajectories of 5, 9, …, not of 12"),
        (lambda: Fold(2).compose(Wavy(), Trajectory(4, 3)), "windows of 5 states do not fit a trajectory of 4; make"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
