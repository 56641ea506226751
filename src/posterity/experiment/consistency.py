"""What an experiment file must hold beyond the types of its keys. Imports no torch."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..errors import nearest
from . import catalog
from .component import check
from .sections import MethodConfig

if TYPE_CHECKING:
    from .experiment import Experiment


#: The characters of names of experiments, variants and methods, since folders are named by them.
LETTERS = "letters, digits, '-' and '_'"


def is_name(name: str) -> bool:
    """Whether a name may be that of a folder."""
    return name.replace("-", "").replace("_", "").isalnum()


def broken(experiment: "Experiment") -> Iterator[str]:
    """What is wrong with an experiment, all of it at once.

    Args:
        experiment: The experiment.

    Yields:
        A message for each thing that is wrong, with the key.
    """
    for holds in _checks(experiment):
        try:
            holds()
        except ValueError as error:
            yield str(error)


def _checks(experiment: "Experiment") -> Iterator[Callable[[], None]]:
    """All that a file must hold, each by itself."""
    yield partial(_numbers, experiment)
    yield partial(check, "system", experiment.system, "system")
    for group, components in (("operator", experiment.observation.operator), ("mask", experiment.observation.mask)):
        for index, component in enumerate(components):
            yield partial(check, group, component, f"observation.{group}.{index}")
    for key, correlation in experiment.correlations().items():
        yield partial(check, "correlation", correlation, key)
    if experiment.truth is not None:
        yield partial(check, "system", experiment.truth, "truth")
    for name, prior in experiment.parameters.items():
        yield partial(check, "prior", prior, f"parameters.{name}")
    if experiment.reference is not None:
        yield partial(check, "method", experiment.reference, "reference")
    if experiment.classifier is not None and experiment.classifier.network is not None:
        yield partial(check, "network", experiment.classifier.network, "classifier.network")
    yield partial(_figures, experiment)
    yield partial(_cycles, experiment)
    for name, method in experiment.methods.items():
        yield partial(_refined, experiment, name, method)
        yield partial(_weights, experiment, name, method)
        yield partial(check, "method", method, f"methods.{name}")


def _numbers(experiment: "Experiment") -> None:
    """Checks prior and starts, and that there are methods, by names that may be those of folders."""
    if experiment.prior.joint == "background" and experiment.prior.std is None and experiment.prior.correlation is None:
        raise ValueError("prior.std: the background joint needs one; only the climatology joint goes without")
    if not 0 <= experiment.starts()[0] <= experiment.starts()[1]:
        raise ValueError(f"start: needs 0 <= first <= last, not {list(experiment.starts())}")
    if not experiment.methods:
        raise ValueError("methods: name at least one")
    for name in experiment.methods:
        if not is_name(name):
            raise ValueError(f"methods.{name}: names are made of {LETTERS}")


def _figures(experiment: "Experiment") -> None:
    """Checks that figures are known and show something, and that the standard is a method."""
    if (standard := experiment.figures.standard) is not None and standard not in experiment.methods:
        raise ValueError(f"figures.standard: there is no method '{standard}'{nearest(standard, experiment.methods)}")
    only, without = experiment.figures.only, experiment.figures.without
    if only is not None and without:
        raise ValueError("figures.without: 'only' names all figures that are drawn: remove one of the two")
    known = catalog.names("figure")
    for key, names in (("only", only or ()), ("without", without)):
        for name in names:
            if name not in known:
                raise ValueError(f"figures.{key}: there is no figure '{name}'{nearest(name, known)}")
    for name in only or ():
        if name not in experiment.figures_shown():
            raise ValueError(f"figures.only: '{name}' shows nothing of this experiment; remove it")


def _cycles(experiment: "Experiment") -> None:
    """Checks the number of cycles, and that nothing is asked of several that takes one window."""
    if experiment.burn_in >= experiment.cycles > 1 or (experiment.cycles == 1 and experiment.burn_in):
        raise ValueError(f"burn_in: leaves nothing of {experiment.cycles} cycles; make it smaller")
    if experiment.cycles == 1:
        return
    if experiment.forecast:
        raise ValueError("forecast: not supported with cycles > 1 (the next window follows); set it to 0")
    if experiment.reference is not None:
        raise ValueError("reference: not supported with cycles > 1 (it is the posterior of one window); remove it")
    if trained := experiment.trained():
        raise ValueError(f"methods.{trained[0]}: estimators see one window, so not with cycles > 1; remove it")


def _refined(experiment: "Experiment", name: str, method: MethodConfig) -> None:
    """Checks that a method refines a trained method of the experiment."""
    if method.refines is None or method.refinement is None:
        return
    if method.refines not in experiment.trained():
        raise ValueError(
            f"methods.{name}.refines: there is no trained method '{method.refines}'"
            f"{nearest(method.refines, experiment.trained())}"
        )
    check("refinement", method.refinement, f"methods.{name}.refinement")


def _weights(experiment: "Experiment", name: str, method: MethodConfig) -> None:
    """Checks that a method draws with the weights of a trained method, where that is one of the experiment."""
    if method.weights is None or "/" in method.weights or method.weights in experiment.trained():
        return
    raise ValueError(
        f"methods.{name}.weights: there is no trained method '{method.weights}'"
        f"{nearest(method.weights, experiment.trained())}"
    )
