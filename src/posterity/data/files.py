"""Reading and writing NetCDF: lazy, checked, and never half-written."""

import contextlib
import fcntl
import glob
import logging
import os
import platform
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import time

import dask
import netCDF4
import numpy as np
import xarray as xr
from dask.system import CPU_COUNT

from ..errors import DataError
from .missing import marked
from .schema import PURPOSE, SCHEMA, Schema, check, described
from .stored import chunked

log = logging.getLogger("posterity")

#: Numbers in a chunk on disk, and in one in memory: 4 and 16 MiB in single precision.
DISK_CHUNK, MEMORY_CHUNK = 2**20, 2**22

#: The machine's name in those of partial files, and the seconds after which those of other machines are given up.
HOST, ABANDONED = platform.node().partition(".")[0], 86400.0

#: Chunks computed at once while a file is written. HDF5 reads one at a time: more threads than this only add memory.
THREADS = min(8, CPU_COUNT)

#: Attributes by which the package knows files that it made.
MADE = ("experiment", "code", "version", "commit")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A context that writes a file atomically: gives a temporary path, and renames it when the block ends well.

    A reader, or the next run after a kill or a failure of the machine, sees the whole file or none. Partial files of
    the target that killed processes have left are removed.

    Args:
        path: The target, a file or a folder that does not exist yet.

    Yields:
        The temporary path.

    Raises:
        DataError: If the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for partial in path.parent.glob(f".{glob.escape(path.name)}.*.*.partial"):
            if _abandoned(partial):
                partial.unlink(missing_ok=True)
        yield temporary
        _settle(temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder's permissions and that the "
            "disk has room; nothing that was there is lost"
        ) from error
    finally:
        # A disk that is read-only by now keeps it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _settle(file: Path) -> None:
    """Waits until a file is on the disk: the name could be there before the content, when the machine fails."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _abandoned(partial: Path) -> bool:
    """Whether the process that wrote a partial file was killed; on other machines only the age of the file tells."""
    host, pid = partial.name.split(".")[-3:-1]
    try:
        if host != HOST:
            return time() - partial.stat().st_mtime > ABANDONED
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (FileNotFoundError, PermissionError):  # It was finished meanwhile, or is another user's.
        pass
    return False


def write(dataset: xr.Dataset, path: Path, kind: str, schema: Schema = SCHEMA) -> None:
    """Checks a dataset and writes it atomically, floats in single precision, compressed, and says so.

    Variables without ``long_name`` or ``units`` get those of the schema.

    A lazy dataset streams: its variables are computed in one pass, a few chunks at a time, and each chunk of its
    sources is read once.

    Args:
        dataset: The dataset, in memory or lazy.
        path: The target.
        kind: The kind of file.
        schema: The schema that holds the kind.

    Raises:
        DataError: If the dataset is not of that kind, or cannot be computed or written.
    """
    dataset = described(check(dataset, kind, str(path), schema), kind, schema)
    with atomic(path) as temporary, dask.config.set(scheduler="threads", num_workers=THREADS):
        try:
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=_encoding(dataset))
        except (RuntimeError, AttributeError) as error:  # netCDF reports a full disk as "NetCDF: HDF error"
            raise OSError(None, f"{error}: the disk is full") from error
    log.info("%s: written", path)


def read(path: Path, kind: str, schema: Schema = SCHEMA) -> xr.Dataset:
    """Opens a file lazily, and checks it.

    Each variable is read in chunks of whole chunks on disk, with all samples and as many of the trailing dimensions,
    then cases, as fit. Times stay numbers, whatever their units. Of files of others, what the conventions call missing
    is NaN (see :func:`posterity.data.missing.marked`).

    Args:
        path: The file.
        kind: The kind of file.
        schema: The schema that holds the kind.

    Returns:
        The lazy dataset.

    Raises:
        DataError: If there is no such file, it cannot be read, or it is not of that kind; later, when data are read
            that are damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; make it first, or correct the path")
    # HDF5 would keep 64 mebibytes of each variable of each file that is open, of chunks that are read but once.
    netCDF4.set_chunk_cache(0)
    try:
        raw = xr.open_dataset(path, engine="netcdf4", decode_cf=False)
        if not _made(raw):
            raw = marked(raw, [*schema[kind], "time"])
        dataset = xr.decode_cf(raw, decode_times=False)
        for coordinate in dataset.coords.values():
            coordinate.load()
    except (OSError, RuntimeError, ValueError, AttributeError) as error:  # the last from attributes that are damaged
        if _locked(path):
            raise DataError(f"{path}: another process holds it open for writing; wait for it to end") from error
        raise DataError(
            f"{path}: cannot be read as NetCDF ({error}); it may be truncated, or of another format: give the command "
            f"that made it again, or copy it anew{PURPOSE.get(kind, '')}"
        ) from error
    lacking = any(variable.required and name not in dataset for name, variable in schema[kind].items())
    if lacking and (groups := _groups(path)):
        raise DataError(
            f"{path}: its variables stand in groups ({', '.join(groups)}), and are looked for outside of groups; copy "
            f"one: xarray.open_dataset({path.name!r}, group={groups[0]!r}).to_netcdf(…)"
        )
    dataset = check(dataset, kind, str(path), schema)
    remedy = "delete it and make it again" if _made(dataset) else "copy it anew from where it came from"
    return dataset.assign(
        {name: chunked(variable, _memory_chunk(variable), path, remedy) for name, variable in dataset.items()}
    )


def apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises if a file would be written over one that is read.

    Args:
        outputs: The files to write; a folder stands for the files in it that there are.
        inputs: The files to read, or folders, likewise.

    Raises:
        DataError: If two of them are one file, by whatever paths.
    """
    read = {(status.st_dev, status.st_ino): path for path in _there(inputs) for status in [path.stat()]}
    for path in _there(outputs):
        status = path.stat()
        if (source := read.get((status.st_dev, status.st_ino))) is not None:
            raise DataError(f"{path}: would be written over {source}, which is read; give another path to write to")


def _there(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that there are, of files and folders."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.iterdir() if file.is_file())
        elif path.exists():
            yield path


def _made(dataset: xr.Dataset) -> bool:
    """Whether the package made a file, and may advise to delete it."""
    return all(name in dataset.attrs for name in MADE)


def _locked(path: Path) -> bool:
    """Whether another process holds a file open for writing, by the lock that HDF5 takes."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _groups(path: Path) -> list[str]:
    """The groups of a file."""
    with netCDF4.Dataset(path) as file:
        return list(file.groups)


def along_cases(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The chunks of a method as one dataset along ``case``, lazy as they are."""
    return xr.concat(parts, dim="case", data_vars="minimal", coords="minimal", compat="override", join="outer")


def along_methods(scores: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The scores of all methods side by side; of the attributes, those that all share.

    Args:
        scores: A ``metrics`` dataset for each method, by its name.

    Returns:
        A ``comparison`` dataset, with the leading dimension ``method``; what some method does not have is NaN.
    """
    beside = xr.concat(
        list(scores.values()),
        dim=xr.Variable("method", np.array(list(scores), dtype=object)),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    return beside.transpose("method", ...)


def _encoding(dataset: xr.Dataset) -> dict[Hashable, dict]:
    """Single precision, fast compression, and chunks of the shape of :func:`_disk_chunk`."""
    encoding = {}
    for name, variable in dataset.variables.items():
        settings: dict = {}
        if variable.dtype == np.float64 and name not in dataset.coords:
            settings["dtype"] = "float32"
        if variable.ndim and variable.size:
            # Sums by which a reader tells a chunk of which a bit was flipped.
            settings["fletcher32"] = True
            settings["chunksizes"] = tuple(_disk_chunk(variable).values())
        if variable.dtype.kind in "OUT":
            # Strings of variable length crash the netCDF library when a file is opened that is open already:
            # https://github.com/Unidata/netcdf4-python/issues/1444
            settings["dtype"] = "S1"
            settings.pop("chunksizes", None)  # They have a dimension of letters more.
        if variable.size > 1024:
            settings |= {"zlib": False, "compression": "zstd", "complevel": 1}
        encoding[name] = settings
    return encoding


def _disk_chunk(variable: xr.Variable | xr.DataArray) -> Mapping[Hashable, int]:
    """The shape of a chunk on disk."""
    return _largest_chunk(variable, DISK_CHUNK)


def _memory_chunk(variable: xr.DataArray) -> Mapping[Hashable, int]:
    """The shape of a chunk in memory, made of whole chunks on disk, so that none of these is read twice."""
    disk, memory = _disk_chunk(variable), _largest_chunk(variable, MEMORY_CHUNK)
    return {name: size if size == variable.sizes[name] else size - size % disk[name] for name, size in memory.items()}


def _largest_chunk(variable: xr.Variable | xr.DataArray, room: int) -> Mapping[Hashable, int]:
    """The shape of a chunk of at most ``room`` numbers.

    Samples come first, since scores reduce over them and keep the rest; then whole trailing dimensions, so that
    the leading one, ``case``, is the first to be cut.
    """
    shape: dict[Hashable, int] = {}
    trailing = [name for name in reversed(variable.dims) if name != "sample"]
    for name in (["sample"] if "sample" in variable.dims else []) + trailing:
        shape[name] = min(variable.sizes[name], max(1, room))
        room //= max(1, shape[name])
    return {name: shape[name] for name in variable.dims}
