"""How loops are compiled, kept on disk, and shared among threads."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from numba import config, njit
from numba.core import event

if vars(config)["DISABLE_JIT"]:
    raise ImportError("numba compiles nothing, as NUMBA_DISABLE_JIT says")

log = logging.getLogger("posterity")

#: Without its types, which lack options.
_njit: Any = njit
#: Compiles a function that others call, and Python does not.
inner = _njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kept_on_disk(*modules: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compiles a function once for each type of its arguments, until one of some modules beside this one changes.

    Args:
        modules: The names of the modules that are compiled: numba itself looks only at that of the function.
    """
    written = tuple(Path(__file__).with_name(f"{name}.py").stat().st_mtime_ns for name in modules)

    def kept(function: Callable[..., None]) -> Callable[..., None]:
        dispatcher: Any = njit(nogil=True, error_model="numpy", cache=True)(function)
        # Where numba has no such attribute any more, it is the date of the function's module that counts.
        with suppress(AttributeError):
            dispatcher._cache._cache_file._source_stamp = written
        return dispatcher

    return kept


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Says in the log that something is compiled, if it is not found on disk."""
    with event.install_listener("numba:compile", _Announcer(what)):
        yield


class _Announcer(event.Listener):
    """Logs the first compilation that it hears of.

    Args:
        what: What is compiled.
    """

    def __init__(self, what: str) -> None:
        self.what: str | None = what

    def on_start(self, event: Any) -> None:
        """Logs it."""
        if self.what is not None:
            log.info("compiling %s: some seconds, once", self.what)
            self.what = None

    def on_end(self, event: Any) -> None:
        """Does nothing."""


def shared(part: Callable[[int, int], None], members: int, worth: int, lanes: int = 1) -> None:
    """Does something for all members, shared among as many threads as torch has.

    Args:
        part: What to do for the members from a first one to a last one, which is left out.
        members: Their number.
        worth: The number of threads that the work is worth.
        lanes: The number of members that are done at once.
    """
    groups = -(-members // lanes)
    threads = max(1, min(torch.get_num_threads(), groups, worth))
    if threads == 1:
        part(0, members)
        return
    ends = [min(members, lanes * (groups * i // threads)) for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, ends[:-1], ends[1:]))
