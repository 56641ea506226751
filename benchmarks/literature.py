"""Measures the analysis RMSE of cycling methods beside the numbers published with DAPPER.

    python benchmarks/literature.py [--only TEXT] [--cases 4] [--cycles 1000]

Settings and numbers are those that DAPPER (https://github.com/nansencenter/DAPPER, ae89b30) documents with its twin
experiments: Lorenz-96 after Sakov & Oke (2008) and Bocquet & Sakov (2013), after Bocquet (2010), and Lorenz-63 after
Sakov, Oliver & Bertino (2012). The score is the RMSE of the ensemble mean over the entries of the state, at the
time of each analysis, averaged over cycles behind the burn-in and over cases.
"""

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.baselines import (
    ETKF,
    LETKF,
    Climatology,
    IEnKS,
    LaggedFourDVar,
    ParticleFilter,
    StochasticEnKF,
    ThreeDVar,
)
from posterity.baselines.sequential import Record, Sequential
from posterity.problems import GridMask, Identity, Mask, Observation, Posterior, Problem, TimeMask, Twin
from posterity.systems import Lorenz63, Lorenz96, System


class Setting(NamedTuple):
    """A twin experiment.

    Args:
        system: The system.
        variance: The variance of the observations.
        masks: What is observed, beside that it is the last state of each cycle.
        cycle: The number of states per cycle.
        background: The standard deviation of the first background.
        burn_in: The number of cycles that are not scored.
    """

    system: System
    variance: float
    masks: tuple[Mask, ...]
    cycle: int
    background: float
    burn_in: int

    def problem(self, cycles: int) -> Problem:
        """The problem of so many cycles."""
        std = self.variance**0.5
        last = TimeMask(every=self.cycle, start=self.cycle - 1)
        observation = Observation(Identity(self.system.shape), (std, std), (*self.masks, last))
        background = (self.background, self.background)
        return Problem(self.system, observation, self.cycle, cycles=cycles, background_std=background)


class Row(NamedTuple):
    """A method in a setting.

    Args:
        setting: The name of the setting.
        method: The class of the method.
        options: Its options.
        published: The published RMSE.
    """

    setting: str
    method: type[Posterior]
    options: dict[str, Any]
    published: float


SETTINGS = {
    "lorenz96_cycling": Setting(Lorenz96(size=40, dt=0.05), 1.0, (), 1, 0.3, 400),
    "lorenz96_cycling_sparse": Setting(Lorenz96(size=40, dt=0.05), 1.0, (), 4, 0.3, 100),
    "lorenz96_cycling_bocquet2010": Setting(Lorenz96(size=10, dt=0.05), 2.25, (GridMask(2),), 1, 0.03, 400),
    "lorenz63_cycling": Setting(Lorenz63(dt=0.01), 2.0, (), 25, 1.41, 64),
}

ROWS = (
    Row("lorenz96_cycling", Climatology, {}, 3.6),
    Row("lorenz96_cycling", ThreeDVar, {"scale": 0.02}, 0.41),
    Row("lorenz96_cycling", StochasticEnKF, {"members": 40, "inflation": 1.06}, 0.22),
    Row("lorenz96_cycling", ETKF, {"members": 24, "inflation": 1.013, "rotation": True}, 0.18),
    Row("lorenz96_cycling", LETKF, {"members": 7, "inflation": 1.04, "rotation": True, "radius": 4.0}, 0.22),
    # Published with multiples 0.2, 0.1 and 0.02 of the identity for B: the climatological variance is 13.2.
    Row("lorenz96_cycling_sparse", LaggedFourDVar, {"lag": 1, "scale": 0.015, "tolerance": 0.01}, 0.46),
    Row("lorenz96_cycling_sparse", LaggedFourDVar, {"lag": 2, "scale": 0.0076, "tolerance": 0.01}, 0.39),
    Row("lorenz96_cycling_sparse", LaggedFourDVar, {"lag": 4, "scale": 0.0015, "tolerance": 0.01}, 0.37),
    # Published with the finite-size inflation of the EnKF-N, for which a tuned factor stands.
    Row(
        "lorenz96_cycling_sparse",
        IEnKS,
        {"members": 20, "inflation": 1.04, "rotation": True, "lag": 16, "shift": 4},
        0.31,
    ),
    Row("lorenz96_cycling_bocquet2010", ParticleFilter, {"members": 800, "ess": 0.2, "jitter": 0.8}, 0.29),
    Row("lorenz63_cycling", Climatology, {}, 7.6),
    Row("lorenz63_cycling", ThreeDVar, {"scale": 0.1}, 1.04),
    Row("lorenz63_cycling", StochasticEnKF, {"members": 100, "inflation": 1.01}, 0.56),
    Row("lorenz63_cycling", IEnKS, {"members": 10, "inflation": 1.02, "rotation": True, "lag": 25, "shift": 25}, 0.31),
    Row("lorenz63_cycling", ParticleFilter, {"members": 4000, "ess": 0.05, "jitter": 0.7}, 0.27),
)


def means(problem: Problem, method: Posterior, twin: Twin) -> Iterator[Tensor]:
    """The ensemble means of all times, each with shape ``(case, *shape)``, without keeping the ensembles."""
    if isinstance(method, Sequential):
        record = Record(problem, twin.window)
        for z in method.run(record):
            yield record.split(z)[0].mean(dim=0)
    else:
        yield from method.sample(twin.window, 100).x.mean(dim=0).unbind(dim=1)


@torch.no_grad()
def score(row: Row, cases: int, cycles: int) -> Tensor:
    """The analysis RMSE of each case, with shape ``(case,)``."""
    setting = SETTINGS[row.setting]
    problem = setting.problem(setting.burn_in + cycles)
    torch.manual_seed(0)
    twin = problem.sample((cases,))
    total = torch.zeros(cases)
    for t, mean in enumerate(means(problem, row.method(problem, **row.options), twin)):
        cycle, state = divmod(t, setting.cycle)
        if cycle >= setting.burn_in and state == setting.cycle - 1:
            total += (mean - twin.x[:, t]).flatten(1).square().mean(dim=1).sqrt() / cycles
    return total


def main() -> None:
    """Prints one line for each row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="only rows whose setting and method contain this text")
    parser.add_argument("--cases", type=int, default=4, help="independent twins, all in one batch")
    parser.add_argument("--cycles", type=int, default=1000, help="cycles behind the burn-in")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_default_dtype(torch.float64)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {options.cases} cases, {options.cycles} cycles\n")
    print("| setting | method | published | ours | standard error | cases, lowest to highest | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in ROWS:
        name = f"{row.method.__name__} " + ", ".join(f"{key} {value}" for key, value in row.options.items())
        if options.only not in f"{row.setting} {name}":
            continue
        start = time.perf_counter()
        rmse = score(row, options.cases, options.cycles)
        error = rmse.std() / options.cases**0.5
        print(
            f"| {row.setting} | {name} | {row.published} | {rmse.mean():.3f} | {error:.3f} "
            f"| {rmse.min():.3f}–{rmse.max():.3f} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
