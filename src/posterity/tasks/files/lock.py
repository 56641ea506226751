"""Locks of folders, so that no two processes write the same results."""

import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ...errors import DataError

log = logging.getLogger("posterity")


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, on this machine and on others that share its disk.

    The operating system lets go of the lock when the process ends, however it ends: none is ever left behind.

    Args:
        folder: The folder; it is made if it is not there.

    Raises:
        DataError: If another process holds the lock; the message says which, where and since when.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}); check the path and its permissions"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            raise DataError(f"{folder}: is in use by {holder}; wait for it to end, or stop it") from None
        except OSError as error:
            # Some shared disks have no locks: better to work without than not at all.
            log.warning("%s: cannot be locked (%s); do not let two processes write into it", folder, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M}")
        file.flush()
        yield
        file.truncate(0)
