"""What sources say is read once, and kept by content."""

import json
from pathlib import Path

import pytest

from posterity.experiment.sources import kept, source

TEXT = b"""
from dataclasses import dataclass
from .base import Base as Root
import math

SIZE = 3


@dataclass
class Thing(Root):
    radius: float
    axes: int = 2

    def __init_subclass__(cls) -> None: ...


class Other:
    def __init__(self, *, scale: "float | None" = None) -> None:
        self.scale = scale


def area(thing: Thing) -> float:
    return math.pi * thing.radius**2
"""


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Begins another process, so to speak: it knows what is on disk alone; returns what it reads of new."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "_keep_at_exit", lambda: None)
    read = []

    def begin() -> list[str]:
        monkeypatch.setattr(kept, "_ASKED", {})
        kept._file.cache_clear()
        kept._found.cache_clear()
        read.clear()
        monkeypatch.setattr(kept, "read", lambda text, path: read.append(path) or source.read(text, path))
        return read

    yield begin
    kept._file.cache_clear()
    kept._found.cache_clear()


def test_the_next_process_reads_nothing_and_knows_the_same(process) -> None:
    read = process()
    found = kept.source(TEXT, "first.py")
    kept._keep()
    assert read == ["first.py"]
    read = process()
    assert kept.source(TEXT, "copied.py") == found == source.read(TEXT, "")
    assert read == []
    assert type(found.classes["Thing"].fields[0]) is type(kept.source(TEXT, "").classes["Thing"].fields[0])
    # One byte more is another source, whatever its time and name say.
    assert kept.source(TEXT.replace(b"**2", b"**3"), "first.py").digest != found.digest
    assert read == ["first.py"]


def test_processes_add_to_each_other(process) -> None:
    process()
    kept.source(b"a = 1", "a.py")
    kept._found()
    # Another one begins and ends meanwhile.
    asked = dict(kept._ASKED)
    process()
    kept.source(b"b = 1", "b.py")
    kept._keep()
    kept._ASKED.update(asked)
    kept._keep()
    read = process()
    kept.source(b"a = 1", "a.py")
    kept.source(b"b = 1", "b.py")
    assert read == []


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"KEY": 3}', b'{"KEY": [1, 2, 3, 4, 5, 6, 7]}']
)
def test_a_broken_file_is_read_over_and_mended(process, broken) -> None:
    process()
    kept.source(TEXT, "a.py")
    kept._keep()
    file = kept._file()
    (key,) = json.loads(file.read_bytes())
    file.write_bytes(broken.replace(b"KEY", key.encode()))
    read = process()
    assert kept.source(TEXT, "a.py") == source.read(TEXT, "")
    assert read == ["a.py"]
    kept._keep()
    read = process()
    kept.source(TEXT, "a.py")
    assert read == []


def test_a_disk_that_cannot_be_written_keeps_nothing(process, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file stands in the way")
    process()
    found = kept.source(TEXT, "a.py")
    kept._keep()
    assert found == source.read(TEXT, "")


def test_what_is_kept_has_an_end(process, monkeypatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    process()
    for n in range(3):
        kept.source(b"a = %d" % n, "a.py")
    kept._keep()
    process()
    kept.source(b"b = 1", "b.py")
    kept._keep()
    assert len(json.loads(kept._file().read_bytes())) == 1
    assert [*kept._file().parent.iterdir()] == [kept._file()]


def test_every_source_of_the_package_survives_being_kept() -> None:
    for path in sorted(Path(source.__file__).parents[1].rglob("*.py")):
        found = source.read(path.read_bytes(), str(path))
        assert source.revived(json.loads(json.dumps(found))) == found
