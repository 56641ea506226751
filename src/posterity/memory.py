"""How the process holds its memory."""

import ctypes
import os
from contextlib import suppress

#: Options of glibc's allocator by their names in the environment, with their numbers and what they are set to: the size
#: from which blocks are mapped anew each time (32 MiB, the most that it takes), and what is kept at the heap's end.
OPTIONS = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**25), "MALLOC_TRIM_THRESHOLD_": (-1, 2**28)}


def keep_freed() -> None:
    """Keeps what is freed for what comes next, and takes large tensors in large pages.

    The system clears each page that it gives anew, which took a fifth to a third of the time of methods whose arrays
    come and go. What the environment says of these options is left as it is; other allocators than glibc's know none
    of them.
    """
    # Torch reads it when it first needs a large block.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not os.environ.keys() & OPTIONS.keys():
        with suppress(AttributeError, OSError, TypeError):
            mallopt = ctypes.CDLL(None).mallopt
            for number, value in OPTIONS.values():
                mallopt(number, value)
