"""Rule ``evaluate``: one posterior against the truth, and against the reference."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr
from threadpoolctl import threadpool_limits

from ..data import SCORES, read, write
from ..data.times import Clock
from ..experiment import Experiment
from ..inference.scores import Sources, scored
from .files.provenance import origin


def evaluate(
    experiment: Experiment,
    twin: Path,
    posterior: Path,
    output: Path,
    reference: Path | None = None,
    compute: Callable[[xr.Dataset, xr.DataArray], xr.Dataset] | None = None,
) -> None:
    """Scores a posterior and writes a ``metrics`` file, with the provenance and the cost of the posterior.

    At the last assimilated state, states are tested as one vector, and held against the reference.

    Everything streams: each chunk of the posterior is read once, and few are in memory at a time.

    Args:
        experiment: The experiment.
        twin: A ``twin`` file; without a ``state``, the scores against the truth are left out.
        posterior: A ``posterior`` file of some or all of its cases, at some or all of its times.
        output: The ``metrics`` file to write.
        reference: A ``posterior`` file of the reference, with all cases and times of the posterior and maybe more.
        compute: Hands over the lazy scores to others, which compute them, given the draws (see
            :class:`posterity.tasks.nodes.blocks.Workers`); threads of this process if omitted.

    Raises:
        DataError: If a file cannot be read, or they do not belong together.
    """
    truth, draws = read(twin, "twin"), read(posterior, "posterior")
    held = None if reference is None else read(reference, "posterior")
    clock = Clock.of(draws)
    length = experiment.length if clock is None else clock.states - experiment.forecast
    sources = Sources(str(twin), str(posterior), str(reference))
    found = scored(truth, draws, held, length, experiment.time_tolerance, sources, compute)
    made = origin("evaluate", experiment, str(draws.attrs.get("method", "")))
    # Chunks are computed side by side: threads of each in addition would wait for each other.
    with threadpool_limits(1):
        write(found.assign_attrs(made), output, "metrics", SCORES)
