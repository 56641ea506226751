"""The minimisation: restarts only where another start may find something lower, and solvers that agree."""

from dataclasses import replace

import pytest
import torch

from posterity.baselines import EnsembleFourDVar
from posterity.problems import (
    Control,
    Identity,
    Normal,
    Observation,
    Problem,
    RandomMask,
    StateControl,
    exact_posterior,
)
from posterity.problems.linearized.solvers import Cholesky, ConjugateGradients, Recursion, solver_of
from posterity.problems.minimize import levenberg_marquardt, minimize
from posterity.systems import Lorenz96
from posterity.testing import hopeless, linear_gaussian


def test_a_minimum_that_another_start_reproduces_is_kept():
    """Data of another model: implausible, but the problem is linear, and its only minimum is found at once."""
    problem = linear_gaussian(4, window=6)
    window = problem.sample((3,)).window
    window.y[1:] += 30
    once, thorough = Control(problem, window), Control(problem, window)
    first = minimize(once, restarts=0)
    half = 0.5 * once.observed.flatten(1).sum(dim=-1)
    assert ((first.cost > half + 5 * half.sqrt()) == torch.tensor([False, True, True])).all()
    found = minimize(thorough, restarts=8)
    torch.testing.assert_close(found.cost, first.cost)
    extra = (thorough.gradients - once.gradients) / once.gradients
    assert extra[0] == 0
    # One further start each, and no more.
    assert ((extra[1:] > 0) & (extra[1:] < 2)).all()


def test_restarts_do_not_depend_on_which_other_cases_start_again(monkeypatch):
    """The draws from which a case starts are its own."""
    problem = linear_gaussian(4, window=6)
    window = problem.sample((3,)).window
    window.y[1:] += 30
    alone = window._replace(y=window.y.index_fill(0, torch.tensor([1]), torch.nan))
    starts = []

    def spy(control, u, *options):
        starts.append(u)
        return levenberg_marquardt(control, u, *options)

    monkeypatch.setattr("posterity.problems.minimize.levenberg_marquardt", spy)
    for each in (window, alone):
        minimize(Control(problem, each))
    assert [len(u) for u in starts] == [3, 2, 3, 1]
    assert (starts[1][1] == starts[3][0]).all()


FIELD = Problem(Lorenz96(size=8, dt=0.1), Observation(Identity((1, 8)), 1.0, (RandomMask(0.6),)), 5)
PROBLEMS = {
    "strong": (Control, FIELD),
    "weak": (Control, replace(FIELD, model_error=0.3)),
    "parameters": (Control, replace(FIELD, parameters={"forcing": Normal(8.0, 1.0)})),
    "states": (StateControl, replace(FIELD, model_error=0.3)),
}
SOLVERS = (Cholesky(), ConjugateGradients())


@pytest.mark.parametrize(("kind", "problem"), PROBLEMS.values(), ids=PROBLEMS)
def test_both_solvers_find_the_same_minimum(kind, problem):
    """To what costs can tell: controls as far apart as the root of their rounding."""
    window = problem.sample((2,)).window
    dense, products = (
        levenberg_marquardt(kind(problem, window), kind(problem, window).zero(), tolerance=1e-15, solver=solver)
        for solver in SOLVERS
    )
    torch.testing.assert_close(products.cost, dense.cost, rtol=1e-12, atol=0)
    torch.testing.assert_close(products.u, dense.u, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model_error", [None, 0.3])
def test_both_solvers_find_the_exact_minimum_of_a_linear_problem(model_error):
    problem = linear_gaussian(6, window=4, model_error=model_error)
    window = problem.sample((3,)).window
    expected = exact_posterior(problem, window).mean[:, :4].unflatten(-1, (1, 6))
    for solver in SOLVERS:
        control = Control(problem, window)
        found = levenberg_marquardt(control, control.zero(), tolerance=1e-18, solver=solver)
        torch.testing.assert_close(control.trajectory(found.u, 4), expected, rtol=0, atol=1e-8)


def test_at_its_own_tolerance_the_cost_is_that_of_the_dense_minimum():
    window = FIELD.sample((20,)).window
    dense, products = (minimize(Control(FIELD, window), solver=solver) for solver in SOLVERS)
    assert products.converged.all()
    torch.testing.assert_close(products.cost, dense.cost, rtol=1e-5, atol=0)


def test_products_serve_each_case_as_they_would_alone():
    window = FIELD.sample((4,)).window
    together = levenberg_marquardt(Control(FIELD, window), torch.zeros(4, 8), solver=ConjugateGradients())
    for case in range(4):
        alone = levenberg_marquardt(
            Control(FIELD, window.select(slice(case, case + 1))), torch.zeros(1, 8), solver=ConjugateGradients()
        )
        torch.testing.assert_close(together.u[case], alone.u[0], rtol=1e-9, atol=1e-9)
        assert together.iterations[case] == alone.iterations[0]


@pytest.mark.parametrize("solver", SOLVERS, ids=["dense", "products"])
def test_a_hopeless_case_spoils_no_other(solver):
    """Its cost is infinite from everywhere: it does not converge, and does not move."""
    window = FIELD.sample((3,)).window
    lost = minimize(Control(FIELD, hopeless(window, 1)), solver=solver)
    clean = minimize(Control(FIELD, window), solver=solver)
    assert lost.cost.isposinf().tolist() == [False, True, False]
    assert lost.converged.tolist() == [True, False, True]
    torch.testing.assert_close(lost.u[[0, 2]], clean.u[[0, 2]])
    assert (lost.u[1] == 0).all()


@pytest.mark.parametrize("solver", SOLVERS, ids=["dense", "products"])
def test_a_start_that_diverges_falls_back_to_the_background(solver):
    control = Control(FIELD, FIELD.sample((3,)).window)
    start = torch.zeros(3, 8).index_fill(0, torch.tensor([1]), 1e6)
    found = levenberg_marquardt(control, start, solver=solver)
    expected = levenberg_marquardt(control, torch.zeros(3, 8), solver=solver).cost
    torch.testing.assert_close(found.cost, expected, rtol=1e-5, atol=0)


def test_products_are_truncated_where_more_would_be_lost():
    """No step takes a product more than there are entries, and far from the minimum far fewer are enough."""
    control = Control(FIELD, FIELD.sample((6,)).window)
    few = levenberg_marquardt(control, torch.zeros(6, 8), solver=ConjugateGradients())
    # Per iteration: cost and gradient, and a tangent and an adjoint for each product.
    per_step = (control.gradients / few.iterations - 1) / 2
    assert (per_step < 6).all()


def test_the_solver_follows_the_size():
    """Matrices for a small control, products for a large one, whose Hessian nobody builds."""
    assert isinstance(solver_of(Control(FIELD, FIELD.sample((1,)).window)), Cholesky)
    large = linear_gaussian(1024, window=2)
    control = Control(large, large.sample((1,)).window)
    assert isinstance(solver_of(control), ConjugateGradients)


def test_the_solver_follows_the_members_and_not_the_cases():
    """Many matrices of a small control are as large as one of a large control, unless it is tiny."""
    problem = linear_gaussian(128, window=2)
    one, many = (Control(problem, problem.sample((cases,)).window) for cases in (1, 40))
    assert isinstance(solver_of(many, members=16), Cholesky)
    assert isinstance(solver_of(one, members=17), ConjugateGradients)
    tiny = Control(FIELD, FIELD.sample((1,)).window)
    assert isinstance(solver_of(tiny, members=10**5), Cholesky)
    chain = replace(problem, model_error=0.3)
    assert isinstance(solver_of(Control(chain, chain.sample((1,)).window), members=10**5), Recursion)


def test_an_ensemble_of_products_is_that_of_matrices():
    problem = linear_gaussian(128, window=2)
    window = problem.sample((2,)).window
    drawn = []
    for solver in (None, Cholesky()):
        torch.manual_seed(3)
        drawn.append(EnsembleFourDVar(problem, tolerance=1e-16, solver=solver).sample(window, 20))
    products, matrices = drawn
    torch.testing.assert_close(products.x, matrices.x, rtol=0, atol=1e-7)
    assert (products.info["gradients"] < matrices.info["gradients"] / 2).all()


def test_solvers_need_products():
    with pytest.raises(ValueError, match="products: at least one is needed, not 0"):
        ConjugateGradients(products=0)
