"""``posterity literature``: analysis errors of cycling methods, beside those that are published."""

import logging
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from ..data import SCORES, atomic, read
from ..errors import ConfigError
from ..experiment import Experiment
from ..metrics import summarize

log = logging.getLogger("posterity")

HEAD = """\
| experiment | method | published | measured | standard error | ratio | cases |
|---|---|---:|---:|---:|---:|---:|
"""


def literature(experiments: Sequence[Experiment], metrics: Sequence[Path], output: Path) -> None:
    """Writes a table of analysis RMSEs, averaged over cycles behind the burn-in, then over cases.

    Args:
        experiments: The experiments; of their methods, those with a published error are listed.
        metrics: The ``comparison`` file of each experiment, in the same order.
        output: The table to write, in Markdown.

    Raises:
        ConfigError: If there are not as many files as experiments, or none of their methods has a published error.
    """
    if len(experiments) != len(metrics):
        raise ConfigError(f"--metrics: {len(metrics)} files for {len(experiments)} experiments; give one for each")
    lines = [line for pair in zip(experiments, metrics, strict=True) for line in _lines(*pair)]
    if not lines:
        names = ", ".join(experiment.name for experiment in experiments)
        raise ConfigError(f"{names}: no method has a published error; name one under 'methods.NAME.published'")
    with atomic(output) as temporary:
        temporary.write_text(HEAD + "".join(lines), encoding="utf-8")
    log.info("%s: written", output)


def _lines(experiment: Experiment, metrics: Path) -> list[str]:
    """The lines of an experiment."""
    scores = read(metrics, "comparison", SCORES)
    cycles = experiment.cycles_in(scores.sizes["time"])
    summary = summarize(scores, experiment.window, cycles, experiment.burn_in)
    last = summary.isel(moment=-1)
    return [
        _line(experiment, name, value, last.sel({"method": name}))
        for name, value in experiment.published().items()
        if name in last["method"]  # of those that failed there is nothing
    ]


def _line(experiment: Experiment, name: str, published: float, scores: xr.Dataset) -> str:
    """The line of a method."""
    rmse, error, cases = (float(scores[score]) for score in ("rmse", "rmse_error", "cases"))
    label = experiment.methods[name].label or name
    return (
        f"| {experiment.name} | {label} | {published:g} | {rmse:.3f} | {error:.3f} | {rmse / published:.2f} "
        f"| {cases:.0f} |\n"
    )
