"""Draws the figure of ``docs/trajectories.md``, and prints its table: compositions of exact scores.

``python docs/make_trajectories_figure.py`` takes a minute of one core.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from posterity.diffusion import EDM, MomentMatching, PredictorCorrector
from posterity.diffusion.compositions import Blankets, Composition, Fold, Junction, LocalLikelihood
from posterity.figures.drawing.style import COLOURS, SETTINGS, TRUTH, WIDTH
from posterity.testing import GaussianChain, KnownMean, UnknownMean, draw_moments

PAGE = Path(__file__).resolve().parent / "figures" / "compositions.png"

#: The numbers of states of trajectories, and that of which densities are drawn.
LENGTHS, SHOWN = (9, 17, 33, 65, 129), 65

#: The standard deviation of observations.
STD = 0.1

SAMPLER, SCHEDULE = PredictorCorrector(64, 2, 0.5), EDM()


class Case(NamedTuple):
    """A composition, whether parameters belong to states, how often it is corrected, and how it is drawn."""

    label: str
    composition: Composition
    per_frame: bool
    corrections: int
    colour: str
    line: str


CASES = [
    Case("shared, junction", Junction(2), False, 2, COLOURS[0], "-"),
    Case("shared, junction, not corrected", Junction(2), False, 0, COLOURS[0], ":"),
    Case("shared, blankets of 9", Blankets(9, 4), False, 2, COLOURS[2], "-"),
    Case("per frame, fold, $k$ = 4", Fold(4), True, 2, COLOURS[1], "-"),
    Case("per frame, fold, $k$ = 2", Fold(2), True, 2, COLOURS[1], "--"),
    Case("per frame, fold, $k$ = 1", Fold(1), True, 2, COLOURS[1], ":"),
]

#: The compositions of the table.
COMPOSITIONS = [
    Fold(1), Fold(2), Fold(4), Blankets(9, 4), Blankets(17, 9),
    Junction(1), Junction(2), Junction(2, 4), Junction(4), Junction(4, 8),
]  # fmt: skip


def moments(
    chain: GaussianChain, composition: Composition, y: Tensor, spacing: int, corrections: int
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of draws, given the first entries of every so manieth state."""
    trajectory = chain.trajectory(len(y))
    precision = torch.zeros(len(y), 1)
    precision[::spacing] = 1 / STD
    rows = (trajectory.entries + 1, len(y), 1)
    likelihood = LocalLikelihood(lambda x: x[..., :1], y.unsqueeze(-1).expand(rows), precision.expand(rows))
    mean = composition.compose(chain, trajectory).guided(MomentMatching(40, 1e-10), likelihood)
    angles = SCHEDULE.angles(SAMPLER.steps)[:-1]
    return draw_moments(
        mean, y.new_zeros(trajectory.entries), angles, corrections, lambda size: SAMPLER.tau * min(1, 4 / size)
    )


def estimate(case: Case, states: int) -> tuple[float, float]:
    """Mean and standard deviation of the parameter among draws."""
    chain, y = UnknownMean(per_frame=case.per_frame), torch.linspace(0.5, 1, states)
    center, covariance = moments(chain, case.composition, y, 1, case.corrections)
    weights = chain.weights(y)
    return float(weights @ center), float(weights @ covariance @ weights) ** 0.5


def exact(states: int) -> tuple[float, float]:
    """Mean and standard deviation of the exact posterior."""
    chain, y = UnknownMean(), torch.linspace(0.5, 1, states)
    center, covariance = chain.given(y, STD**2)
    return float(center[-1]), float(covariance[-1, -1]) ** 0.5


def print_table() -> None:
    """The errors of states between observations of every eighth, all in standard deviations of the exact posterior."""
    chain, y, seen = KnownMean(), torch.linspace(0.5, 1, SHOWN), slice(None, None, 8)
    prior = chain.covariance(y, SHOWN)
    gain = torch.linalg.solve(prior[seen, seen] + STD**2 * torch.eye(len(y[seen])), prior[seen]).mT
    center, width = gain @ y[seen], (prior - gain @ prior[seen]).diagonal().sqrt()
    print("| composition | windows | mean | sd | mean, corrected | sd, corrected |")
    for composition in COMPOSITIONS:
        windows = sum(len(part.start) for part in composition.windows(SHOWN))
        found = []
        for corrections in (0, 2):
            mean, covariance = moments(chain, composition, y, 8, corrections)
            found += [((mean - center).abs() / width).mean(), (covariance.diagonal().sqrt() / width).mean()]
        print(f"| `{composition}` | {windows} | " + " | ".join(f"{float(value):.2f}" for value in found) + " |")


def draw_widths(ax: Axes) -> None:
    """Standard deviations over the length of the trajectory."""
    ax.plot(LENGTHS, [exact(states)[1] for states in LENGTHS], "o", color=TRUTH, label="exact posterior", zorder=3)
    for case in CASES:
        ax.plot(
            LENGTHS, [estimate(case, states)[1] for states in LENGTHS], case.line, color=case.colour, label=case.label
        )
    ax.set(xscale="log", yscale="log", xlabel="states $L$", ylabel=r"standard deviation of $\theta$")
    ax.set_xticks(LENGTHS, [str(states) for states in LENGTHS])
    ax.set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
    ax.minorticks_off()


def draw_densities(ax: Axes) -> None:
    """The densities of the parameter among draws for one length."""
    theta = np.linspace(-0.5, 2.2, 400)

    def density(mean: float, width: float) -> np.ndarray:
        return np.exp(-(((theta - mean) / width) ** 2) / 2) / width / np.sqrt(2 * np.pi)

    ax.fill_between(theta, density(*exact(SHOWN)), color="0.85", lw=0)
    for case in CASES:
        ax.plot(theta, density(*estimate(case, SHOWN)), case.line, color=case.colour)
    ax.set(xlabel=r"$\theta$", ylabel=f"density for $L$ = {SHOWN}", ylim=(0, None))


def main() -> None:
    """Draws the figure, and prints the table."""
    torch.set_default_dtype(torch.float64)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_widths(left)
        draw_densities(right)
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
        figure.savefig(PAGE, dpi=200)
    print_table()


if __name__ == "__main__":
    main()
