"""The verdict on a comparison of methods, as plain values and two sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..score import FLOOR
from ..summary import at_moments, calibrated, calibration_tests, judged_moment, summarize
from .places import average, places, standard_errors, told

#: The scores by which methods are ranked, the first that some method has: what they are, and in what units.
RANKED = {
    "sliced_wasserstein": ("sliced Wasserstein distance to the reference", "standard deviations of the reference"),
    "crps": ("CRPS", ""),
}
#: What a test of calibration is of.
TESTS = {"spread_skill": "spread–skill ratio", "rank_uniformity": "ranks of the truth"}
#: The fewest cases that test uniform ranks, and the accuracy of a classifier from which on it tells draws apart.
FEW, CLASSIFIED = 10, 0.6
#: The most methods that a sentence names.
NAMED = 3


@dataclass(frozen=True)
class Judged:
    """What the verdict says of one method.

    Args:
        method: Its name.
        place: Its place, which it shares with those that errors do not tell from the first of it; 0 without a score.
        score: The score by which methods are ranked, as a mean over cases; NaN if it has none.
        error: Its standard error over cases.
        cases: The number of cases that have it.
        calibrated: Whether it passes the tests of calibration; None where nothing is known.
        test: The test that says so: the one that rejects most clearly, or that is nearest to it.
        c2st: The accuracy of the classifier test against the reference; NaN without.
        seconds: Wall time per case, without training.
    """

    method: str
    place: int
    score: float
    error: float
    cases: int
    calibrated: bool | None
    test: str
    c2st: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """The verdict on a comparison of methods.

    Args:
        score: The score by which methods are ranked; empty if there is none.
        units: Its units; empty if none.
        moment: The moment at which they are.
        cases: The number of cases.
        floor: The score of the reference itself, between its runs; NaN if it is not known.
        methods: What it says of each method, in the order of their places.
        won: What won, in a sentence.
        distrust: What to distrust, in a sentence.
    """

    score: str
    units: str
    moment: str
    cases: int
    floor: float
    methods: tuple[Judged, ...]
    won: str
    distrust: str


class Scores(NamedTuple):
    """The score by which methods are ranked: its name, what it is, its units, and values ``(method, case)``."""

    name: str
    label: str
    units: str
    values: NDArray[np.float64]
    floor: NDArray[np.float64]


def judge(
    comparison: xr.Dataset,
    window: int,
    cycles: int = 1,
    burn_in: int = 0,
    failed: Sequence[str] = (),
    summary: xr.Dataset | None = None,
) -> Verdict:
    """Ranks methods by their distance to the reference or, where there is none, by their CRPS.

    Scores are those at the end of the window, or over the analyses of a record. Methods share a place unless the
    difference of their scores in the same cases is larger than its error, see
    :func:`posterity.metrics.judgement.places.places`.

    Args:
        comparison: The scores of all methods, a ``comparison`` dataset.
        window: The number of assimilated states, of each cycle.
        cycles: The number of windows that follow each other.
        burn_in: The number of first cycles to leave out.
        failed: The names of methods that have no scores, since they failed.
        summary: The summary of the comparison, if it is at hand; see :func:`posterity.metrics.summarize`.

    Returns:
        The verdict.
    """
    summary = summarize(comparison, window, cycles, burn_in) if summary is None else summary
    moment = judged_moment(summary)
    at = at_moments(comparison, window, cycles, burn_in).sel(moment=moment)
    scores = _scores(at)
    methods = _judged(summary, moment, scores)
    total = at.sizes["case"]
    won = _won(methods, scores)
    doubts = [*_doubts(methods, scores, summary, total, failed)]
    distrust = f"Distrust: {'; '.join(doubts)}." if doubts else _nothing_to_distrust(methods, summary, moment, total)
    floor = float(average(scores.floor[None])[0])
    return Verdict(scores.label, scores.units, moment, total, floor, tuple(methods), won, distrust)


def _scores(at: xr.Dataset) -> Scores:
    """The score by which methods are ranked, at the moment that counts."""
    shape = at.sizes["method"], at.sizes["case"]
    for name, (label, units) in RANKED.items():
        if name in at and bool(at[name].notnull().any()):
            values = at[name].transpose("method", "case").to_numpy().astype(float)
            floor = np.full(shape[1], np.nan)
            if name + FLOOR in at:
                # Methods of as many draws have the same floor.
                floor = at[name + FLOOR].mean("method").to_numpy().astype(float)
            state = str(at[name].attrs.get("units", "1"))
            return Scores(name, label, units or ("" if state == "1" else state), values, floor)
    return Scores("", "", "", np.full(shape, np.nan), np.full(shape[1], np.nan))


def _judged(summary: xr.Dataset, moment: str, scores: Scores) -> list[Judged]:
    """What there is to say of each method, by place; those without a score last."""
    order, found = places(scores.values)
    place = dict(zip(order, found, strict=True))
    names = [str(name) for name in summary["method"].values]
    order += [index for index in range(len(names)) if index not in place]
    means, errors = average(scores.values), standard_errors(scores.values)
    known = (~np.isnan(scores.values)).sum(axis=1)
    passed, tests = calibrated(summary).to_numpy(), calibration_tests(summary)
    c2st = summary["c2st"].to_numpy() if "c2st" in summary else np.full(len(names), np.nan)
    return [
        Judged(
            names[index],
            place.get(index, 0),
            float(means[index]),
            float(errors[index]),
            int(known[index]),
            None if isnan(passed[index]) else bool(passed[index]),
            _test(summary.isel(method=index), tests.isel(method=index)),
            float(c2st[index]),
            float(summary["seconds"].to_numpy()[index]),
        )
        for index in order
    ]


def _test(summary: xr.Dataset, tests: xr.DataArray) -> str:
    """The test of a method with the least p-value, in words; empty if there is none."""
    if tests.isnull().all():
        return ""
    at = np.unravel_index(int(np.nanargmin(tests)), tests.shape)
    least = tests[at]
    name, moment = str(least["test"].item()), str(least["moment"].item())
    ratio = f" {float(summary['spread_skill'].sel(moment=moment)):.2f}" if name == "spread_skill" else ""
    return f"{TESTS[name]}{ratio} at the {moment}, p = {float(least):.1g}"


def _won(methods: Sequence[Judged], scores: Scores) -> str:
    """The sentence that says what won."""
    if not scores.name:
        return "Nothing says which method is best: there is neither a truth nor a reference."
    best, *others = [method for method in methods if method.place == 1]
    if len(methods) == 1:
        return f"{best.method} is alone, with a {scores.label} of {best.score:.3g}."
    nearest = "best by CRPS" if scores.name == "crps" else "nearest to the reference"
    floor = ", as near as its runs are to each other" if _at_floor(best, scores) else ""
    measure = scores.label.partition(" to the ")[0]
    if others:
        found = f"{best.score:.3g}" if scores.name == "crps" else f"{measure} {best.score:.3g}"
        cheap = min([best, *others], key=lambda method: method.seconds if isfinite(method.seconds) else np.inf)
        cost = f"; of these {cheap.method} takes the least time" if isfinite(cheap.seconds) else ""
        names = _names([best, *others])
        return f"{names} are {nearest}, and errors do not tell them apart ({best.method}: {found}{floor}){cost}."
    ahead = next((method for method in methods if method.place > 1), None)
    rest = f"; next is {ahead.method} with {ahead.score:.3g}" if ahead else ""
    return f"{best.method} is {nearest}, with a {measure} of {best.score:.3g}{floor}{rest}."


def _at_floor(best: Judged, scores: Scores) -> bool:
    """Whether the best method is as near to the reference as the runs of that are to each other."""
    if np.isnan(scores.floor).all():
        return False
    own = scores.values[int(np.nanargmin(average(scores.values)))]
    return not told(np.stack([own, scores.floor]), 0, 1) or best.score < average(scores.floor[None])[0]


def _doubts(
    methods: Sequence[Judged], scores: Scores, summary: xr.Dataset, total: int, failed: Sequence[str]
) -> Iterator[str]:
    """What to distrust, the gravest first."""
    if failed:
        yield f"{_join(failed)} failed, and {'is' if len(failed) == 1 else 'are'} left out"
    if total == 1 and scores.name:
        yield "one case alone has no error: the order is chance"
    elif total < FEW:
        yield f"{total} cases are too few for tests of calibration, and for small differences"
    partial = [method for method in methods if method.cases < total and scores.name]
    if partial:
        yield "means over other cases: " + _join([f"{one.method} has {one.cases} of {total}" for one in partial])
    wrong = [method for method in methods if method.calibrated is False]
    first = [method for method in wrong if method.place == 1]
    if first:
        yield f"{first[0].method}, which stands first, is not calibrated ({first[0].test})"
    if others := [method for method in wrong if method not in first[:1]]:
        spread = "spreads" if len(others) > 1 else "spread"
        yield f"the {spread} of {_names(others)}, which {'are' if len(others) > 1 else 'is'} not calibrated"
    best = methods[0]
    if scores.name not in ("", "crps"):
        if best.c2st > CLASSIFIED:
            yield f"even the nearest: a classifier tells its draws from the reference ({best.c2st:.0%} right)"
        if np.isnan(scores.floor).all():
            yield "the reference, which has one run alone, so that nothing says how good it is"
    elif scores.name:
        yield "the order, for want of a reference: CRPS looks at each site alone"


def _nothing_to_distrust(methods: Sequence[Judged], summary: xr.Dataset, moment: str, total: int) -> str:
    """The sentence where no test speaks against a method: what they would not have noticed."""
    error = float(summary["spread_skill_error"].sel({"method": methods[0].method, "moment": moment}))
    size = f"; a spread that is off by less than {2.6 * error:.0%} would not have been noticed" * isfinite(error)
    return f"Nothing speaks against these numbers, with {total} cases{size}."


def _names(methods: Sequence[Judged]) -> str:
    """The names of some methods, of many the first."""
    return _join([method.method for method in methods])


def _join(names: Sequence[str]) -> str:
    """Names in a sentence, of many the first."""
    if len(names) > NAMED + 1:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
