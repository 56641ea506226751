"""The bytes that jobs write, counted from the shapes of what is in their files, before compression.

Counted are the variables of the schemas, in single precision as they are written. Not counted are coordinates,
diagnostics of methods and attributes, some kilobytes a file; tables, figures and logs.
"""

from collections.abc import Mapping
from functools import cached_property
from math import prod

import numpy as np
import torch
import xarray as xr

from ...baselines.sequential.record import Sequential
from ...data.coordinates import own_coordinates, sites_of
from ...data.schema import dims
from ...estimators import DensityEstimator, Estimator, Learned
from ...estimators.continuous import ContinuousFlow
from ...estimators.refinement import Refined
from ...estimators.target import StateTarget
from ...experiment import Experiment
from ...inference.densities import refined
from ...inference.experiments import build_problem
from ...inference.records import build_baseline
from ...metrics import RATES, evaluate
from ...metrics.fields.spectra import shells
from ...problems import Posterior
from .jobs import Job

#: Bytes of a number in a file, of the number of a run, and of one that marks what is held out.
SINGLE, DOUBLE, MARK = 4, 8, 1
#: The most sites of an axis of the grid on which scores are tried.
TRIED = 8
#: The variables on the grid of observations.
OBSERVED = ("observation", "observation_std", "predictive_pit")


class Sizes:
    """Sizes of what the jobs of an experiment write.

    Args:
        experiment: The experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.problem = build_problem(experiment)
        self._methods: dict[str, Posterior] = {}
        self._scores: dict[tuple, Mapping[str, tuple[tuple[str, ...], int]]] = {}

    def bytes(self, job: Job) -> int:
        """The bytes that a job writes.

        Args:
            job: A job of the experiment.
        """
        if job.rule == "climatology":
            return self.library * (prod(self.problem.shape) * SINGLE + MARK)
        if job.rule == "simulate":
            return self._of("states" if job.name == "train" else "twin", self._simulated(job.name), case=job.cases)
        if job.rule in ("train", "train_on_nodes"):
            return self.weights(job.name)
        if job.rule in ("sample", "assimilate", "reference"):
            return self._drawn(job)
        if job.rule == "classify":
            return 2 * (2 + len(RATES)) * SINGLE
        if job.rule == "evaluate":
            return sum(self._score_bytes(job.name, case=job.cases).values())
        if job.rule == "aggregate":
            return self._joined(job.cases)
        return 0

    @property
    def library(self) -> int:
        """The number of states of the library."""
        settings = self.experiment.climatology
        return 0 if settings is None else settings.states + settings.held_out

    def method(self, name: str) -> Posterior:
        """A method, made once; those that differ in their seeds are one."""
        group = self.experiment.methods[name].group or name
        if group not in self._methods:
            self._methods[group] = self._made(name)
        return self._methods[group]

    def estimator(self, name: str) -> Learned:
        """The estimator that a method trains or draws with."""
        method = self.method(name)
        found = method.estimator if isinstance(method, Refined) else method
        if not isinstance(found, Learned):
            raise TypeError(f"{name} is no estimator")
        return found

    def weights(self, name: str) -> int:
        """The bytes of an estimator's weights and statistics."""
        values = self.estimator(name).state_dict().values()
        return sum(value.numel() * (SINGLE if value.is_floating_point() else value.element_size()) for value in values)

    def times(self, name: str) -> range:
        """The states that a method draws, by number; all of a reference, which has no name."""
        method = self.method(name) if name else None
        if isinstance(method, Sequential):
            return method.steps
        if isinstance(method, Estimator) and isinstance(method.target, StateTarget):
            return range(method.target.first(self.problem), self.problem.steps)
        return range(self.problem.steps)

    def draws(self, job: Job) -> int:
        """The draws per case of a job that draws, or of that whose draws it scores."""
        settings = self.experiment.reference
        if job.rule == "reference" and settings is not None:
            return settings.samples * settings.runs
        return self.experiment.draws(job.name)

    def numbers(self, job: Job) -> int:
        """The numbers in the states of all draws of a job."""
        return job.cases * self.draws(job) * len(self.times(job.name)) * prod(self.problem.shape)

    def _made(self, name: str) -> Posterior:
        made = build_baseline(self.experiment, name, self.problem)
        refinement = self.experiment.methods[name].refinement
        return made if refinement is None else refined(made, refinement, f"methods.{name}.refines")

    @cached_property
    def _sites(self) -> dict[str, int]:
        """The sizes of the dimensions of a state and of an observation."""
        return sites_of(self.problem) | {"parameter": len(self.problem.parameters)}

    def _of(self, kind: str, variables: list[str], **sizes: int) -> int:
        """The bytes of some variables of a kind of file."""
        return SINGLE * sum(prod(self._shape(kind, name, sizes).values()) for name in variables)

    def _shape(self, kind: str, name: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """The dimensions of a variable, with their sizes."""
        shape = self.problem.observation.shape if name in OBSERVED else self.problem.shape
        every = {**self._sites, "time": self.problem.steps, **sizes}
        return {dim: every[dim] for dim in dims(kind, name, len(shape) - 1)}

    def _simulated(self, split: str) -> list[str]:
        """The variables of a shard of simulations."""
        problem = self.problem
        there = {
            "theta": bool(problem.parameters),
            "background": problem.has_background,
            "background_std": problem.has_background,
            "start": bool(problem.start[1]),
            "observation": split != "train",
            "observation_std": split != "train",
        }
        return ["state", *(name for name, is_there in there.items() if is_there)]

    def _variables(self, name: str, rule: str) -> list[str]:
        """The variables of a file of draws, beside diagnostics."""
        problem, method, times = self.problem, self.method(name) if name else None, self.times(name)
        # A truth of another system has no parameters, and then no density.
        dense = isinstance(method, DensityEstimator) and not (self.experiment.truth is not None and problem.parameters)
        asked = not isinstance(method, ContinuousFlow) or method.density
        whole = times.start == 0
        there = {
            "theta": bool(problem.parameters),
            "log_likelihood": whole,
            "log_q": isinstance(method, DensityEstimator) and asked,
            "truth_log_q": dense,
            "predictive_pit": rule != "reference",
            "model_residual": isinstance(method, Learned) and len(times) > 1,
            "transition_gap": rule != "reference" and whole and self._has_density and len(times) > 1,
        }
        return ["state", *(variable for variable, is_there in there.items() if is_there)]

    @cached_property
    def _has_density(self) -> bool:
        """Whether transitions of the model have a density."""
        problem = self.problem
        if problem.system.stochastic or problem.cycles > 1 or not problem.weak:
            return False
        root = problem.error_root(torch.zeros(1))
        return root is not None and root.full

    def _drawn(self, job: Job) -> int:
        """The bytes of draws."""
        sizes = {"case": job.cases, "sample": self.draws(job), "time": len(self.times(job.name))}
        runs = DOUBLE * sizes["sample"] if job.rule == "reference" else 0
        return self._of("posterior", self._variables(job.name, job.rule), **sizes) + runs

    def _score_bytes(self, name: str, **sizes: int) -> dict[str, int]:
        """The bytes of each score of a method."""
        every = {**self._sites, **sizes}
        return {
            score: size * prod(every.get(dim, 1) for dim in names)
            for score, (names, size) in self._scored(name).items()
        }

    def _scored(self, name: str) -> Mapping[str, tuple[tuple[str, ...], int]]:
        """The scores of a method: the dimensions that experiments have, and the bytes of an entry with all others.

        They are those of a dataset of the same variables on a grid of a few sites, which is never computed.
        """
        samples, times = self.experiment.draws(name), self.times(name)
        variables = tuple(self._variables(name, "sample"))
        key = samples, times, variables
        if key not in self._scores:
            posterior = self._tried("posterior", variables, times, sample=samples)
            twin = self._tried("twin", tuple(self._simulated("test")), range(self.problem.steps))
            end = self.problem.length - 1
            held = None
            if (settings := self.experiment.reference) is not None:
                own = tuple(self._variables("", "reference"))
                held = self._tried("posterior", own, times, sample=settings.samples * settings.runs)
                numbers = np.repeat(np.arange(settings.runs), settings.samples)
                held = held.assign(run=("sample", numbers), info_gap=("case", np.zeros(1)))
            found = evaluate(twin, posterior, held, times.index(end) if end in times else None)
            self._scores[key] = {str(score): self._entry(values) for score, values in found.data_vars.items()}
        return self._scores[key]

    def _entry(self, values: xr.DataArray) -> tuple[tuple[str, ...], int]:
        """The dimensions of a score that are the experiment's own, and the bytes of an entry along all others."""
        own = tuple(str(dim) for dim in values.dims if dim in {*self._sites, "case"} - {"parameter"})
        # Scores are at all times of the twin.
        others = {**values.sizes, "time": self.problem.steps, "wavenumber": self._shells}
        size = SINGLE if values.dtype == np.float64 else values.dtype.itemsize
        return own, size * prod(others[dim] for dim in values.dims if dim not in own)

    @cached_property
    def _shells(self) -> int:
        """The number of shells of wave numbers, up to the corner of the grid."""
        lengths = self.problem.system.lengths
        return shells(self.problem.shape[1:], lengths) if lengths else 1

    def _tried(self, kind: str, variables: tuple[str, ...], times: range, **sizes: int) -> xr.Dataset:
        """A dataset of one case on a grid of a few sites, which is never computed."""
        from dask.array import zeros

        small = {**sizes, "case": 1, "time": len(times)}
        grid = {name: min(size, TRIED) for name, size in self._sites.items() if name[-1] in "xy"}
        found = {}
        for name in variables:
            shape = self._shape(kind, name, {**grid, **small})
            found[name] = (tuple(shape), zeros(tuple(shape.values()), np.float32, tuple(shape.values())))
        coordinates = {}
        for name, value in own_coordinates(self.problem, np.arange(1), times).items():
            variable = xr.as_variable(value) if isinstance(value, xr.Variable) else xr.Variable(*value)
            coordinates[name] = variable.isel({dim: slice(TRIED) for dim in variable.dims if dim in grid})
        return xr.Dataset(found, coordinates)

    def _joined(self, cases: int) -> int:
        """The bytes of the scores of all methods side by side: what one has, all have."""
        largest: dict[str, int] = {}
        for name in self.experiment.methods:
            for score, size in self._score_bytes(name, case=cases).items():
                largest[score] = max(size, largest.get(score, 0))
        classified = 2 * (2 + len(RATES)) * SINGLE if self.experiment.classified() else 0
        return len(self.experiment.methods) * (sum(largest.values()) + classified)
