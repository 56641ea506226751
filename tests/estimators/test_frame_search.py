"""The search for centres of frames: other paths lead out of other modes, and end where there are none."""

import torch

from posterity.estimators.frames.search import search
from posterity.problems import Control, Observation, Problem, Quadratic, RandomMask
from posterity.problems.minimize import highest_plausible, levenberg_marquardt
from posterity.systems import Lorenz96
from posterity.testing import linear_gaussian


def test_other_paths_lead_out_of_other_modes():
    """Squares of a chaotic state: most implausible minima are left, no other is touched, whatever cases are beside."""
    observation = Observation(Quadratic((1, 16)), std=(2.8, 5.7), masks=(RandomMask(0.5),))
    problem = Problem(Lorenz96(size=16, dt=0.1, spinup=6.0), observation, window=12, background_std=(0.64, 1.28))
    window = problem.sample((500,)).window
    control = Control(problem, window)
    plain = levenberg_marquardt(control, control.zero(), 6, 2)
    found = search(Control(problem, window), 6, 2)
    far = plain.cost > highest_plausible(control)
    assert far.sum() >= 3
    assert (found.cost > highest_plausible(control)).sum() <= far.sum() / 3
    assert (found.cost <= plain.cost).all()
    assert (found.u[~far] == plain.u[~far]).all()
    alone = Control(problem, window.select(far.nonzero().squeeze(-1)))
    torch.testing.assert_close(search(alone, 6, 2).cost, found.cost[far])


def test_other_paths_end_where_one_has_led_to_the_same_minimum():
    """Data of another model: a linear problem has no other mode."""
    problem = linear_gaussian(4, window=6)
    window = problem.sample((3,)).window
    window.y[1:] += 30
    once, thorough = Control(problem, window), Control(problem, window)
    first = levenberg_marquardt(once, once.zero(), 6, 2)
    torch.testing.assert_close(search(thorough, 6, 2).cost, first.cost)
    extra = thorough.gradients - once.gradients
    assert extra[0] == 0
    assert ((extra[1:] > 0) & (extra[1:] < once.gradients[1:])).all()
