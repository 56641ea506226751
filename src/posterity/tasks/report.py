"""Rule ``report``: the table, the figures and the configuration of an experiment on one page. Imports no torch."""

import csv
import logging
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..data import atomic
from ..errors import DataError
from ..experiment import Experiment
from .files import verdict as verdicts

log = logging.getLogger("posterity")

#: What figures show, in the order in which the page shows them.
CAPTIONS: Mapping[str, str] = {
    "table": "All methods: error, calibration and cost, averaged over cases, with standard errors.",
    "accuracy_cost": "CRPS, and the distance to the reference if there is one, against the wall time per case: down "
    "and to the left is better. The line joins the methods that no other beats in both.",
    "scores": "Root-mean-square error of the mean (left) and spread (right) against time, over all cases. Where the "
    "two agree, the ensemble knows its error.",
    "cycle": "Error and spread along the record, as running means over time of the means over all cases. The legend "
    "has their averages behind the first windows, which are shaded.",
    "coverage": "Coverage of central intervals against their nominal level, and rank histograms of the truth among "
    "the draws. A calibrated method follows the diagonal, and has flat ranks.",
    "ranks": "Histograms of the rank of the truth among the draws, of the states and of each parameter, for each "
    "method. The band holds 95 % of those that are uniform.",
    "expected_coverage": "How often credible regions hold the truth, against how often they should: regions of "
    "highest density, balls about random points (TARP), and central intervals of each entry. The band holds 95 % of "
    "calibrated methods.",
    "roc": "How often a classifier finds the true states, against how often it takes draws for them; the diagonal is "
    "chance, and the best.",
    "data": "Truth, observations and background of one case, over time and space. Missing observations are hatched; "
    "the line marks the end of the window. In the plane these are maps, at some times of the window.",
    "maps": "A quantity in the plane, of one case: truth and observations, then mean, two draws, error of the mean and "
    "spread of each method, at some times. What a method does not cover is hatched.",
    "animation": "The same quantity as it moves: truth, mean and two draws of each method.",
    "hovmoller": "Mean of the draws, one of them, the error of the mean, and their standard deviation, over time and "
    "space, for each method and one case; in the plane, along its middle row. What a method does not cover is hatched.",
    "spectra": "Spectra of the draws against that of the truth, as means over cases at the window's end or over a "
    "cycling record; the dotted line is that of the error of the mean. The last column is the ratio of draws to truth.",
    "error_spectrum": "Spectrum of the error of the mean over time, relative to that of the truth (one where nothing "
    "is known of a scale) and to that of the spread (one where a method knows its error), as means over cases.",
    "trajectories": "Draws of the trajectories of chosen sites, with the truth and the observations, for each method "
    "and one case.",
    "reference": "Marginal densities of chosen entries at the first, the middle and the last assimilated time of one "
    "case, for each method, with the reference in grey. What a method does not cover is hatched.",
    "corner": "Draws of each method in pairs of coordinates, at the end of the window of one case, against the "
    "reference or, where there is none, the weighted prior. Contours hold 39 % and 86 % of the draws.",
    "covariance": "Covariance matrices of the draws at the start of the window, at its end, and at the end of the "
    "forecast, for one case; in the plane, the covariance of one quantity at its middle with that everywhere.",
    "parameters": "Posteriors of the unknown parameters: densities of the draws for one case, and means with bars of "
    "one standard deviation against the truth, for up to a hundred cases.",
    "optimisation": "The objective of each method that has one, above its end, against its iterations: median over "
    "cases, and the middle half of them. The cost of 4DVAR jumps where its window grows.",
    "training": "Training and validation loss of each trained method against epoch and wall time, a thin line for "
    "each seed; the best epoch is marked. The first epochs may be cut off.",
}

#: The formats of figures, the one that takes the place of others last.
TYPES: Mapping[str, str] = {".svg": "image/svg+xml", ".gif": "image/gif"}

STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 2rem 0; } figcaption { color: #444; } img { max-width: 100%; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 12px; }
th, td { padding: .2rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
.words { text-align: left; } pre { background: #f4f4f4; padding: 1rem; overflow-x: auto; }
"""

#: A number, maybe with its error.
NUMBER = re.compile(r"[-−]?[\d.]+(e[-+]\d+)?( ± .+)?")

NOTE = """All scores are averages over cases. A method is called calibrated if nothing speaks against it: at every
moment that it covers, its spread-skill ratio lies within three standard errors of one, and the ranks of the truth are
uniform (p at least 0.01, shared out over moments)."""


def report(
    experiment: Experiment, table: Path, figures: Sequence[Path], output: Path, verdict: Path | None = None
) -> None:
    """Writes a page that needs no other file: verdict and table, then figures with captions, then the configuration.

    Args:
        experiment: The experiment.
        table: The table that ``aggregate`` wrote.
        figures: The figures, in SVG or, if they move, in GIF, which takes the place of a still one of the same name;
            each is named like its file.
        output: The page to write, in HTML.
        verdict: The verdict that ``aggregate`` wrote; None for none.

    Raises:
        DataError: If a file cannot be read.
    """
    for path in figures:
        if path.suffix not in TYPES:
            raise DataError(f"{path}: a page shows {' and '.join(TYPES)}; give figures in one of these formats")
    paths = {path.stem: path for path in sorted(figures, key=lambda path: list(TYPES).index(path.suffix))}
    order = [name for name in CAPTIONS if name in paths] + [name for name in paths if name not in CAPTIONS]
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        drawn = [_figure(name, paths[name]) for name in order]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); aggregate and plot again") from None
    parts = [
        f"<h1>{escape(experiment.title)}</h1>",
        f"<p>Experiment <b>{escape(experiment.name)}</b>, posterity {escape(__version__)}</p>",
        *_failures(rows),
        *(() if verdict is None else _verdict(verdicts.kept(verdict))),
        *drawn[: order[:1] == ["table"]],
        *_table(rows),
        *drawn[order[:1] == ["table"] :],
        f"<h2>Configuration</h2><pre>{escape(_configuration(experiment))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(experiment.name)}</title><style>{STYLE}</style>'
    with atomic(output) as temporary:
        temporary.write_text(f"<!doctype html>\n{head}\n" + "\n".join(parts) + "\n", encoding="utf-8")
    log.info("%s: written", output)


def _failures(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What failed, where something did."""
    for row in rows:
        if failed := row.get("failed"):
            yield f"<p><b>{escape(row['method'])} failed</b>: {escape(failed)}</p>"


def _verdict(verdict: Mapping[str, Any]) -> Iterator[str]:
    """What won, what to distrust, and the places of all methods."""
    yield f"<h2>Verdict</h2><p><b>{escape(verdict['won'])}</b></p><p>{escape(verdict['distrust'])}</p>"
    yield from _rows(verdicts.table(verdict))
    yield f"<p>{escape(verdicts.note(verdict))} Methods share a place if paired differences do not tell them apart.</p>"


def _figure(name: str, path: Path) -> str:
    """A figure with its caption."""
    image = f'<img alt="{escape(name)}" src="data:{TYPES[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}">'
    return f"<figure>{image}<figcaption>{escape(CAPTIONS.get(name, name))}</figcaption></figure>"


def _table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """All numbers of all methods."""
    yield f"<p>{NOTE}</p>"
    yield from _rows(rows)


def _rows(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Rows with the same heads; columns of words begin on the left, those of numbers end on the right."""
    numeric = {head for row in rows for head, value in row.items() if NUMBER.fullmatch(value)}
    kinds = {head: "" if head in numeric else " class=words" for head in rows[0]}
    yield f"<div class=wide><table><tr>{''.join(f'<th{kind}>{escape(head)}</th>' for head, kind in kinds.items())}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td{kinds[head]}>{escape(value)}</td>' for head, value in row.items())}</tr>"
    yield "</table></div>"


def _configuration(experiment: Experiment) -> str:
    """The experiment as it was run: with what it extends and with all defaults, as YAML."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
