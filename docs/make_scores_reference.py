"""Writes the list of scores in ``docs/files.md`` from the table in ``posterity.metrics.table``."""

from pathlib import Path

from posterity.metrics.score import Score, Source, Units
from posterity.metrics.table import scores_of

PAGE = Path(__file__).resolve().parent / "files.md"

#: What stands around the list, and is kept.
BEGIN = "<!-- Made by `python docs/make_scores_reference.py` from `src/posterity/metrics/table.py`: edit that. -->\n"
END = "<!-- The end of what is made. -->\n"

HEAD = "| score | dimensions | what it is | units | needs |\n|---|---|---|---|---|\n"


def line(score: Score) -> str:
    """The line of a score."""
    names = ", ".join(f"`{name}`" for name in score.names)
    dims = ", ".join(score.dims).replace("*", "y, x")
    units = "" if score.units is Units.ONE else score.units.value
    return f"| {names} | {dims} | {score.label} | {units} | {score.needs} |\n"


def page() -> str:
    """The page, with the list as the table says it."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + HEAD + "".join(map(line, scores_of(Source.METRICS))) + "\n" + END + after


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
