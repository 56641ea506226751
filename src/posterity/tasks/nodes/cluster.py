"""Clusters of dask workers: one that somebody has started, or one that lives as long as a task in a job of Slurm."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ... import __version__
from ...errors import ConfigError, PosterityError
from ..training.submission import command
from .blocks import Workers

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("posterity")

#: What stands for workers that a step of the job starts, in the place of a scheduler file.
SLURM = "slurm"

#: Seconds for workers to come, and for them to go.
PATIENCE, GRACE = 120.0, 20.0

#: Bytes for the task itself, on its node, and the fewest for a worker: one without draws takes 0.3 GB.
OWN, LEAST = 1_000_000_000, 800_000_000

#: Settings of workers, which take them from their environment. Results that wait to be fetched go to disk, by default
#: once they fill 60 % of a worker's memory. None pauses: nothing but the end of its block would free its memory.
SETTINGS = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_LOGGING__DISTRIBUTED": "warning",
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}

#: Where workers look for what tells them and their scheduler from others, by the names of dask's settings.
KEYS = {"CA_FILE": "ca_file", "WORKER__CERT": "cert", "WORKER__KEY": "key"}


class Allocation(NamedTuple):
    """What a job of Slurm has got: nodes, tasks, and bytes of memory, None if they are not counted."""

    nodes: int
    tasks: int
    memory: int | None

    @classmethod
    def of(cls, job: str) -> "Allocation":
        """That of a job, by its number."""
        from dask.utils import parse_bytes

        told = command("scontrol", "--oneliner", "show", "job", job)
        nodes, tasks = (int(re.search(rf"\b{name}=(\d+)", told)[1]) for name in ("NumNodes", "NumTasks"))  # type: ignore[index]
        memory = re.search(r"\b(?:Alloc)?TRES=\S*\bmem=([\d.]+[KMGTP])", told)
        return cls(nodes, tasks, None if memory is None else parse_bytes(f"{memory[1]}iB"))

    def limit(self) -> str:
        """The bytes of each worker, of which nodes have one for each task.

        Raises:
            ConfigError: If that is too little.
        """
        if self.memory is None:
            return "auto"
        each = -(-self.tasks // self.nodes)
        share = (self.memory // self.nodes - OWN) // each
        if share < LEAST:
            least = 1 + (OWN + LEAST * each >> 20)
            raise ConfigError(
                f"--dask {SLURM}: {self.memory // self.nodes >> 20} MB on each of {self.nodes} nodes are too few for "
                f"{self.tasks} tasks; give the job at least mem_mb: {least}"
            )
        return str(share)


@contextmanager
def workers(where: str | None) -> Iterator[Workers | None]:
    """Workers for the length of a block, if any are asked for.

    Args:
        where: The scheduler file of a cluster, which is left as it is; or ``slurm``: one is started for each task of
            the job of Slurm that this runs in, and taken down at the end; None for none.

    Yields:
        The workers.

    Raises:
        PosterityError: If there are none, or they cannot run this package.
    """
    if where is None:
        yield None
        return
    import distributed  # which sets the level of its messages

    logging.getLogger(distributed.__name__).setLevel(logging.WARNING)
    with _in_this_job() if where == SLURM else _known(Path(where)) as found:
        yield found


@contextmanager
def _known(file: Path) -> Iterator[Workers]:
    """The workers of a scheduler file."""
    from distributed import Client

    remedy = (
        f"start it: dask scheduler --scheduler-file {file}, and "
        f"dask worker --scheduler-file {file} --nthreads 1 --no-nanny"
    )
    try:
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
    except FileNotFoundError as error:
        raise ConfigError(f"--dask {file}: there is no such scheduler file; correct the path, or {remedy}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--dask {file}: is no scheduler file of dask ({error!r}); {remedy}") from error
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PosterityError(
            f"--dask {file}: its cluster, {address}, is gone or out of reach; delete the file and {remedy}"
        ) from error
    with client:
        yield _ready(client, f"--dask {file}", remedy)


@contextmanager
def _in_this_job() -> Iterator[Workers]:
    """Workers on all tasks of this job of Slurm, by a step of it."""
    from distributed import Client, LocalCluster
    from distributed.security import Security

    job = os.environ.get("SLURM_JOB_ID", "")
    if not job or shutil.which("srun") is None:
        raise ConfigError(
            f"--dask {SLURM}: starts workers in the job of Slurm that it runs in, and there is none, or no srun; leave "
            "it out, or give a scheduler file"
        )
    allocation = Allocation.of(job)
    limit = allocation.limit()
    log.info("job %s of Slurm: %d workers on %d nodes", job, allocation.tasks, allocation.nodes)
    # Names of nodes need not be names of machines.
    name = os.environ.get("SLURMD_NODENAME")
    address = re.search(r"\bNodeAddr=(\S+)", command("scontrol", "--oneliner", "show", "node", name)) if name else None
    with ExitStack() as stack:
        # Who knows the keys, which are made here and told to the workers, may have code run; nobody else.
        security = Security.temporary()
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=0,
                host=socket.gethostbyname(address[1] if address else socket.gethostname()),
                protocol="tls://",
                security=security,
                dashboard_address=":0",
            )
        )
        flags = ["--nthreads=1", "--no-nanny", "--no-dashboard", "--death-timeout=120"]
        places = ["--memory-limit", limit, "--local-directory", tempfile.gettempdir()]
        worker = [sys.executable, "-m", "dask", "worker", cluster.scheduler_address, *flags, *places]
        tls = security.get_tls_config_for_role("worker")
        keys = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": tls[key] for name, key in KEYS.items()}
        step = stack.enter_context(_step(job, allocation, worker, keys, cluster.close))
        client = stack.enter_context(Client(cluster, set_as_default=False))
        remedy = "see what the step says in the log of the job, or give it more memory (mem_mb)"
        yield _ready(client, f"--dask {SLURM}", remedy, step)


@contextmanager
def _step(
    job: str, allocation: Allocation, worker: list[str], keys: dict[str, str], end: Callable[[], object]
) -> Iterator[subprocess.Popen[bytes]]:
    """A step of a job that runs a worker for each of its tasks, until something has them end."""
    # What the step that this runs in was given is not for this one.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SRUN_"))}
    process = subprocess.Popen(
        [
            *("srun", f"--jobid={job}", "--overlap", f"--nodes={allocation.nodes}", f"--ntasks={allocation.tasks}"),
            *("--kill-on-bad-exit=1", "--input=none", "--export=ALL", *worker),
        ],
        env=inherited | SETTINGS | keys,
    )
    try:
        yield process
    finally:
        end()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


def _ready(client: "Client", source: str, remedy: str, step: "subprocess.Popen[bytes] | None" = None) -> Workers:
    """The workers of a client once one has come, and if it can run this package."""
    found = Workers(client, source, remedy, (lambda: True) if step is None else (lambda: step.poll() is None))
    found.wait(PATIENCE)
    try:
        versions = set(client.run(version).values())
    except ImportError as error:
        raise PosterityError(f"{source}: workers lack posterity ({error}); start them in its environment") from error
    if versions != {__version__}:
        raise PosterityError(
            f"{source}: workers run posterity {', '.join(sorted(versions))}, and this is {__version__}; start them anew"
        )
    return found


def version() -> str:
    """The version of the package where this runs."""
    return __version__
