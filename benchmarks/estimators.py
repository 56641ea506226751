"""Measures how fast neural posteriors train and draw, beside sbi's and lampe's: the same flow, data, machine and run.

    python benchmarks/estimators.py SBI_PYTHON LAMPE_PYTHON

Each ``PYTHON`` is the interpreter of an environment of its own with that package (``pip install sbi==0.27.0``,
``pip install lampe==0.9 zuko==1.6.0``), which this script runs but does not contain. All train the same kind of flow
(autoregressive splines, or masked affine maps; the same numbers of transforms, widths and bins) on the same
fixed pairs: the control of a linear problem of 8 sites, given the features of its window, without an embedding. An
epoch is one pass over nine tenths of the pairs in shuffled batches and the loss of the last tenth. Times are CPU times
of one thread, which other programs of the machine disturb least.

Then what the training engine adds to a bare loop, and the time of 1000 draws of each estimator of the catalogue, for
one window of that problem, with networks that are not trained.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

# Before torch is imported: one thread, so that no side wins by an idle core.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch
from torch import Tensor, nn

HIDDEN, TRANSFORMS, BINS = 128, 3, 8
BATCH, CLIP, RATE = 256, 5.0, 5e-4
#: What trains, and what trains it for some epochs and returns how many those were.
Side = tuple[nn.Module, Callable[[], int]]
#: The share of pairs that an epoch trains on.
SHARE = 0.9


def make_problem() -> Any:
    """Linear advection over a ring of 8 sites, of which every other one is seen."""
    from posterity.problems import GridMask, Identity, Observation, Problem
    from posterity.systems import LinearAdvection

    observation = Observation(Identity((1, 8)), std=(0.5, 0.5), masks=(GridMask(2),))
    return Problem(LinearAdvection(size=8), observation, window=4, background_std=(1.0, 1.0))


def draw_pairs(cases: int) -> dict[str, Tensor]:
    """Controls and flattened features."""
    from posterity.estimators import ControlTarget, Features

    problem = make_problem()
    twin = problem.sample((cases,))
    features = Features(problem)
    features.fit(twin.window)
    return {
        "u": ControlTarget().extract(problem, twin).flatten(1),
        "context": features(twin.window).flatten(1),
    }


def sbi(flow: str, pairs: dict[str, Tensor], epochs: int) -> Side:
    """Some epochs of sbi."""
    from sbi.inference import NPE
    from sbi.neural_nets import posterior_nn

    u = pairs["u"]
    build = posterior_nn(
        f"zuko_{flow}",
        hidden_features=[HIDDEN, HIDDEN],
        num_transforms=TRANSFORMS,
        num_bins=BINS,
        z_score_theta=None,
        z_score_x=None,
    )
    prior = torch.distributions.MultivariateNormal(torch.zeros(u.shape[1]), torch.eye(u.shape[1]))
    inference = NPE(prior, density_estimator=build, show_progress_bars=False).append_simulations(u, pairs["context"])
    settings = {
        "training_batch_size": BATCH,
        "learning_rate": RATE,
        "validation_fraction": 1 - SHARE,
        "stop_after_epochs": 10**6,
        "clip_max_norm": CLIP,
    }
    inference.train(max_num_epochs=1, **settings)

    def work() -> int:
        done = inference.epoch
        inference.train(max_num_epochs=done + epochs, resume_training=True, **settings)
        return inference.epoch - done

    return inference._neural_net, work


def lampe(flow: str, pairs: dict[str, Tensor], epochs: int) -> Side:
    """Some epochs of lampe: the loop of its tutorial, with a validation."""
    from lampe.data import JointDataset
    from lampe.inference import NPE, NPELoss
    from lampe.utils import GDStep
    from zuko.flows import MAF, NSF

    u, context = pairs["u"], pairs["context"]
    options = {"bins": BINS} if flow == "nsf" else {}
    estimator = NPE(
        u.shape[1],
        context.shape[1],
        build={"nsf": NSF, "maf": MAF}[flow],
        transforms=TRANSFORMS,
        hidden_features=(HIDDEN, HIDDEN),
        **options,
    )
    loss = NPELoss(estimator)
    step = GDStep(torch.optim.AdamW(estimator.parameters(), lr=RATE), clip=CLIP)
    split = round(SHARE * len(u))
    train = JointDataset(u[:split], context[:split], batch_size=BATCH, shuffle=True)
    valid = JointDataset(u[split:], context[split:], batch_size=BATCH)

    def work() -> int:
        for _ in range(epochs):
            estimator.train()
            torch.stack([step(loss(*batch)) for batch in train]).mean().item()
            estimator.eval()
            with torch.no_grad():
                torch.stack([loss(*batch) for batch in valid]).mean().item()
        return epochs

    return estimator, work


def ours(flow: str, pairs: dict[str, Tensor], epochs: int, compiled: bool = False) -> Side:
    """Some epochs of Posterity's training engine."""
    from posterity.estimators import Batches, Estimator, States, Training
    from posterity.flows import AutoregressiveSpline, MaskedAutoregressive
    from posterity.problems import Ensemble, Problem, Twin, Window

    class Pairs(States):
        """Pairs in the place of states: there is nothing to observe."""

        def observe(self, problem: Problem) -> Twin:
            context = self.background
            return Twin(self.x, self.theta, Window(context, context, context, context, self.start))

    class Bare(Estimator):
        """A flow without an embedding."""

        def __init__(self, problem: Problem) -> None:
            super().__init__(problem)
            plan = {
                "nsf": AutoregressiveSpline(TRANSFORMS, (HIDDEN, HIDDEN), BINS),
                "maf": MaskedAutoregressive(TRANSFORMS, (HIDDEN, HIDDEN)),
            }[flow]
            self.flow = plan.build(pairs["u"].shape[1:], pairs["context"].shape[1:])

        def standardize(self, twin: Twin) -> None:
            """Pairs are standardised already."""

        def loss(self, twin: Twin) -> Tensor:
            return -self.flow.log_prob(twin.x, twin.window.y).mean()

        def sample_cases(self, window: Window, samples: int) -> Ensemble:
            raise NotImplementedError

    u, context = pairs["u"], pairs["context"]
    split, none = round(SHARE * len(u)), torch.zeros(len(u))
    states = Pairs(u, none, context, none, none)
    problem = make_problem()
    train = Batches(lambda cases: states.take(torch.arange(len(u))[cases]), split, BATCH)
    valid = [states.take(cases).observe(problem) for cases in torch.arange(split, len(u)).split(BATCH)]
    estimator = Bare(problem)
    run = Training(
        estimator=estimator,
        problem=problem,
        epochs=10**6,
        patience=10**6,
        learning_rate=RATE,
        clip=CLIP,
        compile=compiled,
    ).passes(train, valid)
    return estimator, lambda: len([next(run) for _ in range(epochs)])


SIDES = {"sbi": sbi, "lampe": lampe, "posterity": ours, "compiled": partial(ours, compiled=True)}


def seconds(work: Callable[[], object], times: int) -> float:
    """The CPU time of some work, behind a first time that is not counted."""
    work()
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def play(side: str, flow: str, path: str, epochs: str) -> None:
    """Writes the number of weights, then for each line of standard input how many seconds an epoch took."""
    torch.manual_seed(0)
    # What a package says on standard output is not for the one who listens there.
    answers, sys.stdout = sys.stdout, sys.stderr
    module, work = SIDES[side](flow, torch.load(path, weights_only=True), int(epochs))
    print(sum(parameter.numel() for parameter in module.parameters()), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        done = work()
        print((time.process_time() - start) / done, file=answers, flush=True)


def training(pythons: dict[str, str], arguments: argparse.Namespace) -> None:
    """Prints epochs per second of each side and ratios, by turns: other programs then slow all sides alike."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.pt"
        torch.save(draw_pairs(arguments.cases), path)
        for flow in ("nsf", "maf"):
            players = {
                side: subprocess.Popen(
                    [python, "-W", "ignore", __file__, side, flow, str(path), str(arguments.epochs)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for side, python in pythons.items()
            }
            weights = {side: int(player.stdout.readline()) for side, player in players.items()}
            turns = [{side: turn(player) for side, player in players.items()} for _ in range(1 + arguments.repeats)][1:]
            print(f"\n{flow}, {arguments.cases} pairs, batches of {BATCH}, {len(turns)} turns: epochs per second")
            for side, player in players.items():
                player.communicate()
                speed = 1 / statistics.median(each[side] for each in turns)
                print(f"{side:10s} {speed:8.3f}  {weights[side]:8d} weights", end="")
                for own in ("posterity", "compiled"):
                    ratios = sorted(each[side] / each[own] for each in turns)
                    low, middle, high = (ratios[int(share * (len(ratios) - 1))] for share in (0.25, 0.5, 0.75))
                    print(f"; {own} {middle:.2f} times as fast (half of the turns: {low:.2f} to {high:.2f})", end="")
                print()


def turn(player: "subprocess.Popen[str]") -> float:
    """Seconds per epoch of one side's next turn."""
    print(file=player.stdin, flush=True)
    return float(player.stdout.readline())


def engine(repeats: int, cases: int) -> None:
    """Prints what the training engine adds to a bare loop, for ``npe`` as it is."""
    from posterity.estimators import Batches, NeuralPosterior, States, Training

    problem = make_problem()
    twin = problem.sample((cases,))
    states = States(twin.x, twin.theta, *twin.window[2:])
    batches = Batches(lambda rows: states.take(torch.arange(cases)[rows]), cases, BATCH)

    def bare(estimator: NeuralPosterior) -> Iterator[None]:
        optimizer = torch.optim.AdamW(estimator.parameters(), lr=RATE, fused=True)
        estimator.standardize(twin)
        while True:
            for rows in torch.randperm(cases).split(BATCH):
                loss = estimator.loss(states.take(rows).observe(problem))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(estimator.parameters(), CLIP)
                optimizer.step()
            yield

    def started(ema: float = 0.999) -> Iterator[dict[str, float]]:
        training = Training(estimator=NeuralPosterior(problem), problem=problem, epochs=10**6, patience=10**6, ema=ema)
        # The bare loop has no validation, so this one has next to none.
        return training.passes(batches, [problem.sample((2,))])

    sides: dict[str, Iterator[Any]] = {
        "bare": bare(NeuralPosterior(problem)),
        "engine": started(),
        "engine without average": started(ema=0.0),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for run in sides.values():
        next(run)
    for _ in range(repeats):
        for side, run in sides.items():
            start = time.process_time()
            next(run)
            times[side].append(time.process_time() - start)
    print(f"\nnpe, observations drawn anew, {cases} cases: epochs per second, medians of {repeats} epochs in turn")
    for side, spent in times.items():
        ratios = [a / b for a, b in zip(spent, times["bare"], strict=True)]
        print(f"{side:24s} {1 / statistics.median(spent):8.3f}  {100 * (statistics.median(ratios) - 1):+.1f} %")


def sampling(samples: int) -> None:
    """Prints the time of draws of each estimator, and of ``npe`` with each flow."""
    from posterity.estimators import Estimator, NeuralPosterior
    from posterity.experiment import catalog
    from posterity.flows import Flow

    problem = make_problem()
    twin, test = problem.sample((4096,)), problem.sample((1,))
    print(f"\nCPU seconds per {samples} draws for one window")
    kinds = [(kind, catalog.resolve("method", kind)) for kind in catalog.CATALOG["method"]]
    built: list[tuple[str, Callable[[], Estimator]]] = [
        (kind, lambda made=made: made(problem)) for kind, made in kinds if issubclass(made, Estimator)
    ]
    flows = [(kind, catalog.resolve("flow", kind)) for kind in catalog.CATALOG["flow"]]
    built += [
        (f"npe, {kind}", lambda made=made: NeuralPosterior(problem, flow=made()))
        for kind, made in flows
        if issubclass(made, Flow)
    ]
    for name, make in built:
        estimator = make()
        estimator.standardize(twin)
        estimator.mark_trained()
        spent = seconds(lambda estimator=estimator: estimator.sample(test.window, samples), 3)
        weights = sum(parameter.numel() for parameter in estimator.parameters())
        print(f"{name:24s} {spent * 1000 / samples:8.3f}  {weights:8d} weights")


def main() -> None:
    """Prints all of it, or plays one side."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1 and sys.argv[1] in SIDES:
        play(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sbi", help="the interpreter of an environment with sbi")
    parser.add_argument("lampe", help="the interpreter of an environment with lampe")
    parser.add_argument("--cases", type=int, default=10240, help="pairs (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="turns of each side (default: %(default)s)")
    arguments = parser.parse_args()
    pythons = {"sbi": arguments.sbi, "lampe": arguments.lampe, "posterity": sys.executable, "compiled": sys.executable}
    training(pythons, arguments)
    engine(arguments.repeats, arguments.cases)
    sampling(1000)


if __name__ == "__main__":
    main()
