"""Components of an experiment file: what their classes are derived from, and the channels that their options name."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import nearest
from ..problems import Channels, Mask, Operator, ParameterPrior, Posterior
from ..systems import System
from .trial import check_structure

#: What the classes of a group are derived from, of groups to which other packages add.
BASES: Mapping[str, type] = {
    "system": System,
    "operator": Operator,
    "mask": Mask,
    "prior": ParameterPrior,
    "method": Posterior,
}


def construct(group: str, cls: Any, *arguments: Any, **options: Any) -> Any:
    """Constructs a component, which must be derived from the class of its group; a system also has its structure.

    An experiment file that names anything else, such as a function that starts programs, is refused.

    Raises:
        TypeError: If it is not derived from that class.
        ValueError: If the constructor refuses a value, or a system lacks what all systems have.
    """
    if group in BASES and not (isinstance(cls, type) and issubclass(cls, BASES[group])):
        raise TypeError(f"is not derived from {BASES[group].__name__}; derive it from that (docs/extending.md)")
    if not (isinstance(cls, type) and any(base.__module__.startswith("posterity.") for base in cls.__mro__)):
        raise TypeError(f"is not derived from a class of posterity; derive it from that of another {group}")
    made = cls(*arguments, **options)
    if isinstance(made, System):
        check_structure(made)
    return made


def numbered(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options of an operator or a mask, with numbers for the names of channels in a list ``channels``.

    Raises:
        ValueError: If there is no channel of a name.
    """
    given = options.get("channels")
    if not isinstance(given, list):
        return dict(options)
    for name in given:
        if isinstance(name, str) and name not in names:
            raise ValueError(f"channels: there is no '{name}'{nearest(name, names)}")
    return {**options, "channels": [names.index(name) if isinstance(name, str) else name for name in given]}


def seen_channels(operator: Operator, names: Sequence[str]) -> list[str]:
    """The names of the channels of an operator's observations; their numbers where they are others than the state's."""
    if isinstance(operator, Channels):
        return [names[channel] for channel in operator.channels]
    count = operator.out_shape[0]
    return list(names) if count == len(names) else [str(channel) for channel in range(count)]
