"""Restarts of the minimisation: only where another start may find something lower."""

import torch

from posterity.problems import Control
from posterity.problems.minimize import levenberg_marquardt, minimize
from posterity.testing import linear_gaussian


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
