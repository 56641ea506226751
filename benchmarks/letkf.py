"""Measures analyses of the local ensemble transform Kalman filter on two-dimensional fields.

    python benchmarks/letkf.py [--sizes 32 64] [--members 20 40] [--strides 1 10] [--radius 5]

Two channels on a square grid, observed at every site or at every so many along each axis; one case, one analysis. The
time is the processor's, the least of three, so that other work on the machine does not count.
"""

import argparse
import time

import torch

from posterity.baselines.sequential.local import LocalTransform
from posterity.problems import Identity


def seconds(size: int, members: int, stride: int, radius: float) -> float:
    """The processor's seconds of one analysis."""
    transform = LocalTransform((2, size, size), Identity((2, size, size)), radius)
    z = torch.randn(members, 1, 2 * size**2)
    seen = torch.zeros(2, size, size)
    seen[:, ::stride, ::stride] = 1
    innovation = (torch.randn(1, 2 * size**2) - z) * seen.flatten()
    taken = []
    for _ in range(3):
        start = time.process_time()
        transform(z, innovation)
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Measures all combinations, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--members", nargs="+", type=int, default=[20, 40])
    parser.add_argument("--strides", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--radius", type=float, default=5.0)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print("| grid | members | stride | seconds |\n|---|---|---|---|")
    for size in options.sizes:
        for members in options.members:
            for stride in options.strides:
                print(f"| {size} | {members} | {stride} | {seconds(size, members, stride, options.radius):.2f} |")


if __name__ == "__main__":
    main()
