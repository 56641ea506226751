"""Verdicts as files, and as lines of text. Imports nothing beside the standard library: the workflow prints them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import floor, isfinite, log10
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ...errors import DataError

if TYPE_CHECKING:
    from ...metrics import Verdict

#: The name of the file in the results of an experiment.
FILE = "verdict.json"
#: The columns of the table that stand to the left.
LEFT = ("method", "calibrated", "by")
#: The width of sentences, in characters.
WIDTH = 110


def keep(verdict: "Verdict", path: Path) -> None:
    """Writes a verdict, as JSON in which null is what is not known.

    Args:
        verdict: The verdict.
        path: The file.

    Raises:
        DataError: If it cannot be written.
    """
    # Here, since that reads NetCDF too.
    from ...data import atomic

    with atomic(path) as temporary:
        temporary.write_text(json.dumps(_plain(asdict(verdict)), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _plain(value: Any) -> Any:
    """A value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def kept(path: Path) -> dict[str, Any]:
    """Reads a verdict.

    Args:
        path: The file.

    Returns:
        Its fields, as :class:`posterity.metrics.Verdict` has them.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a verdict ({error}); aggregate again") from None
    return found


def table(verdict: Mapping[str, Any]) -> list[dict[str, str]]:
    """The table of a verdict, as text; columns that say nothing are left out.

    Args:
        verdict: What :func:`kept` returns.

    Returns:
        For each method its cells, by heads that are the same for all. A place that several share stands at the first.
    """
    rows = [_row(method, verdict["score"]) for method in verdict["methods"]]
    shown = [head for head in rows[0] if any(row[head] for row in rows)]
    before = ["", *(row["place"] for row in rows)]
    rows = [row | {"place": "" if row["place"] == last else row["place"]} for row, last in zip(rows, before)]  # noqa: B905
    return [{head: row[head] for head in shown} for row in rows]


def _row(method: Mapping[str, Any], score: str) -> dict[str, str]:
    """The cells of a method."""
    return {
        "place": str(method["place"] or "–"),
        "method": str(method["method"]),
        "distance" if "distance" in score else score: _measured(method["score"], method["error"]),
        "C2ST": _text(method["c2st"], ".2f"),
        "calibrated": {True: "yes", False: "no"}.get(method["calibrated"], "?"),
        "by": str(method["test"]),
        "s/case": _text(method["seconds"], ".2g"),
    }


def _measured(value: float | None, error: float | None) -> str:
    """A number with its error, both to the first digit of that, or to the second of one that begins with 1."""
    if value is None or not error:
        return _text(value, ".3g")
    exponent = floor(log10(error))
    digits = max(0, -exponent + (error < 2 * 10**exponent))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _text(value: float | None, digits: str) -> str:
    return "" if value is None else f"{value:{digits}}"


def note(verdict: Mapping[str, Any]) -> str:
    """What the scores in the table are; empty if there are none.

    Args:
        verdict: What :func:`kept` returns.
    """
    if not verdict["score"]:
        return ""
    score, between = str(verdict["score"]), verdict["floor"]
    units = f" in {verdict['units']}" if verdict["units"] else ""
    runs = f"; {between:.2g} between runs of the reference" if between is not None else ""
    cases = f"mean of {verdict['cases']} cases ± its error" if verdict["cases"] > 1 else "of one case"
    return f"{score[:1].upper()}{score[1:]}{units} at the {verdict['moment']}, {cases}{runs}. Time is without training."


def lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    """A verdict as lines of text: the table, what won, and what to distrust.

    Args:
        verdict: What :func:`kept` returns.

    Yields:
        Lines.
    """
    rows = table(verdict)
    rows.insert(0, {head: head for head in rows[0]})
    widths = {head: max(len(row[head]) for row in rows) for head in rows[0]}
    for row in rows:
        yield "  ".join(_cell(head, row[head], widths[head]) for head in row).rstrip()
    for text in ("", note(verdict), str(verdict["won"]), str(verdict["distrust"])):
        yield from wrap(text, WIDTH) if text else [""]


def _cell(head: str, text: str, width: int) -> str:
    return text.ljust(width) if head in LEFT else text.rjust(width)


def made(results: Path, name: str, compared: bool = False) -> str:
    """Where table and figures of an experiment are, or those of all variants of a file.

    Args:
        results: The folder of the results of all experiments.
        name: The name of the experiment, or of the file.
        compared: Whether it is a file of several variants.
    """
    own = results / name
    if compared:
        return f"{name}: all variants are in {own}/scaling.csv and {own}/figures/scaling.svg"
    return f"{name}: the table is {own}/table.csv, figures are in {own}/figures"


def verdicts(results: Path, names: Sequence[str]) -> Iterator[str]:
    """What the results of experiments come to: of one its verdict, of several a sentence each.

    Args:
        results: The folder of the results of all experiments.
        names: The names of the experiments; those without a verdict are left out.

    Yields:
        Lines of text.
    """
    found = {name: kept(path) for name in names if (path := results / name / FILE).is_file()}
    if len(found) == 1:
        yield from lines(*found.values())
    else:
        yield from (f"{name}: {verdict['won']}" for name, verdict in found.items())
