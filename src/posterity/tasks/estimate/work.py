"""What jobs take in proportion to: operations of networks where they can be counted, else numbers that are computed."""

from collections.abc import Mapping
from math import prod
from time import perf_counter

import torch

from ...experiment import Experiment
from ...experiment.component import Component
from .flops import drawing_flops, training_flops
from .jobs import Job
from .sizes import Sizes

#: Options of methods that say how many states they advance at once, if more than they draw.
ENSEMBLES = ("members", "particles", "draws", "trials")

#: What the time of jobs of each rule is taken to be in proportion to, beside their start.
UNITS: Mapping[str, str] = {
    "climatology": "updates of entries",
    "simulate": "updates of entries",
    "train": "FLOP",
    "train_on_nodes": "FLOP",
    "sample": "FLOP",
    "classify": "FLOP",
    "assimilate": "updates of entries of ensembles",
    "reference": "updates of entries of ensembles",
    "evaluate": "numbers drawn",
    "aggregate": "bytes written",
}

#: What the time of jobs is in proportion to whose operations cannot be counted, and of those that take what they take.
DRAWN, ALIKE = "numbers drawn", "jobs"

#: Entries of the states that a step of the system is timed with, and the seconds for which it is.
TIMED, SECONDS = 2**20, 0.3


class Work:
    """The work of the jobs of an experiment.

    Args:
        experiment: The experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.sizes = experiment, Sizes(experiment)
        self._trained: dict[str, tuple[float, float] | None] = {}
        self._drawn: dict[str, float | None] = {}

    def of(self, job: Job, epochs: int | None = None) -> tuple[float, str]:
        """The work of a job.

        Args:
            job: A job of the experiment.
            epochs: The epochs of a training that ended early; all if omitted.

        Returns:
            An amount, and its unit.
        """
        unit = UNITS.get(job.rule, ALIKE)
        if unit == "FLOP":
            flops = self._flops(job, epochs)
            if flops is not None:
                return flops, unit
            return self._without_flops(job, epochs), DRAWN
        if job.rule == "climatology":
            return self.sizes.library * self._spinup() * self._entries, unit
        if job.rule == "simulate":
            library = self.experiment.climatology is not None
            return job.cases * self._updates(0 if library else self._spinup()) * self._entries, unit
        if job.rule in ("assimilate", "reference"):
            return job.cases * self._ensemble(job) * self._updates(0) * self._entries, unit
        if job.rule == "evaluate":
            return self.sizes.numbers(job), unit
        return (self.sizes.bytes(job) if job.rule == "aggregate" else 1), unit

    def held(self, job: Job) -> int:
        """The bytes that a job has in memory at once at the least: what it writes; of a training, what it reads."""
        if job.rule in ("train", "train_on_nodes"):
            # Weights, their gradients, two moments, the average and the best of them; see Batches for the training set.
            splits = self.experiment.splits
            states = self.sizes.problem.steps * self._entries * 4
            return 6 * self.sizes.weights(job.name) + min(2**30, splits.train.cases * states)
        return 0 if job.rule in ("evaluate", "aggregate") else self.sizes.bytes(job)

    def step_seconds(self) -> float:
        """The seconds that one entry of a state takes in one step of the system, timed here, on one thread."""
        system, threads = self.sizes.problem.system, torch.get_num_threads()
        states = max(1, TIMED // self._entries)
        noise = torch.zeros(states, 1, *system.noise_shape) if system.stochastic else None
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                x = torch.randn(states, *system.shape)
                system.at(0.0).rollout(x, 1, noise)
                steps, start = 0, perf_counter()
                while perf_counter() - start < SECONDS:
                    system.at(0.0).rollout(x, 1, noise)
                    steps += 1
                return (perf_counter() - start) / (steps * states * self._entries)
        finally:
            torch.set_num_threads(threads)

    @property
    def _entries(self) -> int:
        return prod(self.sizes.problem.shape)

    def _spinup(self) -> int:
        """The steps of the spin-up of a state, of systems that say so; else one."""
        system = self.sizes.problem.system
        return max(1, round(getattr(system, "spinup", 0) / system.dt))

    def _updates(self, before: int) -> int:
        """The steps of a state to the end of its window and forecast, all cases to the last start of one."""
        problem = self.sizes.problem
        return max(1, before + problem.start[1] + problem.steps - 1)

    def _ensemble(self, job: Job) -> int:
        """The states that a method advances at once for a case."""
        if job.rule == "reference":
            settings: Component | None = self.experiment.reference
            runs = 1 if self.experiment.reference is None else self.experiment.reference.runs
        else:
            settings, runs = self.experiment.methods[job.name], 1
        options = {} if settings is None else settings.options
        own = [value for name, value in options.items() if name in ENSEMBLES and isinstance(value, int)]
        return max(self.sizes.draws(job), *(runs * value for value in own), 1)

    def _flops(self, job: Job, epochs: int | None) -> float | None:
        """The operations of a job of a network; None if they cannot be counted."""
        splits, group = self.experiment.splits, job.group
        if job.rule in ("train", "train_on_nodes"):
            if group not in self._trained:
                self._trained[group] = training_flops(self.sizes.estimator(job.name))
            if (counted := self._trained[group]) is None:
                return None
            step, validation = counted
            settings = self.experiment.training(job.name)
            return (epochs or settings.epochs) * (
                splits.train.cases * settings.echoes * step + splits.valid.cases * validation
            )
        if self.experiment.methods[job.name].refinement is not None:
            return None
        if group not in self._drawn:
            self._drawn[group] = drawing_flops(self.sizes.estimator(job.name))
        drawn = self._drawn[group]
        return None if drawn is None else self._draws(job) * drawn

    def _draws(self, job: Job) -> int:
        """The draws of a job, of all its cases together."""
        settings = self.experiment.classifier
        if job.rule == "classify" and settings is not None:
            return settings.cases + settings.judged
        return job.cases * self.sizes.draws(job)

    def _without_flops(self, job: Job, epochs: int | None) -> float:
        """The numbers that a job of a network makes, or learns from."""
        if job.rule in ("train", "train_on_nodes"):
            splits = self.experiment.splits
            cases = splits.train.cases + splits.valid.cases
            return (epochs or self.experiment.training(job.name).epochs) * cases * self._entries
        return self._draws(job) * len(self.sizes.times(job.name)) * self._entries
