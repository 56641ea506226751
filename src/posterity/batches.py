"""Small pieces of work share jobs of a cluster: as many of a rule as its resource ``batch`` says, one after the other.

Groups of Snakemake stand and fall together: when one of their pieces fails, what the others have made is removed, and
made again. Here each piece stays a job of Snakemake with an end of its own, and only the cluster sees batches.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from threading import Lock, Timer
from typing import Any

from snakemake.iocontainers import ResourceList
from snakemake.jobs import GroupJob, Job
from snakemake.rules import Rule
from snakemake.workflow import Workflow
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

#: Seconds for which a piece waits for others, that become ready when it does.
PATIENCE = 3.0

#: Amounts of resources by their names, such as jobs (``_nodes``) and GPUs.
Amounts = Mapping[str, int]


def share_jobs(workflow: Workflow) -> None:
    """Has pieces share the jobs of a cluster, where rules have a resource ``batch``; to be called by ``onstart``."""
    pieces = {job.rule: job for job in workflow.dag.needrun_jobs() if not job.is_local and size(job) > 1}
    if not pieces or not isinstance(executor := workflow.scheduler._executor, RemoteExecutor):
        return
    limits = {
        name: limit
        for name, limit in workflow.scheduler.global_resources.items()
        if limit < sys.maxsize and not workflow.resource_scopes.is_local(name)
    }
    limited = {
        rule: {name: job.resources[name] for name in limits if job.resources.get(name) is not None}
        for rule, job in pieces.items()
    }
    for rule, amounts in limited.items():
        for name in amounts:
            # Snakemake would count what pieces ask for, and it is batches that do.
            rule.resources[name] = 0
    executor.__class__ = type("Executor", (Batches, type(executor)), {})
    executor.begin(limits, limited)


def size(job: Job) -> int:
    """How many pieces of its rule a job shares with."""
    return 1 if job.is_group() else int(job.resources.get("batch", 1))


class Batch(GroupJob):
    """Pieces of one rule as one job of a cluster, which asks for as much as the most demanding of them.

    Args:
        pieces: The pieces.
        limited: What a batch asks for of what is limited.
    """

    def __init__(self, pieces: list[Job], limited: Amounts) -> None:
        super().__init__("batch", frozenset(pieces), None)
        self.pieces, self.limited = pieces, limited
        self._attempt = pieces[0].attempt
        self.finalize()
        asked: dict[str, Any] = dict(limited)
        for piece in pieces:
            for name, value in piece.resources.items():
                known = asked.get(name, value)
                asked[name] = max(known, value) if isinstance(value, int) else known
        self._resources = asked

    @property
    def resources(self) -> ResourceList:
        """What the job asks for."""
        return ResourceList(fromdict=self._resources)

    @property
    def rule(self) -> Rule:
        """The rule of the pieces."""
        return self.pieces[0].rule

    @property
    def name(self) -> str:
        """The name of the rule."""
        return str(self.rule.name)

    def format_wildcards(self, string: str, **variables: Any) -> str:
        """Text with the rule, the resources and the wildcards of the first piece."""
        return str(self.pieces[0].format_wildcards(string, **variables))


class Batches(RemoteExecutor):
    """What an executor of a cluster does beside, so that pieces share its jobs."""

    def begin(self, limits: Amounts, limited: Mapping[Rule, Amounts]) -> None:
        """Starts without pieces.

        Args:
            limits: The most that batches may ask for together.
            limited: What one batch of each rule asks for of it.
        """
        self.limits, self.limited = limits, limited
        self.guard = Lock()
        self.timer: Timer | None = None
        # Those that wait, by what must be the same in a batch; and the batches that the cluster has.
        self.waiting: dict[tuple[Any, ...], list[Job]] = {}
        self.sent: set[Batch] = set()

    def run_jobs(self, jobs: list[Job]) -> None:
        """Submits jobs, and keeps pieces for a while."""
        alone = [job for job in jobs if size(job) == 1]
        if alone:
            super().run_jobs(alone)
        for piece in jobs:
            if size(piece) > 1:
                # What is there in the end is then of this batch, however that ends.
                self.workflow.async_run(piece.remove_existing_output())
                texts = {name: value for name, value in piece.resources.items() if isinstance(value, str)}
                with self.guard:
                    self.waiting.setdefault((piece.rule, piece.attempt, *sorted(texts.items())), []).append(piece)
        self.send_soon()

    def send_soon(self) -> None:
        """Submits what waits, in a while."""
        with self.guard:
            if self.waiting and self.timer is None:
                self.timer = Timer(PATIENCE, self.send)
                self.timer.daemon = True
                self.timer.start()

    def send(self) -> None:
        """Submits what waits, as far as limits allow."""
        try:
            for batch in self.next_batches():
                super().run_jobs([batch])
        except Exception as error:
            self.workflow.scheduler.executor_error_callback(error)

    def next_batches(self) -> list[Batch]:
        """The batches that may be submitted."""
        with self.guard:
            self.timer = None
            batches = []
            for alike in list(self.waiting):
                pieces = self.waiting[alike]
                most, limited = size(pieces[0]), self.limited[pieces[0].rule]
                while pieces and self.may_ask_for(limited):
                    batches.append(Batch(pieces[:most], limited))
                    self.sent.add(batches[-1])
                    del pieces[:most]
                if not pieces:
                    del self.waiting[alike]
            return batches

    def may_ask_for(self, limited: Amounts) -> bool:
        """Whether one more batch may ask for something, beside those that are sent."""
        return all(
            value + sum(batch.limited.get(name, 0) for batch in self.sent) <= self.limits[name]
            for name, value in limited.items()
        )

    def format_job_exec(self, job: Job) -> str:
        """The command of a job; of a batch, all pieces of which it tries, one at a time, without a step of its own."""
        command = str(super().format_job_exec(job))
        if isinstance(job, Batch):
            if flags := self.additional_general_args():
                command = command.replace(f" {flags}", "")
            serial = f"--keep-going --resources batch={job.resources.batch}"
            command = command.replace(" -m snakemake", f" -m snakemake {serial}", 1)
        return command

    def ended(self, info: SubmittedJobInfo) -> Iterable[SubmittedJobInfo]:
        """What is known of each piece of a job that has ended."""
        if not isinstance(info.job, Batch):
            return [info]
        with self.guard:
            self.sent.discard(info.job)
        self.send_soon()
        return [SubmittedJobInfo(piece, info.external_jobid, info.aux) for piece in info.job.pieces]

    def report_job_success(self, info: SubmittedJobInfo) -> None:
        """Says that each piece is there."""
        for piece in self.ended(info):
            super().report_job_success(piece)

    def report_job_error(self, info: SubmittedJobInfo, msg: str | None = None, **details: Any) -> None:
        """Says which pieces are there nevertheless, since they come by one rename, when whole."""
        for piece in self.ended(info):
            if piece is not info and all(map(os.path.exists, piece.job.output)):
                super().report_job_success(piece)
            else:
                super().report_job_error(piece, msg, **details)

    def cancel(self) -> None:
        """Ends all jobs, and submits no more."""
        with self.guard:
            self.waiting.clear()
        super().cancel()
