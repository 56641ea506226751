"""The page "Posterity in Python" runs as it stands, but for budgets, and its first examples in a fresh interpreter."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

#: The most lines of the examples that come first: of a method, and of an estimator.
SHORT = (6, 8)

#: What the page says of time, and what a test has for it.
BUDGET = ("fit(minutes=2)", "fit(cases=64, epochs=1)")


def cheap(block: str) -> str:
    return block.replace(*BUDGET)


def test_nothing_to_scored_draws_in_a_few_lines() -> None:
    for block, most in zip(BLOCKS, SHORT, strict=False):
        assert len([line for line in block.splitlines() if line.strip()]) <= most


@pytest.mark.slow
def test_the_first_examples_run_in_a_fresh_interpreter() -> None:
    code = "\n".join(f"exec({cheap(block)!r}, {{}})" for block in BLOCKS[:2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Two tables, and nothing of progress or of warnings where there is no terminal.
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("method")] == ["vi", "npe"]
    assert not done.stderr


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One after another, as a reader would, in a folder of their own; the project's experiments are found."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec("import posterity as ps", names)
    before, backend = torch.random.get_rng_state(), mpl.get_backend()
    for block in BLOCKS[2:]:
        exec(compile(cheap(block), "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    for expected in re.findall(r"print\(error\)  # (.*)", PAGE):
        assert expected in said
    assert (tmp_path / "trajectories.png").stat().st_size > 1000
    assert torch.equal(torch.random.get_rng_state(), before), "the reader's random numbers are left alone"
    assert mpl.get_backend() == backend
