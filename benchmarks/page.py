"""Makes a page of what benchmarks have written: a row for each comparison, ratios with their range.

    python benchmarks/page.py FOLDER

Reads all JSON files of the folder, as :func:`turns.write` leaves them, and writes ``page.md`` beside them.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any


def compared(row: dict[str, Any]) -> str:
    """The row of a comparison: the first side's time, and how many times as long the others took."""
    first, *others = (name for name, side in row.items() if isinstance(side, dict))
    found = [
        f"{name} {row[name]['ratio']:.3g} ({row[name]['least']:.3g} to {row[name]['most']:.3g})" for name in others
    ]
    return f"| {row['what']}, {first} | {1e3 * row[first]['seconds']:.3g} | {'; '.join(found)} |"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of a file, one under the other: comparisons, or what else was measured by its own names."""
    turns = [row for row in rows if any(isinstance(side, dict) and "ratio" in side for side in row.values())]
    lines = ["| | ms | times as long |", "|---|---:|---|", *map(compared, turns)] if turns else []
    others = [row for row in rows if row not in turns]
    for before, row in zip([{}, *others], others, strict=False):
        if before.keys() != row.keys():
            lines += ["", f"| {' | '.join(row)} |", "|" + "---|" * len(row)]
        lines.append(f"| {' | '.join(map(shown, row.values()))} |")
    return lines


def shown(value: Any) -> str:
    """A value, or several by name."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the JSON files are")
    folder = parser.parse_args().folder
    lines = [
        "# Benchmarks of this machine",
        "",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors ({platform.machine()}), "
        f"load {os.getloadavg()[1]:.1f}: "
        "CPU milliseconds on one thread, medians of runs in turn, and the ratio of other sides to the first with its "
        "range.",
    ]
    for path in sorted(folder.glob("*.json")):
        lines += ["", f"## `benchmarks/{path.stem}.py`", "", *table(json.loads(path.read_text()))]
    (folder / "page.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
