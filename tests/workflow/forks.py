"""A ``python`` that has imported the large packages already, for tests that run hundreds of short processes.

A server imports what the workflow and its jobs need of other packages, nothing of this one, and forks for each request.
The command that stands for ``python`` asks it to run ``-m MODULE ARGUMENTS``, or a script, with its own folder,
environment and streams, and ends as that does; beside it are ``posterity`` and ``snakemake``.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from shlex import quote
from typing import NoReturn

PACKAGES = (
    "torch", "numpy", "scipy.special", "scipy.stats", "pandas", "xarray", "netCDF4", "dask.array", "distributed",
    "numba", "pydantic", "yaml", "typer", "rich.console", "safetensors.torch", "matplotlib.pyplot", "snakemake.cli",
)  # fmt: skip


@functools.cache
def python() -> str:
    """The path of the command; its server ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="forks-")
    listening, command = commands(Path(folder.name))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    python.server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(listening.fileno())],
        env=environment, stdin=subprocess.PIPE, pass_fds=[listening.fileno()], start_new_session=True,
    )  # fmt: skip
    listening.close()
    python.folder = folder  # which goes with this process
    return command


def commands(folder: Path) -> tuple[socket.socket, str]:
    """Writes the command and those beside it into a folder; returns the socket that it asks, and its path."""
    address, command = f"{folder}/socket", f"{folder}/python"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    usual, client = quote(sys.executable), f"{quote(sys.executable)} -IS {quote(__file__)} ask {address}"
    scripts = {"python": f'case "$1" in -m | *.py) exec {client} "$0" "$@";; esac\nexec {usual} "$@"'}
    scripts |= {name: f'exec {command} -m {name} "$@"' for name in ("posterity", "snakemake")}
    for name, lines in scripts.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{lines}\n")
        script.chmod(0o755)
    return listening, command


def serve(listening: socket.socket) -> None:
    """Answers requests until whoever started this has ended, which closes its standard input."""
    for name in PACKAGES:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads do not survive a fork"
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keep(connection)
        connection.close()


def keep(connection: socket.socket) -> NoReturn:
    """Does what is asked in a process, says how that ended, and ends it if nobody waits for it any more."""
    said, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
    while not said.endswith(b"\n") and (more := connection.recv(1 << 20)):
        said += more
    worker = os.fork()
    if worker == 0:
        connection.close()
        run(json.loads(said), streams)
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    if connection in select.select([connection, os.pidfd_open(worker)], [], [])[0]:
        os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    connection.send(str(code).encode())
    os._exit(0)


def run(request: dict, streams: list[int]) -> NoReturn:
    """Becomes the process that was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    command, *arguments = request["arguments"]
    script = arguments[0] != "-m"
    module, *arguments = arguments if script else arguments[1:]
    sys.executable = command
    sys.path[0] = request["folder"]
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(":"))
    sys.argv = [module, *arguments]
    try:
        if script:
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As the interpreter ends, but for taking apart all that was imported.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ask(address: str, arguments: list[str]) -> int:
    """Has the server run something; returns how it ended."""
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        said = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [said], [0, 1, 2])
        connection.sendall(said[sent:])
        code = int(connection.recv(16) or b"1")
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
