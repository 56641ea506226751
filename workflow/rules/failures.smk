# What happens when jobs fail: a second pass makes scores, table and figures of the methods that are left, and the last
# lines say what failed. The next run tries again, since the table depends on the methods that it is made of.
import atexit
import json
import subprocess
from itertools import chain

import psutil

# What may be made without all methods.
JOINED = ("aggregate", "plot", "animate", "report", "scaling", "literature")


# What the job of a rule makes that others can be made without.
MADE = {"evaluate": "methods", "classify": "classifiers", "reference": "reference"}


def jobs_failed():
    """The jobs that failed, in the order of their logs."""
    jobs = (job if job.is_group() else [job] for job in workflow.scheduler.failed)
    return sorted(chain.from_iterable(jobs), key=lambda job: str(job.log))


def stopped():
    """Whether the workflow was stopped before all was done that could be."""
    return bool(workflow.scheduler.running) or bool(workflow.scheduler.open_jobs)


def stop_drivers():
    """Ends what still runs here once the workflow was stopped: Snakemake stops the jobs of Slurm alone."""
    if stopped():
        for process in psutil.Process().children(recursive=True):
            process.terminate()


def causes(job):
    """The jobs that failed and are in the way of a job; without a reference, scores can be made."""
    before = set(workflow.dag.bfs(workflow.dag.dependencies, job))
    return [
        other
        for other in jobs_failed()
        if other in before and (other.rule.name != "reference" or other == job)
    ]


def lost_by_failures():
    """What the jobs that failed took with them, as in LOST."""
    lost = {}
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in MADE and (failed := causes(job)):
            of = lost.setdefault(job.wildcards.experiment, {})
            own = of.setdefault(MADE[job.rule.name], {})
            name, log = job.wildcards.get("method", ""), str(failed[0].log)
            # Of several shards that failed it is always the same that is named, or the table would depend on chance.
            own[name] = min(log, own.get(name, log))
    return lost


def can_be_made(job, experiments):
    """Whether a job of several methods makes something of those that are left."""
    if job.rule.name in ("aggregate", "plot", "animate", "report"):
        experiment = experiments[job.wildcards.experiment]
        figures = experiment.figures_drawn()
        drawn = "figure" not in job.wildcards.keys() or job.wildcards.figure in figures
        return bool(experiment.methods) and drawn
    compared = (
        COMPARED[job.wildcards.study]
        if job.rule.name == "scaling"
        else [EXPERIMENTS[name] for name in PUBLISHED]
    )
    return all(experiments[experiment.name].methods for experiment in compared)


def make_the_rest():
    """Makes what can be made of the methods that are left, in a second pass, once all else is done."""
    if LOST or stopped() or not (lost := lost_by_failures()):
        return
    experiments = {
        name: left(experiment, lost.get(name, {}))
        for name, experiment in EXPERIMENTS.items()
    }
    targets = [
        str(output)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in JOINED and can_be_made(job, experiments)
        for output in job.output
    ]
    if targets:
        script = PROJECT / "workflow" / "scripts" / "again.py"
        print("\nGoing on with what is left.", flush=True)
        arguments = [json.dumps(targets), json.dumps(lost), *sys.argv[1:]]
        subprocess.run([sys.executable, script, *arguments])


def failures():
    """What failed, each with its log."""
    if not (failed := jobs_failed()):
        return ["The workflow was stopped; start it again, and it goes on."]
    return [f"failed: {job.message or job.rule.name}; see {job.log}" for job in failed]


def results_made():
    """What the results come to, and where the tables and figures are that there are."""
    from posterity.tasks.files.verdict import made, verdicts

    results = Path("results")
    lines = (
        {f"results/{name}/table.csv": made(results, name) for name in ASKED}
        | {
            f"results/{name}/scaling.csv": made(results, name, compared=True)
            for name in COMPARED
        }
        | {
            f"results/{name}/report.html": f"{name}: all on one page is results/{name}/report.html"
            for name in ASKED
        }
    )
    there = [line for file, line in lines.items() if Path(file).is_file()]
    return [*verdicts(results, ASKED), "", *there]


def say_at_the_end(lines):
    """Prints lines behind all that Snakemake prints."""
    atexit.register(print, "\n".join(["", *lines]), flush=True)
