"""Variables on disk, as dask reads them: what is damaged names its file."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import xarray as xr

from ..errors import DataError


class Stored:
    """An array on disk.

    Args:
        variable: The variable, lazily.
        path: Its file.
        remedy: What helps where its data are damaged.
    """

    def __init__(self, variable: xr.Variable, path: Path, remedy: str) -> None:
        self.variable, self.path, self.remedy = variable, path, remedy
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        """Reads a part.

        Raises:
            DataError: If it is damaged, or has gone.
        """
        try:
            return self.variable[key].to_numpy()
        except (OSError, RuntimeError) as error:
            if not self.path.is_file():
                raise DataError(
                    f"{self.path}: was there, and is not any more, or not on the machine {gethostname()}, which must "
                    "see it under the same path"
                ) from error
            raise DataError(f"{self.path}: is damaged ({error}); {self.remedy}") from error


def chunked(variable: xr.DataArray, chunks: Mapping[Hashable, int], path: Path, remedy: str) -> xr.DataArray:
    """A variable on disk as a lazy array, in chunks.

    Args:
        variable: The variable.
        chunks: The sizes of chunks, by dimension.
        path: Its file.
        remedy: What helps where its data are damaged, for the message.

    Returns:
        The lazy variable.
    """
    from dask import array as da

    stored = Stored(variable.variable, path, remedy)
    array = da.from_array(
        stored, tuple(chunks[name] for name in variable.dims), name=False, meta=np.empty(0, stored.dtype)
    )
    return variable.copy(data=array)
