"""Results that were cut off after they were made, told by their ends: no clock says so, and Snakemake reads no content.

Imports Snakemake's own needs alone, since it is part of every plan.
"""

import glob
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from .dependencies import STAGES
from .experiment import Experiment

#: Files that are made beside those that the table of stages names.
BESIDE: Mapping[str, tuple[str, ...]] = {
    "estimator.json": ("weights.safetensors", "history.jsonl"),
    "metrics.nc": ("table.csv", "verdict.json"),
    ".svg": (".png", ".gif"),
}

#: How files end, by their suffixes.
ENDS: Mapping[str, bytes] = {
    ".json": b"\n}\n",
    ".jsonl": b"}\n",
    ".csv": b"\n",
    ".svg": b"</svg>\n",
    ".png": b"IEND\xaeB`\x82",
    ".gif": b";",
}

#: Files read at once: shared disks answer late, and to many as soon as to one.
THREADS = 16


def damaged(experiment: Experiment, results: Path) -> list[Path]:
    """The results of an experiment that have lost their ends, or all they held.

    Args:
        experiment: The experiment.
        results: The folder of results.

    Returns:
        The files. Of those that are not there nothing is said, nor of what the configuration has no part in any more.
    """
    files = list(_results(experiment, results / experiment.name))
    with ThreadPoolExecutor(THREADS) as threads:
        return [file for file, good in zip(files, threads.map(whole, files), strict=True) if not good]


def _results(experiment: Experiment, folder: Path) -> Iterator[Path]:
    """The results that there are."""
    for stage, made in STAGES.items():
        if not made.results or (stage in ("climatology", "reference") and getattr(experiment, stage) is None):
            continue
        for name in made.names(experiment) if "{name}" in made.results else [""]:
            split = getattr(experiment.splits, name if stage == "simulate" else "test")
            shards = {str(shard) for shard in range(len(split.shards()))}
            for file in folder.glob(made.results.format(name=glob.escape(name))):
                if "*" not in made.results or file.stem in shards:
                    beside = [file.with_name(name) for name in BESIDE.get(file.name, ())]
                    beside += [file.with_suffix(suffix) for suffix in BESIDE.get(file.suffix, ())]
                    yield from filter(Path.is_file, (file, *beside))


def whole(file: Path) -> bool:
    """Whether a file has its end, as far as a few of its bytes tell: what lies between may be damaged."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if (length := LENGTHS.get(file.suffix)) is not None:
            return 0 < length(stream) <= size
        end = ENDS[file.suffix]
        stream.seek(max(0, size - len(end)))
        return size > 0 and stream.read() == end


def _hdf5(stream: BinaryIO) -> int:
    """The length of a file of HDF5, of which NetCDF is, by its superblock; 0 if it has none."""
    head = stream.read(52)
    versions = {0: 40, 1: 44, 2: 28, 3: 28}
    if len(head) < 52 or head[:8] != b"\x89HDF\r\n\x1a\n" or head[8] not in versions:
        return 0
    return int.from_bytes(head[versions[head[8]] :][:8], "little")


def _safetensors(stream: BinaryIO) -> int:
    """The length of a file of weights, by the offsets in its head; 0 if it has none."""
    size = int.from_bytes(stream.read(8), "little")
    try:
        tensors = json.loads(stream.read(size))
        return 8 + size + max((each["data_offsets"][1] for name, each in tensors.items() if name[0] != "_"), default=0)
    except (ValueError, MemoryError, OverflowError):
        return 0


#: What knows the length of a file by its head, by its suffix.
LENGTHS: Mapping[str, Callable[[BinaryIO], int]] = {".nc": _hdf5, ".safetensors": _safetensors}
