"""Variational fits without matrices, against those with them."""

import pytest
import torch

from posterity.algebra import DensePrecision, LowRankPrecision
from posterity.baselines.variational.families import Full, LowRank, MeanField
from posterity.baselines.variational.optimizers import Adam, NaturalGradient
from posterity.problems import Control, Identity, Observation, Problem, RandomMask, eigenpairs
from posterity.problems.minimize import minimize
from posterity.systems import LinearAdvection, Lorenz96

LINEAR = Problem(
    LinearAdvection(size=12), Observation(Identity((1, 12)), std=(0.5, 1.0), masks=(RandomMask(0.5),)), window=3,
    background_std=(0.5, 1.0),
)  # fmt: skip
FAMILIES = pytest.mark.parametrize("family", [MeanField(), LowRank(3, 50), Full()], ids=["diagonal", "rank", "full"])


@pytest.fixture
def large(monkeypatch):
    """No matrices at all, whatever the size."""
    for module in ("control", "linearized.hessian"):
        monkeypatch.setattr(f"posterity.problems.{module}.LARGE", 0)


@pytest.fixture
def control():
    return Control(LINEAR, LINEAR.sample((4,)).window)


def exact_precision(control):
    return minimize(control, tolerance=1e-14).model.dense()


def matrix(factor):
    n, cases = factor.variance().shape[-1], len(factor.variance())
    return factor.covariance(torch.eye(n).unsqueeze(1).expand(-1, cases, -1)).movedim(0, -1)


@FAMILIES
def test_projections_are_those_of_the_matrix(control, family):
    dense = DensePrecision(exact_precision(control))
    like = torch.zeros(4, control.size)
    free = LowRankPrecision.of(lambda v: dense.multiply(v) - v, like, control.size)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(matrix(family.project(free)), matrix(family.project(dense)), **close)


@FAMILIES
def test_fits_of_linear_problems_are_exact_without_matrices(control, family, large):
    """With all eigenpairs: variances 1 / (Σ⁻¹)ᵢᵢ of the mean field, and the nearest of the others."""
    q = NaturalGradient(iterations=4, samples=64).fit(control, family).q
    precision = exact_precision(control)
    expected = family.project(DensePrecision(precision))
    torch.testing.assert_close(matrix(q.factor), matrix(expected), rtol=1e-6, atol=1e-6)
    if family == MeanField():
        torch.testing.assert_close(q.factor.variance(), 1 / precision.diagonal(dim1=-2, dim2=-1), rtol=1e-8, atol=0)


def test_diagonals_are_estimated_with_fewer_eigenpairs_than_the_data_inform(control, large):
    """What the rest adds is estimated from signs and draws: nats below the best mean field, beside those without it."""
    q = NaturalGradient(iterations=20, samples=256, eigenpairs=4).fit(control, MeanField()).q
    pairs = eigenpairs(minimize(control).model, 4)
    known = 1 + (pairs.vectors.square() @ pairs.values.unsqueeze(-1)).squeeze(-1)
    best = exact_precision(control).diagonal(dim1=-2, dim2=-1)

    def gap(variance):
        ratio = variance * best
        return 0.5 * (ratio - 1 - ratio.log()).sum(dim=-1)

    assert (gap(q.factor.variance()) < 0.05).all()
    assert (gap(1 / known) > 0.5).all()


def test_fits_of_curved_problems_have_the_bounds_of_matrices(large, monkeypatch):
    """Lorenz-96: with all directions, natural gradients without matrices end where those with them do."""
    observation = Observation(Identity((1, 8)), std=(0.5, 1.0), masks=(RandomMask(0.5),))
    problem = Problem(Lorenz96(size=8, dt=0.05, spinup=2.0), observation, window=4, background_std=(0.5, 1.0))
    control = Control(problem, problem.sample((6,)).window)
    fits = [NaturalGradient(iterations=16, samples=64).fit(control, Full())]
    for module in ("control", "linearized.hessian"):
        monkeypatch.setattr(f"posterity.problems.{module}.LARGE", 512)
    fits.append(NaturalGradient(iterations=16, samples=64).fit(control, Full()))
    free, dense = (fit.trace[:, -4:].mean(dim=-1) for fit in fits)
    assert ((free - dense).abs() < 0.1).all()


@pytest.mark.slow
def test_gradient_descent_needs_no_matrices():
    """A diagonal and a few directions, up to the noise of Adam: 5 % of variance on average."""
    problem = Problem(
        LinearAdvection(size=6), Observation(Identity((1, 6)), std=(0.5, 1.0)), window=2, background_std=(0.5, 1.0)
    )
    control = Control(problem, problem.sample((8,)).window)
    family = LowRank(2, 100)
    q = Adam(iterations=800, samples=32, learning_rate=0.02).fit(control, family).q
    expected = family.project(DensePrecision(exact_precision(control)))
    assert q.factor.vectors.shape == (8, 6, 2)
    assert abs(float((q.factor.variance() / expected.variance()).mean()) - 1) < 0.05


def test_a_hopeless_case_spoils_no_other_fit(control, large):
    window = control.window
    background = window.background.clone()
    background[1] = torch.inf
    fits = []
    for each in (window, window._replace(background=background)):
        torch.manual_seed(2)
        fits.append(NaturalGradient(iterations=2, samples=16).fit(Control(LINEAR, each), LowRank(2)).q)
    others = torch.tensor([0, 2, 3])
    torch.testing.assert_close(matrix(fits[0].factor)[others], matrix(fits[1].factor)[others])
