"""When a process must end: at a signal, or with the time of its job."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time

#: Seconds before the end of a job in which a training saves its state and stops.
MARGIN = 120

#: What Slurm sends where it takes a job's nodes away, and some time before the end of a job that asked for it.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


@contextmanager
def ending() -> Iterator[Callable[[], bool]]:
    """Holds back the signals that would end this process; what came while they were blocked counts too.

    Yields:
        What tells whether it must end: there was a signal, or the end of its Slurm job is near.
    """
    received: list[int] = []
    # Python lets the main thread alone say what happens at signals.
    caught = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in caught}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, caught)
    end = float(os.environ.get("SLURM_JOB_END_TIME", "inf")) - MARGIN
    try:
        yield lambda: bool(received) or time() > end
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
