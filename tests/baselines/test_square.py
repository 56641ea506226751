"""The nonlinear study: Lorenz-96 through its square, where a failing case or member must spoil nothing."""

import pytest
import torch

from posterity.baselines import EnsembleFourDVar, FourDVar, Prior, RejectionABC, VariationalInference
from posterity.baselines.variational.families import Full, MeanField
from posterity.baselines.variational.optimizers import Adam, NaturalGradient
from posterity.problems import Control
from posterity.problems.minimize import levenberg_marquardt, minimize
from posterity.testing import hopeless

METHODS = {
    "prior": Prior,
    "4DVAR": FourDVar,
    "VI": lambda problem: VariationalInference(problem, optimizer=NaturalGradient(iterations=5)),
    "mean-field": lambda problem: VariationalInference(problem, MeanField(), NaturalGradient(iterations=5)),
    "Adam": lambda problem: VariationalInference(problem, optimizer=Adam(iterations=20)),
    "ensemble 4DVAR": lambda problem: EnsembleFourDVar(problem, restarts=1),
    "ABC": lambda problem: RejectionABC(problem, trials=300, fraction=0.1),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.mark.slow
@each_method
def test_no_draw_diverges(square, method):
    posterior = method(square.problem).sample(square.twin.window.select(slice(8)), 6)
    assert posterior.x.isfinite().all()
    assert not posterior.info["failed"].any()
    assert all(value.isfinite().all() for value in posterior.info.values())


@pytest.mark.slow
@each_method
def test_a_case_that_diverges_spoils_no_other(square, method):
    """The other cases are those of a batch without it."""
    results = []
    for each in (square.twin.window.select(slice(4)), square.spoilt):
        torch.manual_seed(5)
        results.append(method(square.problem).sample(each, 3))
    sound, spoilt = results
    assert spoilt.info["failed"].tolist() == [0, 3, 0, 0]
    others = [0, 2, 3]
    # Members of a batch that differ in number may be summed in another order: rounding, and what chaos makes of it.
    torch.testing.assert_close(spoilt.x[:, others], sound.x[:, others], rtol=1e-6, atol=1e-6)
    assert not spoilt.x[:, 1].isfinite().all()
    assert sound.info["failed"].tolist() == [0, 0, 0, 0]


@each_method
def test_a_batch_of_which_every_case_diverges_still_ends(square, method):
    window = hopeless(square.twin.window.select(slice(2)), slice(None))
    posterior = method(square.problem).sample(window, 3)
    assert posterior.info["failed"].tolist() == [3, 3]


@pytest.mark.parametrize(
    "method",
    [Prior, FourDVar, lambda problem: EnsembleFourDVar(problem, restarts=0)],
    ids=["prior", "4DVAR", "ensemble 4DVAR"],
)
def test_failing_members_are_replaced_and_counted(fragile, method):
    """States with a first site above 1 have no next: some members fail, and others take their place."""
    problem, window = fragile
    posterior = method(problem).sample(window, 40)
    failed = posterior.info["failed"]
    assert (failed > 0).any()
    assert (failed < 40).all()
    assert posterior.x.isfinite().all()
    assert float(posterior.x[:, :, 0, 0, 0].max()) <= 1.0
    assert all(value.isfinite().all() for value in posterior.info.values())


@pytest.mark.slow
def test_the_mode_does_not_depend_on_the_start(square):
    """Quasi-static minimisation from draws of the prior ends where it ends from the background."""
    control = Control(square.problem, square.twin.window.select(slice(8)))
    # Gauss-Newton converges linearly where residuals are large: a tight tolerance takes some of the cases long.
    reference = levenberg_marquardt(control, torch.zeros(8, 16), iterations=100, tolerance=1e-8)
    assert reference.converged.all()
    std = torch.linalg.inv(reference.model.dense()).diagonal(dim1=-2, dim2=-1).sqrt()
    for start in control.prior(2):
        minimum = levenberg_marquardt(control, start, iterations=100, tolerance=1e-8)
        torch.testing.assert_close(minimum.cost, reference.cost, rtol=1e-5, atol=0)
        assert float(((minimum.u - reference.u) / std).abs().max()) < 1e-2


def test_convergence_means_a_vanishing_gradient(square):
    control = Control(square.problem, square.twin.window)
    minimum = levenberg_marquardt(control, torch.zeros(16, 16), tolerance=1e-5)
    cost, gradient = control.cost_and_gradient(minimum.u)
    torch.testing.assert_close(cost, minimum.cost)
    decrement = 0.5 * torch.einsum("ci,ci->c", gradient, torch.linalg.solve(minimum.model.dense(), gradient))
    assert minimum.converged.all()
    # The decrement that was judged is that before the last step; a Gauss-Newton step leaves less.
    assert (decrement <= 2e-5 * (1 + cost)).all()
    assert (minimum.trace[:, -1] == minimum.cost).all()


def test_few_iterations_do_not_claim_convergence(square):
    control = Control(square.problem, square.twin.window)
    minimum = levenberg_marquardt(control, torch.zeros(16, 16), iterations=1)
    assert not minimum.converged.all()


@pytest.mark.slow
def test_batched_modes_are_looped_modes(square):
    window = square.twin.window.select(slice(4))
    together = levenberg_marquardt(Control(square.problem, window), torch.zeros(4, 16))
    for case in range(4):
        one = window.select(slice(case, case + 1))
        alone = levenberg_marquardt(Control(square.problem, one), torch.zeros(1, 16))
        torch.testing.assert_close(together.u[case], alone.u[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(together.model.dense()[case], alone.model.dense()[0], rtol=1e-5, atol=1e-5)
        assert together.iterations[case] == alone.iterations[0]


@pytest.mark.slow
def test_wider_families_have_higher_bounds(square):
    """ELBO: full ≥ mean-field ≥ prior. The first two are compared on the average, within 4 Monte Carlo errors."""
    window = square.twin.window
    full, mean_field = (
        VariationalInference(square.problem, family, NaturalGradient(iterations=6)).sample(window, 1).info["elbo"]
        for family in (Full(), MeanField())
    )
    control = Control(square.problem, window)
    prior = control.misfit(control.prior(200))
    likelihood = -prior + 0.5 * 16 * torch.log(torch.tensor(2 * torch.pi)) - control.log_normalizer()
    gain = full - mean_field
    assert float(gain.mean()) > 4 * float(gain.std()) / 16**0.5 or (gain > 0).all()
    assert (mean_field > likelihood.mean(dim=0)).all()


@pytest.mark.parametrize("method", [FourDVar, EnsembleFourDVar])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations: at least one is needed, not 0"),
        ({"increment": 0}, "increment: the window grows by at least one state, not 0"),
        ({"tolerance": 0.0}, "tolerance: must be positive, not 0"),
    ],
)
def test_options_that_go_nowhere_are_refused(square, method, options, message):
    with pytest.raises(ValueError, match=message):
        method(square.problem, **options)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (NaturalGradient, {"iterations": 0}, "iterations: at least one"),
        (NaturalGradient, {"samples": 3}, "samples: draws come in pairs"),
        (Adam, {"iterations": 0}, "must all be positive"),
        (Adam, {"learning_rate": 0.0}, "must all be positive"),
    ],
)
def test_bad_optimiser_options_are_refused(optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        optimizer(**options)


@pytest.mark.slow
def test_restarts_leave_implausible_minima(square):
    """From the background, one window in a hundred ends far above what the truth costs; restarts free some of them."""
    control = Control(square.problem, square.problem.sample((512,)).window)
    once = minimize(control, restarts=0)
    half = 0.5 * (control.size + control.observed.flatten(1).sum(dim=-1))
    trapped = (once.cost > half + 5 * half.sqrt()).nonzero().squeeze(-1)
    assert 0 < len(trapped) < 16
    part = control.select(trapped)
    again = minimize(part)
    assert (again.cost <= once.cost[trapped]).all()
    assert (again.cost < 0.5 * once.cost[trapped]).any()
    torch.testing.assert_close(again.trace[:, -1], again.cost)
    torch.testing.assert_close(part.cost(again.u), again.cost)
