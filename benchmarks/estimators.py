"""Measures how fast neural posteriors train and draw, beside sbi's and lampe's: the same flow, data, machine and run.

    python benchmarks/estimators.py --sbi PYTHON --lampe PYTHON

Each ``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/sbi.txt``, and
``lampe.txt``, beside torch); a peer that is not named is left out. All train the same kind of flow
(autoregressive splines, or masked affine maps; the same numbers of transforms, widths and bins) on the same
fixed pairs: the control of a linear problem of 8 sites, given the features of its window, without an embedding. An
epoch is one pass over nine tenths of the pairs in shuffled batches and the loss of the last tenth. Times are CPU times
of one thread, which other programs of the machine disturb least.

Then what the training engine adds to a bare loop, and the time of 1000 draws of each estimator of the catalogue, for
one window of that problem, with networks that are not trained.
"""

import argparse
import os
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
from turns import Side, serve, spent, take_turns, write

HIDDEN, TRANSFORMS, BINS = 128, 3, 8
BATCH, CLIP, RATE = 256, 5.0, 5e-4
#: What trains, and what trains it for some epochs and returns how many those were.
Trained = tuple[nn.Module, Callable[[], int]]
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


def sbi(flow: str, pairs: dict[str, Tensor], epochs: int) -> Trained:
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


def lampe(flow: str, pairs: dict[str, Tensor], epochs: int) -> Trained:
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


def ours(flow: str, pairs: dict[str, Tensor], epochs: int, compiled: bool = False) -> Trained:
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


SIDES = {"compiled": partial(ours, compiled=True), "posterity": ours, "sbi": sbi, "lampe": lampe}
FLOWS = {"nsf": "autoregressive splines", "maf": "masked affine maps"}


def answers(side: str, flow: str, path: str, epochs: str) -> Callable[[dict[str, Any]], Any]:
    """What a side makes of orders: the number of its weights, or the CPU seconds of its next epochs, of each."""
    torch.manual_seed(0)
    # sbi leaves logs where it runs.
    os.chdir(Path(path).parent)
    module, work = SIDES[side](flow, torch.load(path, weights_only=True), int(epochs))

    def answer(order: dict[str, Any]) -> float:
        if "weights" in order:
            return sum(parameter.numel() for parameter in module.parameters())
        start = time.process_time()
        done = work()
        return (time.process_time() - start) / done

    return answer


def training(pythons: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The seconds of an epoch of each side, by turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/pairs.pt"
        torch.save(draw_pairs(arguments.cases), path)
        for flow, what in FLOWS.items():
            given = (flow, path, str(arguments.epochs))
            sides = {
                name: Side(python, "-W", "ignore", __file__, "--serve", name, *given)
                for name, python in pythons.items()
            }
            print(", ".join(f"{name} {side(weights=True)}" for name, side in sides.items()), "weights", flush=True)
            rows.append(take_turns(sides, arguments.repeats, f"an epoch of {what}"))
    return rows


def engine(repeats: int, cases: int) -> dict[str, Any]:
    """What the training engine adds to a bare loop, for ``npe`` as it is, observations drawn anew."""
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
    turns = {side: partial(spent, partial(next, run), least=0.0) for side, run in sides.items()}
    return take_turns(turns, repeats, f"an epoch of npe on {cases} cases")


def sampling(samples: int) -> list[dict[str, Any]]:
    """The time of draws of each estimator, and of ``npe`` with each flow."""
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
    rows = []
    for name, make in built:
        estimator = make()
        estimator.standardize(twin)
        estimator.mark_trained()
        estimator.sample(test.window, samples)
        seconds = spent(lambda estimator=estimator: estimator.sample(test.window, samples))
        weights = sum(parameter.numel() for parameter in estimator.parameters())
        rows.append({"estimator": name, "seconds": seconds, "weights": weights})
        print(f"{name:24s} {seconds:8.3f}  {weights:8d} weights")
    return rows


def main() -> None:
    """Prints all of it, or plays one side."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbi", help="the interpreter of an environment with sbi")
    parser.add_argument("--lampe", help="the interpreter of an environment with lampe")
    parser.add_argument("--eager", action="store_true", help="leaves compiled trainings out, for want of a compiler")
    parser.add_argument("--cases", type=int, default=5120, help="pairs (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="turns of each side (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=1000, help="draws of each estimator (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(answers(*arguments.serve))
        return
    pythons = {
        "compiled": None if arguments.eager else sys.executable,
        "posterity": sys.executable,
        "sbi": arguments.sbi,
        "lampe": arguments.lampe,
    }
    rows = training({name: python for name, python in pythons.items() if python}, arguments)
    rows += [engine(arguments.repeats, arguments.cases), *sampling(arguments.draws)]
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
