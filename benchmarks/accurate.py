"""Draws given accurate observations, of exact scores: what guidance and samplers alone get wrong.

    python benchmarks/accurate.py [--std 0.01] [--draws 64]

A stationary Gaussian chain of fields, 8 states of 32 sites each, correlated in time (0.9 from one state to the next)
and in space (a spectrum that falls with the fifth power of the wave number). Half of the sites of every state are seen.
All denoisers are exact, and so is the posterior that draws are held against: mean and standard deviation at each site,
and the misfit to the observations. A fold of order 2 composes the trajectory, guided as a whole or by windows.
"""

import argparse
from functools import cache
from math import cos, pi, sin

import torch
from torch import Tensor

from posterity.diffusion import EDM, Guidance, MomentMatching, PredictorCorrector, SDAGuidance
from posterity.diffusion.compositions import Fold, LocalLikelihood, Trajectory

SITES, STATES, PERSISTENCE = 32, 8, 0.9

#: Guidance, number of steps, and whether windows are guided one by one.
WAYS: list[tuple[str, Guidance, int, bool]] = [
    ("`sda` as published, 0.01", SDAGuidance(0.01, bounded=False), 64, False),
    ("`sda` as published, 0.01", SDAGuidance(0.01, bounded=False), 256, False),
    ("`sda` as published, 0.1", SDAGuidance(0.1, bounded=False), 64, False),
    ("`sda` as published, 1", SDAGuidance(1.0, bounded=False), 64, False),
    ("`sda`, 0.01", SDAGuidance(0.01), 64, False),
    ("`sda`, 0.01", SDAGuidance(0.01), 256, False),
    ("`sda`, 0.01, by windows", SDAGuidance(0.01), 64, True),
    ("moment matching, 2 iterations, by windows", MomentMatching(2), 64, True),
    ("moment matching, 16 iterations, by windows", MomentMatching(16), 64, True),
]


class Exact:
    """The local denoiser of the chain."""

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        """The mean of windows."""
        return x @ gain(x.shape[-1] // SITES, angle)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        """The product with the derivative, which is symmetric."""
        return self.mean(w, angle, start)


@cache
def covariance(states: int) -> Tensor:
    """The covariance of consecutive states."""
    wave, site, time = torch.fft.fftfreq(SITES) * SITES, torch.arange(SITES), torch.arange(states)
    power = 1 / (1 + (wave.abs() / 2) ** 5)
    space = torch.cos(2 * pi / SITES * wave * (site.unsqueeze(-1) - site).unsqueeze(-1)) @ (power / power.sum())
    return torch.kron(PERSISTENCE ** (time.unsqueeze(-1) - time).abs(), space)


@cache
def gain(states: int, angle: float) -> Tensor:
    """The matrix of the mean given noisy states."""
    found = covariance(states)
    return torch.linalg.solve(cos(angle) ** 2 * found + sin(angle) ** 2 * torch.eye(len(found)), cos(angle) * found)


def main() -> None:
    """Draws in all ways, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--std", type=float, default=0.01)
    parser.add_argument("--draws", type=int, default=64)
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    prior, half = covariance(STATES), SITES // 2
    seen = torch.kron(torch.eye(STATES), torch.eye(SITES)[:half])
    truth = torch.linalg.cholesky(prior + 1e-10 * torch.eye(len(prior))) @ torch.randn(len(prior))
    y = seen @ truth + args.std * torch.randn(len(seen))
    solved = torch.linalg.solve(seen @ prior @ seen.mT + args.std**2 * torch.eye(len(seen)), seen @ prior).mT
    exact, spread = (
        part.view(STATES, SITES) for part in (solved @ y, (prior - solved @ seen @ prior).diagonal().sqrt())
    )

    given = y.view(STATES, half).expand(args.draws, STATES, half)
    likelihood = LocalLikelihood(lambda x: x[..., :half], given, torch.full(given.shape, 1 / args.std))
    whole = Trajectory(STATES, SITES)
    denoiser = Fold(2).compose(Exact(), whole)
    for name, guidance, steps, local in WAYS:
        mean = denoiser.guided(guidance, likelihood) if local else guidance.guide(denoiser, likelihood.whole(whole))
        torch.manual_seed(1)
        noise = torch.randn(args.draws, whole.entries)
        found = PredictorCorrector(steps, 1, 0.5)(mean, EDM(), noise).view(args.draws, STATES, SITES)
        row = [float((found[..., :half] - given).square().mean().sqrt()) / args.std]
        for part in (slice(half), slice(half, None)):
            unit = spread[:, part].square().mean()
            row += [float((found[..., part].var(dim=0).mean() / unit).sqrt())]
            row += [float(((found.mean(dim=0) - exact)[:, part].square().mean() / unit).sqrt())]
        print(f"| {name} | {steps} | " + " | ".join(f"{value:.3g}" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
