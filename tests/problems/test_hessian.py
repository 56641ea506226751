"""Laplace approximations with products, with blocks and with matrices, and against exact posteriors."""

import pytest
import torch

from posterity.algebra import Gaussian, LowRankFactor, LowRankPrecision, PrecisionFactor, leading_eigenpairs
from posterity.problems import (
    Control,
    Identity,
    Normal,
    Observation,
    Problem,
    RandomMask,
    StateControl,
    Window,
    curvature,
    eigenpairs,
    exact_posterior,
    laplace,
    structured,
)
from posterity.problems.linearized.solvers import Cholesky, ConjugateGradients, Recursion
from posterity.problems.minimize import minimize
from posterity.systems import LinearAdvection, Lorenz96

CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def observed(size: int) -> Observation:
    return Observation(Identity((1, size)), std=(0.5, 1.0), masks=(RandomMask(0.6),))


STRONG = Problem(Lorenz96(size=8, dt=0.05, spinup=2.0), observed(8), window=4, background_std=(0.5, 1.0))
WEAK = Problem(
    Lorenz96(size=5, dt=0.05, spinup=2.0), observed(5), window=4, background_std=(0.5, 1.0), model_error=0.3,
    parameters={"forcing": Normal(8.0, 0.5)},
)  # fmt: skip
LINEAR = Problem(LinearAdvection(size=6), observed(6), window=4, background_std=(0.5, 1.0), model_error=0.4)


@pytest.fixture
def large(monkeypatch):
    """No matrices at all, whatever the size."""
    monkeypatch.setattr("posterity.problems.control.LARGE", 0)
    monkeypatch.setattr("posterity.problems.linearized.hessian.LARGE", 0)


def identity(control: Control) -> torch.Tensor:
    return torch.eye(control.size).unsqueeze(1).expand(-1, control.cases, -1)


def covariance(q: Gaussian, control: Control) -> torch.Tensor:
    """The covariance of draws, exactly: what the identity is transported to."""
    root = q.transport(identity(control)).movedim(0, -1)
    return root @ root.mT


@pytest.mark.parametrize("problem", [STRONG, WEAK, LINEAR], ids=["strong", "weak", "linear"])
def test_products_at_full_rank_are_the_dense_path(problem, large):
    control = Control(problem, problem.sample((3,)).window)
    model = control.linearize(0.3 * torch.randn(3, control.size))
    q, dense = laplace(model, control.size), Gaussian(model.u, PrecisionFactor.of(model.dense()))
    assert isinstance(q.factor, LowRankFactor)
    torch.testing.assert_close(covariance(q, control), torch.linalg.inv(model.dense()), **CLOSE)
    torch.testing.assert_close(q.entropy(), dense.entropy(), **CLOSE)
    torch.testing.assert_close(q.log_prob(model.u + 0.1), dense.log_prob(model.u + 0.1), **CLOSE)
    found = curvature(model, control.size)
    assert isinstance(found, LowRankPrecision)
    torch.testing.assert_close(found.assemble(model.u), model.dense(), **CLOSE)
    torch.testing.assert_close(found.diagonal(), model.dense().diagonal(dim1=-2, dim2=-1), **CLOSE)


def test_blocks_of_the_weak_constraint_are_the_dense_path():
    control = Control(WEAK, WEAK.sample((3,)).window)
    model = control.linearize(0.3 * torch.randn(3, control.size))
    found = structured(model)
    torch.testing.assert_close(found.assemble(model.u), model.dense(), rtol=1e-10, atol=1e-10)
    q, dense = laplace(model, 1), Gaussian(model.u, PrecisionFactor.of(model.dense()))
    torch.testing.assert_close(covariance(q, control), torch.linalg.inv(model.dense()), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q.entropy(), dense.entropy(), rtol=1e-10, atol=1e-10)
    short = control.linearize(model.u, 2)
    torch.testing.assert_close(structured(short).assemble(model.u), short.dense(), rtol=1e-10, atol=1e-10)


def test_states_and_errors_have_the_same_blocks():
    """The Hessian by states is that by errors in other coordinates, whose determinant is one."""
    window = WEAK.sample((2,)).window
    errors, states = Control(WEAK, window), StateControl(WEAK, window)
    u = 0.3 * errors.prior(1)[0]
    z = states.encode(*errors.decode(u))
    entropies = [laplace(control.linearize(at), 1).entropy() for control, at in ((errors, u), (states, z))]
    torch.testing.assert_close(*entropies, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [Recursion(), ConjugateGradients()])
def test_weak_minima_are_those_of_matrices(solver):
    control = Control(WEAK, WEAK.sample((3,)).window)
    found, dense = (minimize(control, 100, 3, 1e-12, solver=each) for each in (solver, Cholesky()))
    torch.testing.assert_close(found.cost, dense.cost, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.u, dense.u, rtol=1e-4, atol=1e-4)


def test_draws_of_the_weak_constraint_have_the_exact_posterior():
    """Mean and covariance of each state, by pushing the identity through the draws, and the low rank of products."""
    window = LINEAR.sample((2,)).window
    exact, control = exact_posterior(LINEAR, window), Control(LINEAR, window)
    minimum = minimize(control, tolerance=1e-14)
    pairs = eigenpairs(minimum.model, control.size)
    for q in (laplace(minimum.model, 1), Gaussian(minimum.u, LowRankFactor.of(pairs))):
        deviation = control.trajectory(q.mean + q.transport(identity(control)), 4) - control.trajectory(q.mean, 4)
        root = deviation.flatten(-2).permute(1, 2, 3, 0)
        torch.testing.assert_close(root @ root.mT, exact.covariance[:, :4], **CLOSE)
        torch.testing.assert_close(control.trajectory(q.mean, 4).flatten(-2), exact.mean[:, :4], rtol=1e-6, atol=1e-6)


def test_few_directions_take_variance_from_the_prior_only(large):
    """Each direction more brings the covariance nearer to the exact one, from above."""
    control = Control(STRONG, STRONG.sample((2,)).window)
    model = control.linearize(control.zero())
    exact = torch.linalg.inv(model.dense())
    traces = []
    for number in (1, 4, 8):
        found = laplace(model, number).factor.variance().sum(dim=-1)
        traces.append(found)
    assert (torch.stack(traces).diff(dim=0) <= 1e-9).all()
    torch.testing.assert_close(traces[-1], exact.diagonal(dim1=-2, dim2=-1).sum(dim=-1), **CLOSE)


def test_a_hopeless_case_spoils_no_other(large):
    window = STRONG.sample((3,)).window
    background = window.background.clone()
    background[1] = 1e200
    spoilt = window._replace(background=background)
    draws = []
    for each in (window, spoilt):
        control = Control(STRONG, each)
        q = laplace(control.linearize(control.zero()), 8)
        draws.append(q.mean + q.transport(torch.ones(1, 3, control.size))[0])
        assert q.sound().tolist() == [True, each is window, True]
    torch.testing.assert_close(draws[0][[0, 2]], draws[1][[0, 2]])


def test_a_case_has_what_it_has_alone(large):
    window = STRONG.sample((3,)).window
    together = laplace(Control(STRONG, window).linearize(torch.zeros(3, 8)), 5)
    alone = Control(STRONG, Window(*(field[1:2] for field in window)))
    one = laplace(alone.linearize(torch.zeros(1, 8)), 5)
    noise = torch.randn(2, 3, 8)
    torch.testing.assert_close(together.transport(noise)[:, 1:2], one.transport(noise[:, 1:2]), rtol=1e-9, atol=1e-9)


def test_estimated_diagonals_are_unbiased():
    """Fewer directions than the matrix has: the diagonal of the rest within the errors of random signs."""
    n = 40
    root = torch.randn(1, n, n) / n**0.5
    matrix = 20 * root @ root.mT

    def product(v):
        return torch.einsum("cij,dcj->dci", matrix, v)

    found = LowRankPrecision.of(product, torch.zeros(1, n), 8, probes=2000)
    pairs = leading_eigenpairs(product, torch.zeros(1, n), 8)
    rest = matrix - (pairs.vectors * pairs.values.unsqueeze(-2)) @ pairs.vectors.mT
    error = ((rest.square().sum(dim=-1) - rest.diagonal(dim1=-2, dim2=-1).square()) / 2000).sqrt()
    exact = 1 + matrix.diagonal(dim1=-2, dim2=-1)
    assert ((found.diagonal() - exact).abs() < 5 * error).all()


def test_a_hessian_that_the_minimisation_has_made_is_not_made_again() -> None:
    control = Control(STRONG, STRONG.sample((2,)).window)
    found = minimize(control)
    work = control.gradients.clone()
    laplace(found.model, 1)
    assert torch.equal(control.gradients, work)
