"""Calls of the command line, answered by a process that has imported torch already: it forks for each of them.

The pieces of a batch (``workflow/rules/batches.smk``) take seconds, of which some four would be imports. Each call still has
a process of its own, with an end of its own, and finds there what it would find in a new one.
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn

#: The variable that names the socket, in a folder that is this user's alone. The name of the socket is the number of the
#: process that the worker ends with.
ADDRESS = "POSTERITY_WORKER"

#: Seconds after which a call that finds no worker goes without.
PATIENCE = 20.0

#: What tasks import late, in the order of the seconds that it takes.
LATE = ("distributed", "dask.array")


def call(arguments: Sequence[str]) -> int | None:
    """Has the worker answer a call; the first call starts it.

    Args:
        arguments: Those of the command line.

    Returns:
        The exit status; None if there is no worker.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        if not _connect(connection, os.environ[ADDRESS]):
            return None
        said = {"arguments": list(arguments), "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(connection, [b" "], [0, 1, 2])
        connection.sendall(json.dumps(said).encode())
        connection.shutdown(socket.SHUT_WR)
        status = connection.recv(1)
    # Who was killed, by a limit of memory for example, says nothing.
    return status[0] if status else 1


def _connect(connection: socket.socket, address: str) -> bool:
    """Connects with the worker, which is started if it is not there; whether it is."""
    deadline = monotonic() + PATIENCE
    started = False
    while monotonic() < deadline:
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            if not started:
                # With the environment of this call: libraries read numbers of threads when they are loaded.
                subprocess.Popen([sys.executable, "-m", __name__, address], start_new_session=True)
                started = True
            sleep(0.02)
        else:
            return True
    return False


def serve(address: str) -> None:
    """Answers calls until the process ends that the socket is named after.

    Args:
        address: The socket.
    """
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.{os.getpid()}")
    listening.listen()
    os.replace(f"{address}.{os.getpid()}", address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    end = os.pidfd_open(int(Path(address).name))
    while end not in select.select([listening, end], [], [])[0]:
        connection, _ = listening.accept()
        with connection:
            _, streams, _, _ = socket.recv_fds(connection, 1, 3)
            with connection.makefile("rb") as stream:
                said = json.load(stream)
            _prepare(said["arguments"])
            if os.fork() == 0:
                _answer(connection, streams, said)
        for number in streams:
            os.close(number)


def _prepare(arguments: Sequence[str]) -> None:
    """Imports what a call needs, for it and for all that come."""
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    for module in (f"{__package__}.cli", f"{__package__}.tasks.{verb}", *LATE):
        # The call itself says what is amiss.
        with suppress(Exception):
            importlib.import_module(module)


def _answer(connection: socket.socket, streams: Sequence[int], said: Mapping[str, Any]) -> NoReturn:
    """Does what is called for, with the streams, the folder and the environment of the caller, and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status: Any = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(said["folder"])
        os.environ.clear()
        os.environ.update(said["environment"])
        sys.argv[1:] = said["arguments"]
        from .cli import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([status if isinstance(status, int) else 1]))
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
