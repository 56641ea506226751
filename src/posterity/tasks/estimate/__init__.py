"""``posterity estimate``: what a study takes, before it runs."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import ConfigError
from ...experiment import Experiment
from .costs import Costs
from .jobs import jobs
from .measured import measured
from .profiles import Profile
from .table import limits_met, table
from .work import Work

__all__ = ["estimate"]

log = logging.getLogger("posterity")


def estimate(
    experiments: Sequence[Experiment],
    profile: str | None = None,
    benchmarks: Sequence[Path] = (),
    flops: float | None = None,
) -> Iterator[str]:
    """Counts the jobs, files, bytes and operations of a study, and says what they take and what breaks first.

    Args:
        experiments: The experiment, or all variants of a file.
        profile: A profile of the workflow, its folder or its name, whose limits jobs are held against; None for none.
        benchmarks: Folders with benchmark files of experiments with the same system, which times and memory are fitted
            to, see :func:`~posterity.tasks.estimate.measured.fitted`.
        flops: Operations per second at which counted operations are done; None for those of the benchmark files.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If there is no such profile, benchmark files are of another system or of no experiment, or the rate
            is not positive.
    """
    if flops is not None and not flops > 0:
        raise ConfigError(f"--flops: must be a positive number of operations per second, such as 1e13, not {flops:g}")
    limits = None if profile is None else Profile(profile)
    works: dict[str, Work] = {}

    def work(experiment: Experiment) -> Work:
        if experiment.name not in works:
            log.info("%s: counting", experiment.name)
            works[experiment.name] = Work(experiment)
        return works[experiment.name]

    runs = measured(benchmarks, experiments[0].system.kind, work)
    planned = jobs(experiments)
    costs = Costs(runs, flops)
    found = [costs.of(job, work(job.experiment)) for job in planned]
    name = experiments[0].name
    yield f"{name if len(experiments) == 1 else name.rpartition('/')[0]}: {len(planned)} jobs"
    yield ""
    yield from table(found, limits)
    yield ""
    yield from limits_met(found, limits)
