"""What compositions, samplers and guidance get wrong by themselves: a stiff linear chain whose local scores are exact.

    python benchmarks/compositions.py [--draws 32] [--cases 4]

Nothing is trained. States are points that turn by 0.15 in a step, with noise of 0.02 behind it, of unit variance: as
stiff as Lorenz-63 in the published settings of score-based data assimilation, whose noise is a fiftieth of its spread.
Of 65 states the first entry is observed as there, every eighth with a standard deviation of 0.05 (lo), or all with 0.25
(hi). The columns: log-densities of observations and of transitions above those of exact draws, in nats; the mean
distance of the draws' means from the exact ones, in exact standard deviations; the ratio of standard deviations; and
how many windows are denoised for a draw.
"""

import argparse
from functools import cache
from math import cos, sin

import torch
from torch import Tensor

from posterity.diffusion import EDM, Guidance, MomentMatching, PredictorCorrector, SDAGuidance
from posterity.diffusion.compositions import (
    Blankets,
    Composition,
    Fold,
    Junction,
    LocalDenoiser,
    LocalLikelihood,
    Trajectory,
)

STATES, TURN, NOISE = 65, 0.15, 0.02
SETTINGS = {"lo": (8, 0.05), "hi": (1, 0.25)}

PUBLISHED, MATCHED = SDAGuidance(0.03, bounded=False), MomentMatching(4)

#: Composition, steps, corrections, guidance, and whether windows are guided one by one.
WAYS: list[tuple[str, Composition, int, int, Guidance, bool]] = [
    *((f"fold, k = {k}", Fold(k), 64, 1, MATCHED, False) for k in (1, 2, 3, 4)),
    *(("fold, k = 4", Fold(4), 64, c, MATCHED, False) for c in (0, 4)),
    *(("fold, k = 4, sda", Fold(4), 256, c, PUBLISHED, False) for c in (0, 1)),
    *(("blankets of 9, overlap 4", Blankets(9, 4), 32, c, MATCHED, False) for c in (1, 4)),
    *(("blankets of 17, overlap 8", Blankets(17, 8), 32, c, MATCHED, False) for c in (1, 4)),
    *(("junction, k = 2, stride 2", Junction(2, 2), 32, c, MATCHED, True) for c in (1, 4)),
    *(("junction, k = 4, stride 4", Junction(4, 4), 32, c, MATCHED, True) for c in (0, 1, 4)),
    *(("one window", Fold(32), 32, c, MATCHED, False) for c in (0, 1)),
    ("one window", Fold(32), 128, 0, MATCHED, False),
]


class Chain(LocalDenoiser):
    r"""The stationary chain :math:`x_{i+1} = \rho R x_i + q w_i` and the exact denoiser of its windows."""

    def __init__(self) -> None:
        turn = torch.tensor([[cos(TURN), -sin(TURN)], [sin(TURN), cos(TURN)]])
        self.transition = (1 - NOISE**2) ** 0.5 * turn
        self.matrix = cache(self._matrix)
        self.modes = cache(lambda states: torch.linalg.eigh(self.covariance(states)))

    def covariance(self, states: int) -> Tensor:
        """The covariance of so many states in a row."""
        powers = [torch.linalg.matrix_power(self.transition, lag) for lag in range(states)]
        rows = [[powers[i - j] if i >= j else powers[j - i].T for j in range(states)] for i in range(states)]
        return torch.cat([torch.cat(row, dim=1) for row in rows])

    def _matrix(self, states: int, angle: float) -> Tensor:
        """The matrix of the mean of so many states given noisy ones."""
        values, vectors = self.modes(states)
        kept = cos(angle) * values / (cos(angle) ** 2 * values + sin(angle) ** 2)
        return (vectors * kept) @ vectors.T

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        """The mean of windows."""
        return x @ self.matrix(x.shape[-1] // 2, angle)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        """The product with the derivative, which is symmetric."""
        return w @ self.matrix(w.shape[-1] // 2, angle)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--cases", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print("| draws | steps, corrections | windows | setting | observations | transitions | mean | sd |")
    print("|---|---|---:|---|---:|---:|---:|---:|", flush=True)
    for name, composition, steps, corrections, guidance, per_window in WAYS:
        windows = sum(len(part.start) for part in composition.windows(STATES)) * (steps + corrections * (steps - 1))
        for setting in SETTINGS:
            torch.manual_seed(0)
            sampler = PredictorCorrector(steps, corrections)
            found = torch.stack(
                [
                    case(setting, composition, sampler, guidance, per_window, arguments.draws)
                    for _ in range(arguments.cases)
                ]
            ).mean(0)
            print(
                f"| {name} | {steps}, {corrections} | {windows} | {setting} | {found[0]:.2f} | {found[1]:.1f} | "
                f"{found[2]:.2f} | {found[3]:.2f} |",
                flush=True,
            )


def case(
    setting: str,
    composition: Composition,
    sampler: PredictorCorrector,
    guidance: Guidance,
    per_window: bool,
    draws: int,
) -> Tensor:
    """What a way of drawing gets wrong in a case."""
    (every, std), chain, trajectory = SETTINGS[setting], Chain(), Trajectory(STATES, 2)
    prior = chain.covariance(STATES)
    truth = torch.linalg.cholesky(prior) @ torch.randn(2 * STATES)
    seen = torch.zeros(STATES, 1)
    seen[::every] = 1
    y = truth.unflatten(0, (STATES, 2))[:, :1] + std * torch.randn(STATES, 1)
    # Observed are the first entries.
    rows = torch.arange(0, 2 * STATES, 2 * every)
    gain = torch.linalg.solve(prior[rows][:, rows] + std**2 * torch.eye(len(rows)), prior[rows]).T
    mean, covariance = gain @ y[::every, 0], prior - gain @ prior[rows]

    known = LocalLikelihood(lambda z: z[..., :1], y.expand(draws, STATES, 1), (seen / std).expand(draws, STATES, 1))
    denoiser = composition.compose(chain, trajectory)
    posterior = denoiser.guided(guidance, known) if per_window else guidance.guide(denoiser, known.whole(trajectory))
    drawn = sampler(posterior, EDM(), torch.randn(draws, trajectory.entries))
    exact = mean + torch.randn(16 * draws, 2 * STATES) @ root(covariance)
    parts = []
    for z in (drawn, exact):
        x = z.unflatten(1, (STATES, 2))
        misfit = (((y - x[..., :1]) / std).square() * seen).sum(dim=(1, 2))
        error = ((x[:, 1:] - x[:, :-1] @ chain.transition.T) / NOISE).square().sum(dim=(1, 2))
        parts.append(-0.5 * torch.stack((misfit.mean(), error.mean())))
    sd = covariance.diagonal().sqrt()
    moments = (((drawn.mean(0) - mean) / sd).abs().mean(), (drawn.std(0) / sd).mean())
    return torch.cat((parts[0] - parts[1], torch.stack(moments)))


def root(covariance: Tensor) -> Tensor:
    """A root of a covariance that rounding may have left indefinite, to be multiplied from the right."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()).T


if __name__ == "__main__":
    main()
