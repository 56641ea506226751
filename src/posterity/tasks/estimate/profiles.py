"""What a profile of the workflow asks for, rule by rule. Imports no torch."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ...errors import ConfigError, nearest

#: The folder of profiles that are named without a path, and the names that Snakemake gives their files.
PROFILES, FILES = Path("profiles"), ("profile.yaml", "config.v9+.yaml", "config.v8+.yaml", "config.yaml")

#: What expressions of resources may do.
OPERATIONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}

#: Minutes of units of time.
UNITS = {"d": 1440.0, "h": 60.0, "m": 1.0, "min": 1.0, "s": 1 / 60}


class Limits(NamedTuple):
    """What a job may have; None where the profile does not say.

    Args:
        minutes: The time of an attempt.
        memory: Bytes.
        gpus: The number of GPUs.
        threads: The number of cores.
    """

    minutes: float | None
    memory: float | None
    gpus: int
    threads: int


class Profile:
    """A profile of Snakemake.

    Args:
        name: Its folder, or the name of one in ``profiles``.

    Raises:
        ConfigError: If there is none, or it is no YAML.
    """

    def __init__(self, name: str) -> None:
        folders = [Path(name), PROFILES / name]
        files = [file for folder in folders for kind in FILES if (file := folder / kind).is_file()]
        if not files:
            known = [path.name for path in PROFILES.glob("*") if any((path / kind).is_file() for kind in FILES)]
            raise ConfigError(f"--profile: there is no profile '{name}'{nearest(Path(name).name, known)}")
        self.file = files[0]
        try:
            self._content = yaml.safe_load(self.file.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{self.file}: is not YAML: {error}") from None
        if not isinstance(self._content, dict):
            raise ConfigError(f"{self.file}: must be a mapping of keys such as 'jobs' and 'default-resources'")

    @property
    def queued(self) -> int | None:
        """The jobs that it lets into the queue at a time; None if it does not say."""
        found = self._content.get("jobs", self._content.get("cores"))
        return found if isinstance(found, int) else None

    @property
    def attempts(self) -> int:
        """How often a job is tried."""
        return 1 + int(self._content.get("retries", 0))

    def limits(self, rule: str, attempt: int = 1) -> Limits:
        """What a job of a rule may have in some attempt."""
        own = {
            **_mapping(self._content, "default-resources"),
            **_mapping(_mapping(self._content, "set-resources"), rule),
        }
        values = {name: _value(value, attempt) for name, value in own.items()}
        minutes, memory, gpus = (values.get(name) for name in ("runtime", "mem_mb", "gpu"))
        threads = _value(_mapping(self._content, "set-threads").get(rule, 1), attempt)
        return Limits(minutes, None if memory is None else memory * 2**20, int(gpus or 0), int(threads or 1))


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A mapping in a profile, which may be written as a list of ``name=value``."""
    found = content.get(key) or {}
    if isinstance(found, list):
        found = dict(str(part).split("=", 1) for part in found if "=" in str(part))
    return found if isinstance(found, dict) else {}


def _value(value: Any, attempt: int) -> float | None:
    """The number of a resource; None of what is no number, or depends on more than the attempt."""
    if isinstance(value, int | float):
        return float(value)
    if duration := re.fullmatch(r"(\d+\.?\d*) ?(d|h|m|min|s)", str(value)):
        return float(duration[1]) * UNITS[duration[2]]
    try:
        return float(_computed(ast.parse(str(value), mode="eval").body, attempt))
    except (SyntaxError, TypeError, ValueError, ZeroDivisionError):
        return None


def _computed(node: ast.AST, attempt: int) -> float:
    """The value of an expression of numbers and of the attempt; nothing else is run."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name) and node.id == "attempt":
        return attempt
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_computed(node.left, attempt), _computed(node.right, attempt))
    raise ValueError("depends on more than the attempt")
