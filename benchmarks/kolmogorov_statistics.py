"""Prints the stationary statistics of the Kolmogorov flow, and how well its budget of energy closes.

    python benchmarks/kolmogorov_statistics.py [--size 64] [--members 8] [--start 25] [--end 120]

SDA's physics: Reynolds number 1000, drag 0.1, forcing sin 4y. The trajectories start from the literature's spectrum;
their statistics are means over the plane, members and times, ± one standard error over members, which are independent.
"""

import argparse

import torch
from torch import Tensor

from posterity.systems import Kolmogorov
from posterity.systems.spectral import resolved, synthesised, waves


def statistics(system: Kolmogorov, x: Tensor) -> dict[str, Tensor]:
    """Means over the plane of each state, and its largest speed."""
    height, width = system.grid
    of_grid = waves(height, width, (resolved(height), resolved(width)))
    coefficients = of_grid.vorticity(x)
    coefficients[..., 0, 0] = 0
    y = 2 * torch.pi * torch.arange(height)[:, None] / height
    squares = x.square().mean(dim=(-2, -1))
    energy = squares.sum(dim=-1) / 2
    enstrophy = synthesised(coefficients, width).square().mean(dim=(-2, -1)) / 2
    driven = (x[..., 0, :, :] * torch.sin(system.wavenumber * y)).mean(dim=(-2, -1))
    return {
        "energy <E>": energy,
        "enstrophy <Z>": enstrophy,
        "<u sin 4y>": driven,
        "<f.u> - 2 drag <E> - 2 nu <Z>": driven - 2 * system.drag * energy - 2 / system.reynolds * enstrophy,
        "<u^2>": squares[..., 0],
        "<v^2>": squares[..., 1],
        "largest speed": x.square().sum(dim=-3).amax(dim=(-2, -1)).sqrt(),
    }


def main() -> None:
    """Simulates, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="points along each axis (default: %(default)s)")
    parser.add_argument("--resolution", type=int, help="points of the integration (default: those of the size)")
    parser.add_argument("--members", type=int, default=8, help="trajectories (default: %(default)s)")
    parser.add_argument("--start", type=float, default=25.0, help="time of the first state (default: %(default)s)")
    parser.add_argument("--end", type=float, default=120.0, help="time of the last state (default: %(default)s)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    system = Kolmogorov(size=arguments.size, resolution=arguments.resolution, spinup=arguments.start)
    with torch.inference_mode():
        x = system.initial((arguments.members,))
        found = []
        for _ in range(round((arguments.end - arguments.start) / system.dt)):
            x = system.advance(x, 1)
            found.append(statistics(system, x))
    print(f"{arguments.size}² points, {arguments.members} members, times {arguments.start} to {arguments.end}")
    for name in found[0]:
        values = torch.stack([state[name] for state in found]).mean(dim=0)
        print(f"{name:32s}{float(values.mean()):8.4f} ± {float(values.std()) / len(values) ** 0.5:.4f}")


if __name__ == "__main__":
    main()
