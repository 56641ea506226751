"""Calls of the command line, answered by a process that has imported torch already: it forks for each of them.

The pieces of a batch (:mod:`posterity.batches`) take seconds, of which some four would be imports. Each call has
a process of its own, with an end of its own, and finds there what it would find in a new one.
"""

import atexit
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn

#: The variable that names the socket of the worker.
ADDRESS = "POSTERITY_WORKER"

#: Seconds after which a call that finds no worker goes without.
PATIENCE = 20.0

#: What tasks import late, in the order of the seconds that it takes.
LATE = ("distributed", "dask.array")


def start() -> None:
    """Starts a worker for the calls of this process's children, which ends when this process does."""
    # Nobody else may open this folder.
    folder = tempfile.mkdtemp(prefix="posterity.")
    os.environ[ADDRESS] = str(Path(folder, "socket"))
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    worker = subprocess.Popen([sys.executable, "-m", __name__], env=environment, stdin=subprocess.PIPE)

    def end() -> None:
        worker.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)


def call(arguments: Sequence[str]) -> int | None:
    """Has the worker answer a call.

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
    """Connects with the worker, which may be about to start; whether it is there."""
    deadline = monotonic() + PATIENCE
    while True:
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            if monotonic() > deadline:
                return False
            sleep(0.02)
        else:
            return True


def serve() -> None:
    """Answers calls until the process ends that holds the other end of the standard input."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.environ[ADDRESS])
    listening.listen()
    signal.signal(signal.SIGCHLD, _bury)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        with connection:
            _, streams, _, _ = socket.recv_fds(connection, 1, 3)
            with connection.makefile("rb") as stream:
                said = json.loads(stream.read())
            # Before the first import: libraries read numbers of threads when they are loaded.
            os.environ.update(said["environment"])
            _prepare(said["arguments"])
            if os.fork() == 0:
                _answer(connection, streams, said)
        for number in streams:
            os.close(number)


def _bury(*_: object) -> None:
    """Takes note of the ends of calls, so that their seconds are accounted for."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


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
    serve()
