"""How the process holds its memory."""

import os
import platform
import subprocess
import sys

import pytest

BLOCKS = """
import resource
import posterity

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

block = b"x" * 2**24
del block
before = faults()
for _ in range(10):
    block = b"x" * 2**24
    del block
print(faults() - before)
"""


def faults(**options):
    """Pages that the system gave anew for ten blocks of 16 MiB, of which a process frees each before the next."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", BLOCKS]
    return int(subprocess.run(command, env=others | options, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the options are those of glibc's allocator")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    assert faults() < 100
    assert faults(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="1000000") > 1000
