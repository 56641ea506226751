"""What every method has from the abstract one."""

import torch

from posterity.problems import Ensemble, Identity, Observation, Posterior, Problem
from posterity.systems import LinearAdvection

PROBLEM = Problem(LinearAdvection(size=4), Observation(Identity((1, 4)), std=(0.5, 1.0)), window=3)


class OldStyle(Posterior):
    """A method that overrides ``sample`` itself, and keeps no problem."""

    def sample(self, window, samples):
        """Repeats the background."""
        x = window.background.expand(samples, *window.background.shape).unsqueeze(2)
        return Ensemble(x, x.new_zeros(samples, len(window.y), 0), range(1))


def test_classes_that_override_sample_draw_as_they_did():
    window = PROBLEM.sample((3,)).window
    drawn = OldStyle().sample(window, 5)
    assert torch.equal(drawn.x, window.background.unsqueeze(1).expand(5, 3, 1, 1, 4))
