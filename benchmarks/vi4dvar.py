"""Measures the baselines beside VI-4DVAR: the same twins, the same machine, one run.

    python benchmarks/vi4dvar.py CHECKOUT

``CHECKOUT`` is a clone of https://github.com/ArFiloche/VI-4DVAR, which this script imports and runs but does not
contain. The twins are Lorenz-96 with 16 sites, observed through their squares; both sides get the same masks,
observations, backgrounds and standard deviations. The source assimilates one window at a time; its loops over
ensemble members and ABC trials are run in part and scaled up in proportion, which the table says.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from turns import spent, take_turns, write

from posterity.algebra import LowRankFactor
from posterity.baselines import EnsembleFourDVar, FourDVar, RejectionABC, VariationalInference
from posterity.baselines.variational.families import Family, Full, Gaussian, MeanField
from posterity.baselines.variational.optimizers import NaturalGradient, moment_matched_noise, negative_elbo
from posterity.problems import Control, Observation, Posterior, Problem, Quadratic, RandomMask, TimeMask, Window
from posterity.problems.minimize import levenberg_marquardt
from posterity.systems import Lorenz96

CASES = 100
MEMBERS = 100
TRIALS = 100_000
DRAWS = 1000


def problem() -> Problem:
    """The twin experiment of VI-4DVAR: half of the squares observed, never at the first time."""
    return Problem(
        system=Lorenz96(size=16, forcing=8.0, dt=0.1, spinup=6.3),
        observation=Observation(Quadratic((1, 16)), std=(2.8, 5.7), masks=(RandomMask(0.5), TimeMask(start=1))),
        window=12,
        forecast=4,
        background_std=(0.64, 1.28),
    )


def select(window: Window, cases: Any) -> Window:
    """Some cases of a batch of windows."""
    return Window(*(field[cases] for field in window))


class Fit(NamedTuple):
    """What the source found in one case, in the whitened control; each with shape ``(16,)``.

    Args:
        mode: Its 4DVAR minimiser; NaN if it diverged.
        published: The mean and the standard deviation of its VI as it stands.
        corrected: The same with log q evaluated at the draw's own mean.
    """

    mode: Tensor
    published: tuple[Tensor, Tensor]
    corrected: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Source:
    """One window in the source's own format, and its methods.

    Args:
        forward: The source's module of models.
        assimilation: The source's module of methods.
        window: A window without batch dimensions.
    """

    forward: Any
    assimilation: Any
    window: Window

    @classmethod
    def load(cls, checkout: Path, window: Window) -> "Source":
        """Imports the source from its clone."""
        if not (checkout / "assimilation").is_dir():
            sys.exit(f"{checkout}: no clone of VI-4DVAR (https://github.com/ArFiloche/VI-4DVAR)")
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
        return cls(importlib.import_module("forward"), importlib.import_module("assimilation"), window)

    @property
    def models(self) -> tuple[Any, Any]:
        """The dynamics and the observation operator, with this window's mask."""
        mask = ~self.window.y.isnan().squeeze(-2)
        operator = self.forward.Observation_operator_L96(nonlin=torch.square)
        operator.drop[: mask.shape[0], : mask.shape[1]] = mask.float()
        return self.forward.RK4L96(dt=0.1, F=8), operator

    @property
    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Observations, their inverse variances (0 where missing), background and its inverse variances."""
        y, std, background, background_std, _ = (field.squeeze(-2) if field.ndim else field for field in self.window)
        return y.nan_to_num(), torch.where(y.isnan(), 0, std**-2), background, background_std**-2

    def whiten(self, x0: Tensor) -> Tensor:
        """The control of an initial state."""
        return ((x0 - self.window.background) / self.window.background_std).squeeze(0)

    def fourdvar(self) -> Tensor:
        """Runs 4DVAR with its defaults; returns the minimiser's control, NaN if it diverged."""
        method = self.assimilation.strong_4DVar(*self.models)
        method.fit(*self.data)
        found = self.whiten(self.data[2] + method.eps_b.detach())
        return found if method.convergence else torch.full_like(found, torch.nan)

    def vi(self, corrected: bool, draws: int = DRAWS) -> tuple[Tensor, Tensor]:
        """Runs VI with its defaults; returns mean and standard deviation of the control."""

        class Corrected(self.assimilation.VI_strong_4DVar):  # type: ignore[name-defined, misc]
            """The same with log q(X0) = log N(X0; Xb + mu, var): the source leaves Xb out of the mean."""

            def gaussian_ll(self, X0: Tensor, mean: Tensor, log_var: Tensor, eps: float = -3) -> Tensor:
                """The log-density of q, up to a constant."""
                return super().gaussian_ll(X0, self.Xb + mean, log_var, eps)

        method = (Corrected if corrected else self.assimilation.VI_strong_4DVar)(*self.models, N_final_sample=draws)
        method.fit(*self.data)
        return self.whiten(method.mean), method.std / self.window.background_std.squeeze(0)

    def ensemble(self, members: int) -> None:
        """Runs ensemble 4DVAR."""
        self.assimilation.Ensemble_strong_4DVar(*self.models, N_member=members).fit(*self.data)

    def abc(self, trials: int) -> None:
        """Runs ABC, keeping one trial in a thousand."""
        method = self.assimilation.ABC_strong_4DVar(
            *self.models, N_trial=trials, percent_select_abc=0.1, percent_select_prior=0.1
        )
        method.fit(*self.data)

    def cost(self, u: Tensor) -> Tensor:
        """The source's own 4DVAR cost of a control."""
        method = self.assimilation.strong_4DVar(*self.models)
        y, Rm1, background, Bm1 = self.data
        method.Rm1, method.Bm1, method.T = Rm1, Bm1, len(y)
        x0 = background + self.window.background_std.squeeze(0) * u
        return method.J_obs(method.Forward(x0)[1], y, Rm1) + method.J_background(x0, background, Bm1)

    def fit(self, case: int) -> Fit:
        """Runs everything whose quality is compared."""
        torch.manual_seed(case)
        return Fit(self.fourdvar(), self.vi(corrected=False, draws=1), self.vi(corrected=True, draws=1))


def fit_one(checkout: Path, window: Window, case: int) -> Fit:
    """Fits one case on one thread, in a process of its own."""
    torch.set_num_threads(1)
    return Source.load(checkout, window).fit(case)


def source_fits(checkout: Path, windows: Window, seeds: int, jobs: int, kept: Path | None) -> Iterator[Fit]:
    """The source's fits of the first cases, from the file of an earlier run as far as it goes."""
    stored = torch.load(kept, weights_only=False) if kept and kept.exists() else {"y": windows.y, "fits": []}
    if not torch.equal(stored["y"].nan_to_num(), windows.y.nan_to_num()):
        sys.exit(f"{kept}: fits of other twins (another seed, or another version of torch); remove it")
    fits = stored["fits"]
    yield from fits[:seeds]
    left = range(len(fits), seeds)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for fit in pool.map(fit_one, [checkout] * len(left), [select(windows, i) for i in left], left):
            fits.append(fit)
            if kept:
                torch.save(stored, kept)
            yield fit


def check_costs(source: Callable[[int], Source], windows: Window, cases: int = 3, draws: int = 5) -> None:
    """Asserts that both sides compute the same cost of the same controls."""
    control = Control(problem(), select(windows, slice(0, cases)))
    u = 0.5 * control.prior(draws)
    theirs = torch.stack([torch.stack([source(i).cost(u[s, i]) for i in range(cases)]) for s in range(draws)])
    torch.testing.assert_close(control.cost(u), theirs, rtol=1e-4, atol=1e-3)


def compare_speed(
    source: Callable[[int], Source], windows: Window, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The times of both sides in turn: of one window, then of a batch of them, of each."""
    clock = time.process_time if options.cpu else time.perf_counter
    p = problem()
    one, many = select(windows, slice(0, 1)), select(windows, slice(0, options.windows))
    solvable = list(islice((i for i in range(CASES) if source(i).fourdvar().isfinite().all()), 5))
    print(f"4DVAR: mean over the windows {solvable}, the first on which the source's does not diverge.")
    members, trials = MEMBERS / options.source_members, TRIALS / options.source_trials
    print(f"Source's ensemble: {options.source_members} members, times {members:g}. ", end="")
    print(f"Source's ABC: {options.source_trials} trials, times {trials:g}.\n")

    def measured(call: Callable[[], Any], times: float = 1.0) -> Callable[[], float]:
        """What measures a call, which stands for so many."""
        return lambda: times * spent(call, least=0.5, clock=clock)

    theirs = {
        "4DVAR": measured(lambda: [source(i).fourdvar() for i in solvable], 1 / len(solvable)),
        "VI": measured(partial(source(0).vi, corrected=False)),
        "ensemble": measured(partial(source(0).ensemble, options.source_members), members),
        "ABC": measured(partial(source(0).abc, options.source_trials), trials),
    }
    ours: list[tuple[str, str, Posterior, int]] = [
        ("4DVAR", "4DVAR", FourDVar(p), 1),
        ("VI, mean field, 1000 draws", "VI", VariationalInference(p, MeanField()), DRAWS),
        ("VI, full covariance, 1000 draws", "VI", VariationalInference(p, Full()), DRAWS),
        ("ensemble 4DVAR, 100 members", "ensemble", EnsembleFourDVar(p), MEMBERS),
        ("ABC, 100 000 trials", "ABC", RejectionABC(p, TRIALS, 0.001), 100),
    ]
    rows = []
    for label, name, method, samples in ours:
        each = [select(windows, slice(i, i + 1)) for i in solvable] if name == "4DVAR" else [one]

        def single(method: Posterior = method, each: list[Window] = each, samples: int = samples) -> None:
            for window in each:
                method.sample(window, samples)

        measures = {
            "one window": measured(single, 1 / len(each)),
            f"{options.windows} windows, each": measured(partial(method.sample, many, samples), 1 / options.windows),
        }
        for what, measure in measures.items():
            turns = {"posterity": measure, "VI-4DVAR": theirs[name]}
            rows.append(take_turns(turns, options.repeats, f"{label}, {what}"))
    return rows


def bound(control: Control, q: Gaussian, draws: int = 4096) -> Tensor:
    """Minus the evidence lower bound of each case, with noise that is the same for every Gaussian."""
    parts = []
    for case in range(control.cases):
        torch.manual_seed(case)
        one = slice(case, case + 1)
        part = control.select(one)
        noise = moment_matched_noise(part, draws)
        parts.append(negative_elbo(part, q.select(one), noise))
    return torch.cat(parts)


def summary(label: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Prints how two sets of objectives compare, both minimised; a divergence counts as infinite."""
    theirs = theirs.nan_to_num(torch.inf, torch.inf)
    gap = (ours - theirs)[theirs.isfinite()]
    print(
        f"| {label} | {len(theirs)} | {(~ours.isfinite()).sum()} | {(~theirs.isfinite()).sum()} | {ours.median():.2f} "
        f"| {theirs.median():.2f} | {gap.median():.3f} | {gap.max():.3f} | {(gap > tolerance).sum()} |",
        flush=True,
    )


def compare_quality(windows: Window, fits: list[Fit], tolerance: float = 0.01) -> None:
    """Prints the objectives that both sides reach, evaluated in double precision by the same code."""
    control = Control(problem(), windows)
    exact = Control(problem(), Window(*(field.double() for field in windows)))
    some = slice(0, len(fits))
    judge = exact.select(some)
    print(
        "\n| objective | windows | ours diverged | source's diverged | ours, median | source's, median "
        f"| difference, median | difference, largest | worse by more than {tolerance:g} |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    mode = levenberg_marquardt(control, torch.zeros(control.cases, control.size)).u.double()
    theirs = judge.cost(torch.stack([fit.mode for fit in fits]).double())
    summary("4DVAR cost", exact.cost(mode)[some], theirs, tolerance)

    families: dict[str, Family] = {"mean field": MeanField(), "full": Full()}
    fitted = {}
    for name, family in families.items():
        q = NaturalGradient().fit(control, family).q
        fitted[name] = bound(exact, q)
        diverged = (~fitted[name].isfinite()).sum()
        print(f"| −ELBO, {name}, ours alone | {CASES} | {diverged} | | {fitted[name].median():.2f} | | | | |")
    for which in ("corrected", "published"):
        mean, std = (torch.stack(part).double() for part in zip(*(getattr(f, which) for f in fits), strict=True))
        theirs = bound(judge, Gaussian(mean, LowRankFactor.diagonal(std.square())))
        for name, ours in fitted.items():
            summary(f"−ELBO, {name}, source's {which}", ours[some], theirs, tolerance)


def main() -> None:
    """Runs both comparisons."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="a clone of https://github.com/ArFiloche/VI-4DVAR")
    parser.add_argument("--seeds", type=int, default=3, help=f"windows for the source's quality, 0 to {CASES}")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, for both sides")
    parser.add_argument("--cpu", action="store_true", help="CPU instead of wall time: for busy machines, one thread")
    parser.add_argument("--windows", type=int, default=64, help="windows in our timed batch")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the times, as JSON")
    parser.add_argument("--source-members", type=int, default=5, help="ensemble members that the source runs")
    parser.add_argument("--source-trials", type=int, default=1000, help="ABC trials that the source runs, from 1000")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each, for the source's quality")
    parser.add_argument("--fits", type=Path, help="where the source's fits are kept, for another run to go on from")
    options = parser.parse_args()
    if options.source_trials < 1000 or not 0 <= options.seeds <= CASES:
        parser.error(f"--source-trials: at least 1000, of which the source keeps one; --seeds: 0 to {CASES}")

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    windows = problem().sample((CASES,)).window

    def source(case: int) -> Source:
        """The source on one case."""
        return Source.load(options.checkout, select(windows, case))

    clock = "CPU" if options.cpu else "wall"
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {options.threads} threads, {clock} seconds")
    print(f"load of the machine {os.getloadavg()[0]:.1f} at the start\n")
    check_costs(source, windows)
    write(options.json, compare_speed(source, windows, options))
    print(f"\nload {os.getloadavg()[0]:.1f} at the end of the timings")
    if options.seeds:
        compare_quality(
            windows, list(source_fits(options.checkout, windows, options.seeds, options.jobs, options.fits))
        )


if __name__ == "__main__":
    main()
