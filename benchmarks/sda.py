"""Trajectories of Lorenz-63 beside a checkout of francois-rozet/sda: Wasserstein-1, log-densities, seconds per draw.

    python benchmarks/sda.py --python PYTHON --checkout FOLDER [--minutes 2] [--settings lo hi]

Without the first two options, Posterity alone. ``PYTHON`` is the interpreter of an environment of its own (``pip
install -r benchmarks/requirements/sda.txt``, beside torch). Both sides are trained here, in turn, for the same time of
a processor, on the same trajectories, by the same loop (AdamW, 1e-3, decay 1e-3, linear to zero, batches of 64
windows), on windows of nine states, with a residual perceptron of five blocks and the same width: the peer's local
kernel, and Posterity's `residual-mlp`, whose blocks the noise level scales. The loop is neither side's own, and reads
no files. Then both draw from the posteriors of the same cases of the published settings, the peer as it was published
(256 steps around each state, γ = 0.03), Posterity in 32 steps of strided windows by moment matching. Draws are held
against a particle smoother of 4096 particles that draws backward (Wasserstein-1 by optimal assignment), in units of the
model; log-densities are those of observations and of transitions above what draws from posteriors have on average.
Seconds are those of the processor, on one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

#: Observations of the first variable: every so many states, with a standard deviation in units of the model.
SETTINGS = {"lo": (8, 0.4), "hi": (1, 2.0)}
#: The number of states of a trajectory, and k: windows have 2 k + 1 states.
STATES, ORDER = 65, 4
#: The units in which the peer sees states.
MEAN, SCALE = (0.0, 0.0, 25.0), (8.0, 9.0, 8.6)
#: What Posterity draws with: compositions, and Langevin corrections after each step.
OURS = ("blankets 1", "junction 1", "junction 2", "junction 4")


def fit(parameters: Any, loss: Callable[[Any], Any], data: Any, minutes: float) -> int:
    """Trains on random windows, and returns the number of steps that the time was enough for."""
    import torch

    optimizer, steps = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-3), 0
    begun, length = time.process_time(), 2 * ORDER + 1
    while (share := (time.process_time() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - share)
        case = torch.randint(len(data), (64, 1))
        start = torch.randint(data.shape[1] - length + 1, (64, 1))
        value = loss(data[case, start + torch.arange(length)])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        steps += 1
    return steps


def peer(folder: Path, minutes: float, width: int, draws: int, some: list[int]) -> None:
    """Trains and draws with the checkout."""
    import torch

    # This file has the name of the peer's package.
    sys.path.remove(str(Path(__file__).parent))
    from sda.score import VPSDE, GaussianScore, MCScoreNet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    mean, scale = torch.tensor(MEAN), torch.tensor(SCALE)
    data = (torch.load(folder / "train.pt") - mean) / scale
    score = MCScoreNet(features=3, order=ORDER, embedding=32, hidden_features=[width] * 5, activation=torch.nn.SiLU)
    kernel = VPSDE(score.kernel, shape=(3 * (2 * ORDER + 1),))
    steps = fit(kernel.parameters(), lambda x: kernel.loss(x.flatten(1)), data, minutes)
    tell(steps=steps, parameters=sum(p.numel() for p in score.parameters()))
    for setting, (every, std) in SETTINGS.items():
        if not (folder / f"{setting}.pt").exists():
            continue
        for corrections in some:
            found, begun = [], time.process_time()
            for y in torch.load(folder / f"{setting}.pt")["y"]:
                seen = (y[::every] - MEAN[0]) / SCALE[0]
                guided = GaussianScore(
                    y=seen,
                    A=lambda x, every=every: x[..., ::every, :1],
                    std=std / SCALE[0],
                    sde=VPSDE(score, shape=()),
                    gamma=3e-2,
                )
                sampler = VPSDE(guided, shape=(STATES, 3))
                found.append(sampler.sample((draws,), steps=256, corrections=corrections, tau=0.25))
            keep(folder, setting, f"sda, {corrections} corrections", torch.stack(found, 1) * scale + mean, begun)


def ours(folder: Path, minutes: float, width: int, draws: int, ways: list[str]) -> None:
    """Trains and draws with Posterity."""
    import torch

    from posterity.diffusion import EDM, MomentMatching, PredictorCorrector
    from posterity.diffusion.compositions import Blankets, Junction
    from posterity.estimators.trajectories.methods import SDA
    from posterity.nn import ResidualMLP
    from posterity.problems import Twin

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = torch.load(folder / "train.pt")
    stride = ORDER

    def estimator(setting: str, composition: Any, corrections: int, per_window: bool) -> SDA:
        sampler = PredictorCorrector(steps=32, corrections=corrections)
        how = {"sampler": sampler, "guidance": MomentMatching(4), "composition": composition, "per_window": per_window}
        return SDA(problem(setting), ORDER, ResidualMLP(width, blocks=5), EDM(mean=-1.5), stride=stride, **how)

    trained = estimator("lo", Blankets(2 * ORDER + 1, ORDER), 1, False)
    twin = Twin(data, data.new_zeros(len(data), 0), empty("lo", len(data)))
    trained.standardize(twin)

    def loss(x: Any) -> Any:
        return trained.loss(Twin(x, x.new_zeros(len(x), 0), empty("lo", len(x))))

    steps = fit(trained.parameters(), loss, data, minutes)
    tell(steps=steps, parameters=sum(p.numel() for p in trained.parameters()))
    for setting in SETTINGS:
        if not (folder / f"{setting}.pt").exists():
            continue
        for way in ways:
            kind, corrections = way.split()
            parts = {"blankets": (Blankets(2 * ORDER + 1, ORDER), False), "junction": (Junction(ORDER, stride), True)}
            drawing = estimator(setting, parts[kind][0], int(corrections), parts[kind][1])
            drawing.load_state_dict(trained.state_dict())
            drawing.mark_trained()
            y = torch.load(folder / f"{setting}.pt")["y"]
            begun = time.process_time()
            found = drawing.sample(observed(setting, y), draws).x
            keep(folder, setting, f"posterity, {kind}, {corrections} corrections", found, begun)


def problem(setting: str) -> Any:
    """The published problem: Lorenz-63 with noise behind each step, whose first variable is observed."""
    from posterity.problems import Channels, Observation, Problem, TimeMask
    from posterity.systems import Lorenz63

    every, std = SETTINGS[setting]
    observation = Observation(Channels((3,), (0,)), std=std, masks=(TimeMask(every),))
    how = {"joint": "climatology", "background_std": None, "model_error": 0.025**0.5}
    return Problem(Lorenz63(dt=0.025), observation, window=STATES, **how)


def observed(setting: str, y: Any) -> Any:
    """The windows of some observations, with shape ``(case, time, 1)``."""
    return empty(setting, len(y))._replace(y=y)


def empty(setting: str, cases: int) -> Any:
    """Windows of any observations, for so many cases: those of a draw of the joint."""
    window = drawn(setting)
    return type(window)(*(part.expand(cases, *part.shape[1:]) for part in window))


@cache
def drawn(setting: str) -> Any:
    """The window of a draw of the joint."""
    return problem(setting).sample((1,)).window


def keep(folder: Path, setting: str, name: str, x: Any, begun: float) -> None:
    """Writes draws ``(draw, case, state, 3)``, and tells what they took."""
    import torch

    seconds = (time.process_time() - begun) / x.shape[0] / x.shape[1]
    torch.save(x, folder / f"{setting}, {name}.draws")
    tell(setting=setting, name=name, seconds=seconds)


def tell(**found: Any) -> None:
    """Prints what was found for the process that asked."""
    print("FOUND " + json.dumps(found), flush=True)


def main() -> None:
    """Makes the cases, asks both sides, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="the interpreter of an environment for the peer")
    parser.add_argument("--checkout", type=Path, help="the folder of the checkout")
    parser.add_argument("--minutes", type=float, default=2, help="of training, each (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="of the networks (default: %(default)s)")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--draws", type=int, default=64, help="of each case (default: %(default)s)")
    parser.add_argument("--corrections", nargs="*", type=int, default=[0, 1], help="of the peer, after each step")
    parser.add_argument("--ways", nargs="*", choices=OURS, default=list(OURS), help="of Posterity")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, folder = arguments.serve
        how = Path(folder), arguments.minutes, arguments.width, arguments.draws
        if name == "peer":
            peer(*how, arguments.corrections)
        else:
            ours(*how, arguments.ways)
        return
    with tempfile.TemporaryDirectory() as made:
        compare(Path(made), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Makes the cases in a folder, asks both sides, and prints the table."""
    import torch

    from posterity.baselines import ParticleSmoother

    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.save(problem("lo").sample((1024,)).x, folder / "train.pt")
    references = {}
    for setting in arguments.settings:
        twin = problem(setting).sample((arguments.cases,))
        torch.save({"y": twin.window.y}, folder / f"{setting}.pt")
        smoother = ParticleSmoother(problem(setting), members=4096)
        references[setting] = twin, *(smoother.sample(twin.window, arguments.draws).x for _ in range(2))
    print("| draws | setting | Wasserstein-1 | observations (nat) | transitions (nat) | s per draw | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    for setting, (twin, one, other) in references.items():
        show(setting, "particle smoother", one, twin.window, other)
    seconds: dict[str, float] = {}
    for side, python in (("peer", arguments.python), ("ours", sys.executable)):
        if python is None:
            continue
        command = [python, __file__, "--serve", side, str(folder), "--minutes", str(arguments.minutes)]
        command += ["--width", str(arguments.width), "--draws", str(arguments.draws)]
        command += ["--corrections", *map(str, arguments.corrections), "--ways", *arguments.ways]
        paths = [str(arguments.checkout), os.environ.get("PYTHONPATH", "")] if side == "peer" else sys.path
        found = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for line in found.stdout.splitlines():
            if not line.startswith("FOUND "):
                continue
            told = json.loads(line.removeprefix("FOUND "))
            if "steps" in told:
                print(f"({side}: {told['steps']} steps, {told['parameters']} weights)", flush=True)
                continue
            setting, name = told["setting"], told["name"]
            twin, one, _ = references[setting]
            if side == "peer":
                # The dearer of the peer's ways is what costs are held against.
                seconds[setting] = max(seconds.get(setting, 0), told["seconds"])
            x = torch.load(folder / f"{setting}, {name}.draws")
            show(setting, name, x, twin.window, one, told["seconds"], seconds.get(setting))


def show(setting: str, name: str, x: Any, window: Any, reference: Any, *seconds: float | None) -> None:
    """Prints a row: means over cases with standard errors, and seconds of a draw, its own and of the peer, if any."""
    from math import e, log, pi

    import xarray as xr

    from posterity.metrics import trajectory_wasserstein
    from posterity.problems import Ensemble, log_likelihood, transition_gap

    draws = Ensemble(x, x.new_zeros(*x.shape[:2], 0), range(STATES))
    dims = ("sample", "case", "time", "channel")
    mine, own = (xr.DataArray(part.numpy(), dims=dims).transpose("case", ...) for part in (x, reference))
    distance = trajectory_wasserstein(mine, own.rename(sample="draw")).to_numpy()
    every, std = SETTINGS[setting]
    # Any calibrated draws have this on average.
    known = -0.5 * len(range(0, STATES, every)) * log(2 * pi * e * std**2)
    likelihood = log_likelihood(problem(setting), window, draws)
    transitions = transition_gap(problem(setting), window, draws)
    assert likelihood is not None
    assert transitions is not None
    columns = [distance, (likelihood.mean(0) - known).numpy(), transitions.mean(0).numpy()]
    row = [f"{part.mean():.2f} ± {part.std(ddof=1) / len(part) ** 0.5:.2f}" for part in columns]
    cost, theirs = seconds or (None, None)
    row += [f"{cost:.3f}" if cost else "", f"{theirs / cost:.1f}" if cost and theirs else ""]
    print(f"| {name} | {setting} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
