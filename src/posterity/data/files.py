"""Reading and writing NetCDF: lazy, checked, and never half-written."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import DataError
from .schema import check

#: Bytes of the largest piece of a variable that is read or written at once.
CHUNK = 2**26


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside the target, and renames it into place when the block ends well.

    A reader, or the next run after a kill, sees the whole file or none.

    Args:
        path: The target, a file or a folder that does not exist yet.

    Yields:
        The temporary path.

    Raises:
        DataError: If the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder's permissions and that the "
            "disk has room; nothing that was there is lost"
        ) from error
    finally:
        if temporary.is_file():
            temporary.unlink(missing_ok=True)


def write(dataset: xr.Dataset, path: Path, kind: str) -> None:
    """Checks a dataset and writes it atomically, floats in single precision, compressed.

    Args:
        dataset: The dataset, in memory or lazy.
        path: The target.
        kind: The kind of file in the schema.
    """
    check(dataset, kind, str(path))
    with atomic(path) as temporary:
        try:
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=_encoding(dataset))
        except RuntimeError as error:  # netCDF reports a full disk as "NetCDF: HDF error"
            raise OSError(None, f"{error}: is the disk full?") from error


def read(path: Path, kind: str) -> xr.Dataset:
    """Opens a file lazily in chunks along ``case``, and checks it.

    Args:
        path: The file.
        kind: The kind of file in the schema.

    Returns:
        The lazy dataset.

    Raises:
        DataError: If there is no such file, it cannot be read, or it is not of that kind.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        dataset = xr.open_dataset(path, engine="netcdf4")
        dataset = dataset.chunk({"case": _cases(dataset)} if "case" in dataset.dims else {})
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as NetCDF ({error}); it may be truncated: delete it and make it again"
        ) from error
    return check(dataset, kind, str(path))


def load(dataset: xr.Dataset, source: Path) -> xr.Dataset:
    """Loads a lazy dataset, and names the file if its data are damaged."""
    try:
        return dataset.load()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{source}: is damaged ({error}); delete it and make it again") from error


def read_many(paths: Sequence[Path], kind: str) -> xr.Dataset:
    """Opens the shards of a split, or the chunks of a method, as one lazy dataset along ``case``.

    Args:
        paths: The files, in order.
        kind: The kind of file in the schema.

    Returns:
        The lazy dataset.
    """
    parts = [read(path, kind) for path in paths]
    return xr.concat(parts, dim="case", data_vars="minimal", coords="minimal", compat="override", join="outer")


def _cases(dataset: xr.Dataset) -> int:
    """The number of cases whose largest variable fits a chunk."""
    largest = max((v.nbytes // v.sizes["case"] for v in dataset.values() if v.sizes.get("case")), default=1)
    return max(1, CHUNK // max(1, largest))


def _encoding(dataset: xr.Dataset) -> dict[str, dict]:
    """Single precision, fast compression, and chunks of whole cases."""
    encoding = {}
    for name, variable in dataset.variables.items():
        settings: dict = {}
        if variable.dtype == np.float64 and name not in dataset.coords:
            settings["dtype"] = "float32"
        if variable.ndim and variable.size > 1024:
            settings |= {"zlib": False, "compression": "zstd", "complevel": 1}
            settings["chunksizes"] = _chunk(variable)
        encoding[name] = settings
    return encoding


def _chunk(variable: xr.Variable) -> tuple[int, ...]:
    """The shape of the pieces on disk: whole trailing dimensions, up to four mebibytes."""
    room, shape = 2**20, []
    for size in reversed(variable.shape):
        shape.append(min(size, max(1, room)))
        room //= shape[-1]
    return tuple(reversed(shape))
