"""The prior, the reference that every method should improve on."""

from dataclasses import dataclass
from typing import ClassVar

from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble


@dataclass(frozen=True)
class Prior(Posterior):
    r"""Prior: draws around the background, :math:`x_0 \sim N(x_b, B)`, without the observations.

    Args:
        problem: The problem.
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True

    problem: Problem

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the prior of each case."""
        control = Control(self.problem, window)
        return decode_ensemble(control, control.prior(samples), {})
