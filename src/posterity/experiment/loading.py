"""Reading of experiment files."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ..errors import ConfigError
from .component import line
from .consistency import LETTERS, is_name
from .experiment import Experiment
from .files import locate, tree, variants
from .lending import check_lent, lenders


def load(experiment: str | Path) -> Experiment:
    """Reads an experiment file, and those that it extends.

    Args:
        experiment: A path, or the name of a file in ``config/experiments``; of a file with variants, followed by a
            slash and the name of one.

    Returns:
        The experiment.

    Raises:
        ConfigError: If a file is missing, is not YAML, or has keys or values that make no sense; the message names
            the file, the key and the remedy.
    """
    return _load(experiment)


def _load(experiment: str | Path, below: tuple[str, ...] = ()) -> Experiment:
    """Loads an experiment; ``below`` are those that draw with its weights."""
    path, variant = locate(experiment)
    content = tree(path, variant)
    if not all(map(is_name, (path.stem, variant) if variant else (path.stem,))):
        raise ConfigError(f"{path}: rename it: names of experiments are made of {LETTERS}")
    if "name" in content:
        raise ConfigError(f"{path}: name: an experiment is named by its file; remove the key")
    where = f"{path}/{variant}" if variant else str(path)
    if where in below:
        raise ConfigError(f"{where}: draws with weights of its own, by way of {', '.join(below)}; remove one 'weights'")
    try:
        content, lent = lenders(content, path, lambda lender: _load(lender, (*below, where)))
        found = Experiment.model_validate({**content, "name": f"{path.stem}/{variant}" if variant else path.stem})
        found.lenders.update(lent)
        check_lent(found)
    except ValidationError as error:
        lines = [text for problem in error.errors() for text in line(problem).split("\n")]
        raise ConfigError("\n".join(f"{where}: {text}" for text in lines)) from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: methods.{error}") from None
    return found


def every(experiment: str | Path, beside: Path | None = None) -> Iterator[tuple[str, Experiment]]:
    """The experiments that a file stands for: itself, or each of its variants.

    Args:
        experiment: A path, or the name of a file in ``config/experiments``; one of its variants alone may be named.
        beside: Another folder whose ``config/experiments`` is searched for a name.

    Yields:
        What each is loaded by, and the experiment.
    """
    for source in sources(experiment, beside):
        yield source, load(source)


def sources(experiment: str | Path, beside: Path | None = None) -> list[str]:
    """What the experiments are loaded by that a file stands for.

    Args:
        experiment: A path, or the name of a file; one of its variants alone may be named.
        beside: Another folder whose ``config/experiments`` is searched for a name.

    Raises:
        ConfigError: If there is no such file, or it cannot be read.
    """
    path, variant = locate(experiment, beside)
    names = [variant] if variant else variants(path)
    return [f"{path}/{name}" for name in names] or [str(path)]
