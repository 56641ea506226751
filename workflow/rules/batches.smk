# Small pieces of work share jobs of a cluster: as many of a rule as its resource `batch` says, one after the other.
#
# Groups of Snakemake stand and fall together: when one of their pieces fails, what the others have made is removed, and
# made again. Here each piece stays a job of Snakemake with an end of its own, and only the cluster sees batches.
import os
import sys
import threading

from snakemake.iocontainers import ResourceList
from snakemake.jobs import GroupJob
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

# Seconds for which a piece waits for others, that become ready when it does.
PATIENCE = 3


def batch_of(job):
    """How many pieces of a rule share a job."""
    return 1 if job.is_group() else int(job.resources.get("batch", 1))


class Batch(GroupJob):
    """Pieces of one rule as one job of a cluster, which asks for as much as the most demanding of them."""

    __slots__ = ("pieces",)

    def __init__(self, pieces, limited):
        super().__init__("batch", frozenset(pieces), None)
        self.pieces = pieces
        self._attempt = pieces[0].attempt
        self.finalize()
        asked = dict(limited)
        for piece in pieces:
            for name, value in piece.resources.items():
                known = asked.get(name, value)
                asked[name] = max(known, value) if isinstance(value, int) else known
        self._resources = asked

    @property
    def resources(self):
        return ResourceList(fromdict=self._resources)

    @property
    def rule(self):
        return self.pieces[0].rule

    @property
    def name(self):
        return self.rule.name

    def format_wildcards(self, string, **variables):
        """Text with the rule, the resources and the wildcards of the first piece."""
        return self.pieces[0].format_wildcards(string, **variables)


class Batches(RemoteExecutor):
    """What an executor of a cluster does beside, so that pieces share its jobs."""

    def begin(self, limits, limited):
        """Starts without pieces, given what all batches may ask for together, and what of it one of each rule does."""
        self.guard = threading.Lock()
        self.timer = None
        self.limits, self.limited = limits, limited
        # Those that wait, by what must be the same in a batch; and the batches that the cluster has.
        self.waiting = {}
        self.sent = set()

    def run_jobs(self, jobs):
        """Submits jobs, and keeps pieces for a while."""
        alone = [job for job in jobs if batch_of(job) == 1]
        if alone:
            super().run_jobs(alone)
        for piece in jobs:
            if batch_of(piece) > 1:
                # What is there in the end is then of this batch, however that ends.
                self.workflow.async_run(piece.remove_existing_output())
                text = {k: v for k, v in piece.resources.items() if isinstance(v, str)}
                alike = (piece.rule.name, piece.attempt, *sorted(text.items()))
                with self.guard:
                    self.waiting.setdefault(alike, []).append(piece)
        self.send_soon()

    def send_soon(self):
        """Submits what waits, in a while."""
        with self.guard:
            if self.waiting and self.timer is None:
                self.timer = threading.Timer(PATIENCE, self.send)
                self.timer.daemon = True
                self.timer.start()

    def send(self):
        """Submits what waits, as far as limits allow."""
        try:
            for batch in self.next_batches():
                super().run_jobs([batch])
        except Exception as error:
            self.workflow.scheduler.executor_error_callback(error)

    def next_batches(self):
        """The batches that may be submitted."""
        with self.guard:
            self.timer = None
            batches = []
            for alike in list(self.waiting):
                pieces = self.waiting[alike]
                size, limited = batch_of(pieces[0]), self.limited[pieces[0].rule]
                while pieces and self.may_ask_for(limited):
                    batches.append(Batch(pieces[:size], limited))
                    self.sent.add(batches[-1])
                    del pieces[:size]
                if not pieces:
                    del self.waiting[alike]
            return batches

    def may_ask_for(self, limited):
        """Whether one more batch may ask for something, beside those that are sent."""
        return all(
            sum(batch.resources.get(name, 0) for batch in self.sent) + value
            <= self.limits[name]
            for name, value in limited.items()
        )

    def format_job_exec(self, job):
        """The command of a job; of a batch, all pieces of which it tries, one at a time, without a step of its own."""
        command = super().format_job_exec(job)
        if isinstance(job, Batch):
            if flags := self.additional_general_args():
                command = command.replace(f" {flags}", "")
            serial = f"--keep-going --resources batch={job.resources.batch}"
            command = command.replace(" -m snakemake", f" -m snakemake {serial}", 1)
        return command

    def pieces_of(self, info):
        """What is known of each piece of a job that has ended."""
        if not isinstance(info.job, Batch):
            return [info]
        with self.guard:
            self.sent.discard(info.job)
        self.send_soon()
        return [
            SubmittedJobInfo(piece, info.external_jobid, info.aux)
            for piece in info.job.pieces
        ]

    def report_job_success(self, info):
        """Says that each piece is there."""
        for piece in self.pieces_of(info):
            super().report_job_success(piece)

    def report_job_error(self, info, msg=None, **details):
        """Says which pieces are there nevertheless, since they come by one rename, when whole."""
        for piece in self.pieces_of(info):
            if piece is not info and all(map(os.path.exists, piece.job.output)):
                super().report_job_success(piece)
            else:
                super().report_job_error(piece, msg, **details)

    def cancel(self):
        """Ends all jobs, and submits no more."""
        with self.guard:
            self.waiting.clear()
        super().cancel()


def share_jobs():
    """Has pieces share the jobs of a cluster, where rules have a resource `batch`."""
    executor = workflow.scheduler._executor
    limits = {
        name: limit
        for name, limit in workflow.scheduler.global_resources.items()
        if limit < sys.maxsize and not workflow.resource_scopes.is_local(name)
    }
    of_rules = {job.rule: job for job in workflow.dag.needrun_jobs()}
    shared = {owner: job for owner, job in of_rules.items() if batch_of(job) > 1}
    if not shared or not isinstance(executor, RemoteExecutor):
        return
    # Jobs, GPUs, ...: Snakemake would count pieces, and it is batches that ask for them.
    limited = {
        owner: {
            name: job.resources[name] for name in limits if name in job.resources.keys()
        }
        for owner, job in shared.items()
    }
    for owner, asked in limited.items():
        for name in asked:
            owner.resources[name] = 0
    executor.__class__ = type("Executor", (Batches, type(executor)), {})
    executor.begin(limits, limited)
