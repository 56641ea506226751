"""Disks that are full or read-only, and files that are damaged."""

import os
import random
import subprocess
from pathlib import Path


class Disk:
    """A small disk of its own, in memory, that can be full and read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, *options: str) -> bool:
        """Mounts it, or changes it if it is; returns whether that is allowed."""
        words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "posterity-chaos", str(self.folder)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def room(self, size: int) -> None:
        """Leaves some bytes of room beside what is there."""
        state = os.statvfs(self.folder)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        assert self.mount("remount", "rw", f"size={used + size}")

    def lock(self) -> bool:
        """Makes it read-only, unless a file is open for writing."""
        return self.mount("remount", "ro")

    def unmount(self) -> None:
        """Takes it away."""
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)


def mountable(folder: Path) -> bool:
    """Whether disks can be made here."""
    disk = Disk(folder)
    try:
        return os.geteuid() == 0 and disk.mount("size=1m")
    finally:
        disk.unmount()


def damage(path: Path, rng: random.Random, how: str) -> str:
    """Cuts a file off, empties it, or flips one of its bits; its time stays as it was."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    if how == "flipped":
        content[place] ^= 1 << rng.randrange(8)
    with path.open("wb") as file:
        file.write({"truncated": content[:place], "empty": b""}.get(how, content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return f"{path.name} {how}" + ("" if how == "empty" else f" at byte {place} of {len(content)}")
