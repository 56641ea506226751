"""Errors that a user can mend: shown without a traceback, naming the file or key and the remedy."""

import difflib
from collections.abc import Iterable


class PosterityError(Exception):
    """Something that the user can mend."""


class ConfigError(PosterityError):
    """An experiment file that does not say what to do."""


class DataError(PosterityError):
    """A data file that is not what it should be."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt name, to append to a message: ``; did you mean 'window'?`` or the list of names."""
    names = sorted(names)
    if not names:
        return "; there are none"
    close = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.lower(), names, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names)}"


def check_part(name: str, value: object, kind: type, example: type) -> None:
    """Checks that an option is a component of a kind, and no name of one, as experiment files have it.

    Args:
        name: The option.
        value: Its value.
        kind: The class that it must be of.
        example: One of the classes of that kind.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"{name}: must be of class {kind.__name__}, such as {example.__name__}(), not {value!r}; "
            "only experiment files call components by names"
        )
