"""What sources say, kept on disk between processes: by their content, so that no clock and no copy misleads."""

import atexit
import contextlib
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from . import source as reading
from .source import Source, read, revived

#: The most sources that are kept: beyond, only those that the last process asked for.
MOST = 4096

#: Those that this process asked for, by the digest of their text.
_ASKED: dict[str, Source] = {}


def source(text: bytes, path: str) -> Source:
    """What a source says.

    Args:
        text: The source.
        path: Where it stands.

    Raises:
        SyntaxError: If it is not Python.
    """
    key = hashlib.sha256(text).hexdigest()
    if key not in _ASKED:
        try:
            _ASKED[key] = revived(_found()[key])
        except (KeyError, TypeError, ValueError, AttributeError):
            _ASKED[key] = read(text, path)
            _keep_at_exit()
    return _ASKED[key]


@cache
def _file() -> Path | None:
    """The file, of its own for each version of Python and of what reads sources; None where there is no home."""
    version = hashlib.sha256(repr(sys.version_info[:2]).encode() + Path(reading.__file__).read_bytes()).hexdigest()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return home / "posterity" / f"sources-{version[:12]}.json"


@cache
def _found() -> dict[str, Any]:
    """What other processes kept."""
    return _load()


def _load() -> dict[str, Any]:
    file = _file()
    try:
        found = json.loads(file.read_bytes()) if file else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _keep_at_exit() -> None:
    atexit.register(_keep)


def _keep() -> None:
    """Adds what this process asked for to what is kept by now; a disk that cannot be written keeps nothing."""
    kept = _load() | _ASKED
    file = _file()
    if file is None:
        return
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(kept if len(kept) <= MOST else _ASKED), encoding="utf-8")
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
