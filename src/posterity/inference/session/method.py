"""Methods as people handle them: from a twin to draws, both datasets; and estimators, which are fitted before."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
import xarray as xr
from pydantic import ValidationError

from ... import __version__, problems
from ...baselines.cycling import cycled
from ...data import accept
from ...data.artifacts import description
from ...data.stream import Shards
from ...data.weights import read_weights, write_training
from ...errors import ConfigError
from ...estimators import Learned
from ...experiment import catalog
from ...experiment.component import Component, line
from ...experiment.sections import TrainingConfig
from ...problems import Posterior
from ...rules import construct, obey
from ...tensors import own_random_numbers
from ..cases import Cases, training_batches, validation
from ..components import component_of, options_of
from ..densities import density_of, refined
from ..devices import device_name, on_device
from ..draws import drawn
from ..observed import AS_IT_IS, Reading, observe, one_window
from ..problem import simulated
from ..progress import progress
from ..training import run, summary, training_of
from .descriptions import configuration, problem_of

log = logging.getLogger("posterity")

#: Draws per case, unless others are asked for.
SAMPLES = 1000


class Method:
    """A method of a problem: draws from the posterior of each case of a twin.

    Args:
        name: What datasets and messages call it.
        problem: The problem.
        build: Makes the method for a problem, that of one window or of more.
        kind: Its class.
        samples: Draws per case, unless others are asked for; if None a thousand, or all that differ if those are fewer.
        reading: How times of twins that the package did not make are read.
    """

    def __init__(
        self,
        name: str,
        problem: problems.Problem,
        kind: type[Posterior],
        build: Callable[[problems.Problem], Posterior],
        samples: int | None = None,
        reading: Reading = AS_IT_IS,
    ) -> None:
        self.name, self.problem, self.kind, self.samples, self.reading = name, problem, kind, samples, reading
        self._build = build
        # What cannot be built is refused here, and not when it draws.
        self._for(problem)

    def __repr__(self) -> str:
        """Its name and its class."""
        return f"{type(self).__name__}({self.name!r}: {self.kind.__name__})"

    def assimilate(
        self, twin: xr.Dataset, samples: int | None = None, seed: int = 0, device: str = "auto"
    ) -> xr.Dataset:
        """Draws from the posterior of every case of a twin.

        Args:
            twin: A ``twin`` dataset, of :meth:`Problem.twins` or of your own observations; it needs no truth.
            samples: Draws per case; those of the method if None.
            seed: The seed; the random numbers of others stay as they are.
            device: Where to compute: ``cpu``, ``cuda``, or ``auto`` for the GPU if there is one.

        Returns:
            A ``posterior`` dataset: ``state(case, sample, time, channel, …)``, ``theta(case, sample, parameter)``, …;
            see :mod:`posterity.data.schema`.

        Raises:
            ConfigError: If the method refuses.
            DataError: If the twin does not fit the problem.
        """
        self.check_ready()
        title = f"{self.name}: draws of {accept(twin, 'twin', 'twin').sizes['case']} cases"
        with on_device(device) as chosen, progress(title):
            observed = observe(twin, self.problem, "twin", chosen, self.reading)
            if self.kind.trained:
                observed = one_window(observed, "twin", self.name)
            posterior = self._for(observed.problem)
            count = self._count(posterior) if samples is None else samples
            draws = drawn(posterior, self.name, observed, count, seed, density_of(posterior))
        attributes = {"experiment": "", "method": self.name, "seed": seed, "joint": self.problem.joint}
        return draws.assign_attrs(attributes, version=__version__)

    #: The same, by the name that it has for estimators elsewhere.
    sample = assimilate

    def check_ready(self) -> None:
        """Raises if the method cannot draw yet; one that need not be fitted always can."""

    def _count(self, posterior: Posterior) -> int:
        """The draws per case that are not asked for: as many as differ, of methods that have fewer than others."""
        if self.samples is not None:
            return self.samples
        return SAMPLES if posterior.distinct is None else min(SAMPLES, posterior.distinct)

    def _for(self, problem: problems.Problem) -> Posterior:
        """The method for a problem of some number of windows."""
        try:
            return cycled(problem, self.kind, self._build)
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error


class LearnedMethod(Method):
    """An estimator: a method that is fitted to draws of the problem before it draws itself.

    ``history`` has a record of each epoch of its training, and ``description`` what the training was.
    """

    def __init__(
        self,
        name: str,
        problem: problems.Problem,
        kind: type[Posterior],
        build: Callable[[problems.Problem], Posterior],
        samples: int | None = None,
        reading: Reading = AS_IT_IS,
        settings: TrainingConfig | None = None,
        configuration: Callable[[], Mapping[str, Any]] = dict,
        sizes: tuple[int, int] = (8192, 1024),
    ) -> None:
        self.settings = TrainingConfig() if settings is None else settings
        self._configuration, self._sizes = configuration, sizes
        self.history: list[dict[str, float]] = []
        self.description: dict[str, Any] = {}
        with own_random_numbers(0):
            self.posterior = cast(Learned, build(problem))
        self._new = build
        super().__init__(name, problem, kind, lambda _: self.posterior, samples, reading)

    def fit(
        self, train: xr.Dataset | None = None, valid: xr.Dataset | None = None, *, cases: int | None = None,
        seed: int = 0, device: str = "auto", **training: Any,
    ) -> Self:  # fmt: skip
        """Trains the estimator, from new weights.

        Args:
            train: Draws of the problem to train on, a ``twin`` or a ``states`` dataset; drawn if None. Observations of
                the states are drawn anew in every epoch.
            valid: Twins that weights are chosen by; drawn if None.
            cases: The number of draws to train on, where they are drawn; an eighth as many choose the weights.
            seed: The seed of draws, weights and training; the random numbers of others stay as they are.
            device: Where to compute: ``cpu``, ``cuda``, or ``auto`` for the GPU if there is one.
            training: What ``training`` has in experiment files: ``minutes``, ``epochs``, ``batch``, ``learning_rate``,
                ``patience``, …

        Returns:
            Itself, ready to draw.

        Raises:
            ConfigError: If there is no such setting, or the estimator does not suit the problem.
            DataError: If datasets do not fit the problem.
            PosterityError: If the loss stops being finite.
        """
        settings = self._settings(training)
        sizes = self._sizes if cases is None else (cases, max(1, cases // 8))
        with on_device(device) as chosen, own_random_numbers(seed):
            estimator = cast(Learned, self._new(self.problem)).to(chosen)
            obey(self.problem, {self.name: estimator.differentiates})
            learned, judged = (
                self._cases(data, size, part, seed + part, chosen)
                for part, (data, size) in enumerate(zip((train, valid), sizes, strict=True), start=1)
            )
            fitting = training_of(estimator, self.problem, settings, seed)
            try:
                batches = training_batches(learned, settings, seed, fitting.processes)
            except ValueError as error:
                raise ConfigError(f"{self.name}.training.{error}") from error
            run(fitting, batches, validation(judged, settings.batch, fitting.processes), self.name)
        self.posterior, self.history = estimator, fitting.history
        self.description = summary(fitting) | {"device": device_name(chosen)}
        self.settings = settings
        return self

    def check_ready(self) -> None:
        """Raises if it was neither fitted nor loaded.

        Raises:
            ConfigError: If it was not.
        """
        if not self.posterior.ready:
            raise ConfigError(f"{self.name}: is not trained, and has nothing to draw by; call .fit(), or .load(folder)")

    def save(self, folder: str | Path) -> None:
        """Writes weights, the history of the training, and what both are, as ``posterity train`` does.

        Warns if problem or options have parts that cannot be written down, as an object of a class of the session.

        Args:
            folder: The folder; :func:`load_estimator` reads it.

        Raises:
            ConfigError: If the estimator is not trained.
            DataError: If the folder cannot be written.
        """
        self.check_ready()
        try:
            told = json.dumps(self._configuration())
        except ConfigError as error:
            log.warning("%s: weights alone are written: %s", folder, error)
            told = json.dumps(None)
        made = {"method": self.name, "configuration": told, "library": self.problem.library is not None}
        write_training(Path(folder), self.posterior, self.history, self.description | made)

    def load(self, folder: str | Path, device: str = "auto") -> Self:
        """Takes the weights that :meth:`save` or ``posterity train`` wrote.

        Args:
            folder: The folder.
            device: Where to compute.

        Returns:
            Itself, ready to draw.

        Raises:
            DataError: If they are missing, damaged, or those of other networks.
        """
        with on_device(device) as chosen:
            self.posterior = self.posterior.to(chosen)
            read_weights(self.posterior, Path(folder), chosen, self.name, "train it again")
        self.posterior.eval()
        return self

    def refine(self, refinement: str | Mapping[str, Any] | Component, name: str = "") -> Method:
        """A method whose draws are those of this estimator, refined by what is known of the posterior.

        Args:
            refinement: How: a name of the catalogue, ``importance`` or ``hmc``, or a kind with options.
            name: What datasets and messages call it.

        Raises:
            ConfigError: If there is no such refinement, or the estimator has no density.
        """
        component = component_of("refinement", refinement)
        key = name or f"{self.name}-{component.kind}"
        return Method(
            key, self.problem, self.kind, lambda _: refined(self.posterior, component, key), self.samples, self.reading
        )

    def _settings(self, training: Mapping[str, Any]) -> TrainingConfig:
        """The settings of the training, some of them replaced."""
        try:
            return TrainingConfig.model_validate({**self.settings.model_dump(), **training})
        except ValidationError as error:
            raise ConfigError(f"{self.name}.training: {'; '.join(map(line, error.errors()))}") from None

    def _cases(self, data: xr.Dataset | None, size: int, part: int, seed: int, device: torch.device) -> Cases:
        """The cases of a training set, or of a validation set, drawn if there is none."""
        kind, source = ("states", "train") if part == 1 else ("twin", "valid")
        if data is None:
            with progress(f"{self.name}: {size} draws of the problem"):
                data = simulated(self.problem, size, seed, observations=kind == "twin", source=source)
        return Cases(Shards({source: accept(data, kind, source)}), self.problem, device)


def method(
    kind: str | Mapping[str, Any] | type[Posterior], problem: problems.Problem, name: str = "", **options: Any
) -> Any:
    """A method of a problem, by name or by class.

    Args:
        kind: A name of the catalogue (``posterity list methods``), a kind with options as in experiment files, or a
            class.
        problem: The problem.
        name: What datasets and messages call it; its kind if empty.
        options: Options of its constructor; those that are components may be names, kinds with options, or objects.

    Returns:
        A :class:`Method`; a :class:`LearnedMethod` if it must be fitted first.

    Raises:
        ConfigError: If there is no such method or option (the message names the nearest), it refuses a value, or it
            targets another posterior than the problem's.
    """
    chosen: Any = kind
    if isinstance(kind, Mapping):
        chosen, options = str(kind.get("kind")), {**kind.get("options", {}), **options}
    cls: type[Posterior] = catalog.resolve("method", chosen) if isinstance(chosen, str) else chosen
    name = name or (chosen if isinstance(chosen, str) else cls.__name__)
    given = options_of("method", chosen, cls, options)

    def build(posed: problems.Problem) -> Posterior:
        try:
            return cast(Posterior, construct("method", cls, cls.pose(posed), **given))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from error

    if cls.trained:
        told = partial(configuration, problem, name, chosen, options)
        return LearnedMethod(name, problem, cls, build, configuration=told)
    return Method(name, problem, cls, build)


def load_estimator(folder: str | Path) -> LearnedMethod:
    """An estimator that :meth:`LearnedMethod.save` or ``posterity train`` wrote, ready to draw.

    Args:
        folder: The folder.

    Raises:
        ConfigError: If its problem cannot be made from the folder alone.
        DataError: If the weights are missing or damaged.
    """
    found = description(Path(folder), ["method", "configuration", "library"])
    remedy = f"make the method of its problem, and call .load({str(folder)!r})"
    if found["library"]:
        raise ConfigError(f"{folder}: its problem draws from a library of states, which is elsewhere; {remedy}")
    told = json.loads(found["configuration"])
    if told is None:
        raise ConfigError(f"{folder}: its problem or options have parts that could not be written down; {remedy}")
    name = found["method"]
    kind = {key: told[f"methods.{name}.{key}"] for key in ("kind", "options")}
    learned = method(kind, problem_of(told), name)
    return cast(LearnedMethod, learned).load(folder)
