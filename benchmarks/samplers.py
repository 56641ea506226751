"""Measures what steps of samplers cost in accuracy, by the exact denoiser of a Gaussian posterior.

    python benchmarks/samplers.py [--experiment linear_estimators] [--cases 12] [--json FILE]

Without a network there is no error but that of the steps. The denoiser is affine, and so is what deterministic steps
make of noise: applied to zero and to each direction they give the mean and the covariance of all draws. Of both the
table shows how far they are from the posterior: the accuracy of the best classifier that there can be between a draw
and an exact one (what C2ST estimates from below; 0.5 if there is no difference), and the ratio of standard deviations,
the furthest from one. Then the same ratio for a single number whose posterior is narrower than its prior by a given
factor.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from turns import write

import posterity as ps
from posterity.diffusion import EDM, Multistep, RungeKutta, Sampler
from posterity.problems import Control

#: Samplers by the number of evaluations.
SAMPLERS: dict[str, dict[int, Sampler]] = {
    "multistep": {steps: Multistep(steps) for steps in (6, 8, 10, 12, 16, 24, 32, 64)},
    "runge-kutta": {4 * steps - 1: RungeKutta(steps) for steps in (3, 4, 5, 6, 8, 10, 12, 16)},
}
WIDTHS = (0.3, 0.1, 0.03, 0.01)


def drawn(sampler: Sampler, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """The means and standard deviations of draws, number by number, from those of the data.

    Args:
        sampler: The sampler.
        mean: The means, with shape ``(numbers,)``.
        variance: The variances, with the same shape.
    """

    def denoised(x: Tensor, angle: float) -> Tensor:
        """The mean of the data given noisy ones."""
        c, s = torch.tensor(angle).cos(), torch.tensor(angle).sin()
        return mean + c * variance / (c**2 * variance + s**2) * (x - c * mean)

    noise = torch.stack((torch.zeros_like(mean), torch.ones_like(mean)))
    zero, one = sampler(denoised, EDM(), noise)
    return zero, (one - zero).abs()


def accuracy(mean: Tensor, std: Tensor, found: Tensor, spread: Tensor, draws: int = 20000) -> float:
    """The accuracy of the best classifier between two Gaussians of independent numbers, from draws of both."""
    noise = torch.randn(draws, len(mean), generator=torch.Generator().manual_seed(0))
    right = []
    for x, sign in ((mean + std * noise, 1), (found + spread * noise, -1)):
        ours, theirs = (torch.distributions.Normal(m, s).log_prob(x).sum(-1) for m, s in ((mean, std), (found, spread)))
        right.append((sign * (ours - theirs) > 0).double().mean())
    return float(sum(right) / 2)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="linear_estimators", help="a linear one (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=12, help="the number of windows (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    problem = ps.load(arguments.experiment).problem
    torch.manual_seed(0)
    control = Control(problem, problem.sample((arguments.cases,)).window)
    model = control.linearize(control.zero())
    precisions, directions = torch.linalg.eigh(model.dense())
    # In the directions of its covariance a Gaussian is so many independent numbers, and so is its denoiser.
    means = -(directions.mT @ model.gradient.unsqueeze(-1)).squeeze(-1) / precisions
    rows: list[dict[str, Any]] = []
    print(f"posterior over prior: {float(precisions.max()) ** -0.5:.3f} to {float(precisions.min()) ** -0.5:.3f}")
    print("| sampler | calls | classifier | ratio of sd | " + " | ".join(f"width {width}" for width in WIDTHS) + " |")
    for name, calls, sampler in ((name, *item) for name, made in SAMPLERS.items() for item in made.items()):
        best, furthest = [], torch.tensor(1.0)
        for mean, precision in zip(means, precisions, strict=True):
            std = precision.rsqrt()
            found, spread = drawn(sampler, mean, std.square())
            best.append(accuracy(mean, std, found, spread))
            ratio = spread / std
            worst = ratio[ratio.log().abs().argmax()]
            furthest = worst if worst.log().abs() > furthest.log().abs() else furthest
        widths = torch.tensor(WIDTHS)
        alone = (drawn(sampler, torch.zeros_like(widths), widths.square())[1] / widths).tolist()
        row = {"sampler": name, "calls": calls, "classifier": sum(best) / len(best), "ratio": float(furthest)}
        rows.append(row | {"widths": dict(zip(map(str, WIDTHS), alone, strict=True))})
        print(
            f"| {name} | {calls} | {row['classifier']:.4f} | {row['ratio']:.4f} | "
            + " | ".join(f"{value:.4f}" for value in alone) + " |"
        )  # fmt: skip
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
