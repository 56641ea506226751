"""What benchmarks share: sides that take turns, so that a busy minute hits all of them, and ratios with their range."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def parser(description: str | None, peers: str) -> argparse.ArgumentParser:
    """The options of benchmarks that run peers in a process of their own, which :func:`serve` answers there."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--peers", help=f"the interpreter of an environment with {peers}")
    found.add_argument("--repeats", type=int, default=5, help="runs of each side, in turn (default: %(default)s)")
    found.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    found.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return found


def spent(run: Callable[[], Any], least: float = 0.1, clock: Callable[[], float] = time.process_time) -> float:
    """The CPU seconds of a call, or those of another clock, of as many in a row as take some time together."""
    count, start, passed = 0, clock(), 0.0
    while not count or passed < least:
        run()
        count, passed = count + 1, clock() - start
    return passed / count


def take_turns(sides: Mapping[str, Callable[[], float]], repeats: int, what: str) -> dict[str, Any]:
    """Measures sides in turn, after a round that counts for nothing, and prints a line for each.

    Args:
        sides: What measures each side, in seconds; ratios are those of the others to the first.
        repeats: The number of rounds.
        what: What is measured.

    Returns:
        Of each side the median of its seconds, and the median, the least and the largest of its ratios.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, measure in sides.items():
            seconds = measure()
            if turn:
                times[name].append(seconds)
    own = next(iter(times.values()))
    found: dict[str, Any] = {"what": what}
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, own, strict=True)]
        row = (statistics.median(seconds), statistics.median(ratios), min(ratios), max(ratios))
        found[name] = dict(zip(("seconds", "ratio", "least", "most"), row, strict=True))
        print(f"{what}, {name}: {1e3 * row[0]:.4g} ms, ratio {row[1]:.3g} ({row[2]:.3g} to {row[3]:.3g})", flush=True)
    return found


def write(path: Path | None, rows: list[dict[str, Any]]) -> None:
    """Writes what was found beside what was printed, if asked to."""
    if path is not None:
        path.write_text(json.dumps(rows, indent=2) + "\n")


class Side:
    """A peer in a process of its own, which is given orders and answers in JSON, a line each.

    Args:
        command: The command; the process answers as :func:`serve` does.
    """

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, **order: Any) -> Any:
        """Gives an order, and waits for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        sys.exit("a side has failed; see above")


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Answers orders on the standard input until there are no more."""
    for line in sys.stdin:
        print("ANSWER " + json.dumps(answer(json.loads(line))), flush=True)
