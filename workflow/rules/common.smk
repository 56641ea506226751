# What the rules share. Nothing here imports torch: every cluster job parses it again.
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from posterity.errors import PosterityError
from posterity.experiment import Experiment, catalog, check_keys, lent, studies
from posterity.experiment.dependencies import lineage
from posterity.experiment.sources.signature import signature
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

# Components in modules of this folder, as jobs find them.
if str(Path.cwd()) not in sys.path:
    sys.path.append(str(Path.cwd()))

# What Snakemake is asked to run jobs in.
DEPLOYED = workflow.deployment_settings.deployment_method & {
    DeploymentMethod.CONDA,
    DeploymentMethod.APPTAINER,
}

# The interpreter that plans the workflow also runs its jobs, on any node, without activating anything, unless they have
# an environment or an image of their own. The package is the same: `posterity` in a rule is this function of the shell,
# which leaves the paths of other rules alone.
shell.prefix(
    f"posterity() {{{{ PYTHONPATH={quote(str(PROJECT / 'src'))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    f' {"python" if DEPLOYED else quote(sys.executable)} -m posterity "$@"; }}}}; '
)

# Pieces that share a job (posterity.batches) share what they import.
if workflow.remote_exec and "batch" in workflow.global_resources and not DEPLOYED:
    from posterity.worker import start

    start()

try:
    # The configuration of a module may hold what is another workflow's.
    if workflow.modifier.is_main_snakefile():
        check_keys(set(config) - {"lost"})
    STUDIES = studies(config, PROJECT if PROJECT.resolve() != Path.cwd() else None)
    # Experiments whose weights those draw with: nothing is asked of them but their trainings.
    LENT = lent(STUDIES)
except PosterityError as error:
    raise WorkflowError(str(error)) from None

FILES = {
    experiment.name: file for study in [*STUDIES, LENT] for file, experiment in study
}

# What failed, in the second pass that makes what is left: of each experiment, its methods, its classifiers and its
# reference, with the log of each.
LOST = config.get("lost", {})


def left(experiment, lost):
    """What is left of an experiment."""
    experiment = experiment.without(
        lost.get("methods", {}), not lost.get("reference", {})
    )
    if set(experiment.classified()) <= set(lost.get("classifiers", {})):
        return experiment.model_copy(update={"classifier": None})
    return experiment


EXPERIMENTS = {
    experiment.name: left(experiment, LOST.get(experiment.name, {}))
    for study in [*STUDIES, LENT]
    for _, experiment in study
}

# Those that are asked for.
ASKED = [experiment.name for study in STUDIES for _, experiment in study]

# Files of which several variants are asked for, by name: these are set beside each other.
COMPARED = {
    study[0][1].name.rpartition("/")[0]: [
        EXPERIMENTS[experiment.name] for _, experiment in study
    ]
    for study in STUDIES
    if len(study) > 1
}


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    split="train|valid|test",
    shard=r"\d+",
    figure="|".join(catalog.names("figure")),


# Figures that move, told by what they must be given: a number of frames.
MOVING = {
    name
    for name, target in catalog.names("figure").items()
    if "frames" in {parameter.name for parameter in signature(target)}
}


def check_software():
    """Refuses to start jobs that would find no software; to plan them takes none beside Snakemake's own."""
    if DeploymentMethod.APPTAINER in DEPLOYED and not config.get("container"):
        raise WorkflowError(
            "container: is not set; give the image that jobs run in, such as --config container=posterity.sif"
        )
    if not DEPLOYED and find_spec("torch") is None:
        raise WorkflowError(
            f"{sys.executable} has no torch: install the project (`make setup`), or let Snakemake bring the software with"
            " --sdm conda, or --sdm apptainer and --config container=IMAGE"
        )


# Kept open until the workflow ends, however it ends.
LOCKS = ExitStack()


def lock_results():
    """Locks the results of all experiments; a second workflow over them would write and train the same things."""
    from posterity.tasks.files.lock import lock

    if LOST:
        return  # The workflow that this is the second pass of holds them.
    for name in EXPERIMENTS:
        try:
            LOCKS.enter_context(lock(Path("results", name)))
        except PosterityError as error:
            raise WorkflowError(str(error)) from None


def owning(folder, methods):
    """A constraint of `experiment`: those that have some methods, each with its own only, in a folder of results."""
    owned = {name: methods(experiment) for name, experiment in EXPERIMENTS.items()}
    return (
        "|".join(
            f"{name}(?=/{folder}/(?:{'|'.join(own)})[/.])"
            for name, own in owned.items()
            if own
        )
        or "$"
    )


def experiment_of(wildcards):
    """The experiment."""
    return EXPERIMENTS[wildcards.experiment]


def file_of(wildcards):
    """The experiment's file."""
    return FILES[wildcards.experiment]


# What results depend on, as far as it is known: of each experiment, by stage and what it makes.
LINEAGES = {name: {} for name in EXPERIMENTS}


def depends_on(stage):
    """A params function: what a result depends on beside the files themselves. A change of it redoes the stage."""

    def depends(wildcards):
        made = wildcards.get(
            "split", wildcards.get("figure", wildcards.get("method", ""))
        )
        known = LINEAGES[wildcards.experiment]
        return lineage(stage, experiment_of(wildcards), made, known)

    return depends


def shards(experiment, split):
    """The numbers of the shards of a split."""
    return range(len(getattr(EXPERIMENTS[experiment].splits, split).shards()))


def simulations(split):
    """An input function: the shards of a split."""

    def files(wildcards):
        return expand(
            "results/{experiment}/simulations/{split}/{shard}.nc",
            experiment=wildcards.experiment,
            split=split,
            shard=shards(wildcards.experiment, split),
        )

    return files


def trained_alone(experiment):
    """The methods that one process trains."""
    return [name for name in experiment.trained() if name not in experiment.shared()]


def processes_of(wildcards):
    """The number of processes of a training."""
    return experiment_of(wildcards).methods[wildcards.method].training.processes()


def submission(wildcards, resources):
    """What each process of a training gets; who made it with other resources need not make it again."""
    known = ((name, value) for name, value in resources.items() if name[0] != "_")
    return "--submit " + " ".join(quote(f"{name}={value}") for name, value in known)


def workers_of(wildcards, resources):
    """Where scores are computed: by workers on all tasks of the job, if the profile gives it several."""
    return "--dask slurm" if resources.get("tasks", 1) > 1 else ""


def check_nodes():
    """Refuses trainings on several nodes, or by several processes, where there is no Slurm to start them."""
    if workflow.executor_plugin.name == "slurm":
        return
    for job in workflow.dag.needrun_jobs():
        if job.rule.name == "train_on_nodes":
            training = (
                experiment_of(job.wildcards).methods[job.wildcards.method].training
            )
            raise WorkflowError(
                f"{job.wildcards.experiment}: methods.{job.wildcards.method}.training: {training.nodes} x"
                f" {training.gpus} processes (nodes x gpus) take Slurm: use profiles/slurm, or set both to 1 and 'shares'"
                f" to {training.equal_shares()}, and one process takes the same steps here"
            )


def climatology_of(wildcards):
    """The library of states, if the experiment has one."""
    if experiment_of(wildcards).climatology is None:
        return []
    return f"results/{wildcards.experiment}/climatology.nc"


def weights_file(name):
    """An input function: a file in the folder of the weights that a method draws with, its own or another's."""

    def file(wildcards):
        experiment = experiment_of(wildcards)
        owner, weights = experiment.owner(experiment.weights(wildcards.method))
        return f"results/{owner.name}/models/{weights}/{name}"

    return file


def draws(wildcards):
    """The number of draws per case."""
    return experiment_of(wildcards).draws(wildcards.method)


def shard_of(wildcards):
    """Where the cases of a shard begin and how many they are: adding shards leaves those there are alone."""
    sizes = getattr(experiment_of(wildcards).splits, wildcards.split).shards()
    shard = int(wildcards.shard)
    return [sum(sizes[:shard]), sizes[shard]]


def reference_of(shard):
    """An input function: the reference of a test shard, if the experiment has one."""

    def file(wildcards):
        if experiment_of(wildcards).reference is None:
            return []
        return (
            f"results/{wildcards.experiment}/references/{shard.format(**wildcards)}.nc"
        )

    return file


def metrics_of_all(wildcards):
    """The metrics of all methods, in the order of the experiment."""
    return expand(
        "results/{experiment}/metrics/{method}/{shard}.nc",
        experiment=wildcards.experiment,
        method=experiment_of(wildcards).methods,
        shard=shards(wildcards.experiment, "test"),
    )


def failed_of(wildcards):
    """The methods that failed, each with its log, as NAME=FILE."""
    methods = LOST.get(wildcards.experiment, {}).get("methods", {})
    return [f"{method}={log}" for method, log in methods.items()]


def classifiers_of_all(wildcards):
    """The classifiers of the methods that are trained, if the experiment has them; those that failed are left out."""
    lost = LOST.get(wildcards.experiment, {}).get("classifiers", {})
    return expand(
        "results/{experiment}/classifiers/{method}.nc",
        experiment=wildcards.experiment,
        method=[
            name for name in experiment_of(wildcards).classified() if name not in lost
        ],
    )


def figures_of(experiment, *suffixes):
    """The figures of an experiment."""
    return expand(
        "results/{experiment}/figures/{figure}.{suffix}",
        experiment=experiment,
        figure=EXPERIMENTS[experiment].figures_drawn(),
        suffix=suffixes,
    )


def animations_of(experiment):
    """The animations of an experiment."""
    return expand(
        "results/{experiment}/figures/{figure}.gif",
        experiment=experiment,
        figure=[
            name for name in EXPERIMENTS[experiment].figures_drawn() if name in MOVING
        ],
    )


def figures_shown(wildcards):
    """The figures of an experiment that a page shows: those that move as they move, and all others still."""
    moving = animations_of(wildcards.experiment)
    still = figures_of(wildcards.experiment, "svg")
    return [
        path for path in still if path.removesuffix("svg") + "gif" not in moving
    ] + moving


def figure_inputs(wildcards):
    """The names of what a figure is given."""
    target = catalog.target("figure", wildcards.figure)
    return {parameter.name for parameter in signature(target)}


def reference_shown(wildcards):
    """The reference of the first test shard, if there is one and the figure shows it, or what takes its place."""
    experiment, wanted = experiment_of(wildcards), figure_inputs(wildcards)
    if "standard" in wanted and experiment.reference is None:
        return f"results/{wildcards.experiment}/posteriors/{experiment.figures.standard}/0.nc"
    return reference_of("0")(wildcards) if wanted & {"reference", "standard"} else []


def draws_shown(wildcards):
    """The draws of methods in the first test shard, for figures that show draws; of a group the first's."""
    shown = "posteriors" in figure_inputs(wildcards)
    return expand(
        "results/{experiment}/posteriors/{method}/0.nc",
        experiment=wildcards.experiment,
        method=experiment_of(wildcards).shown() if shown else [],
    )


def histories_shown(wildcards):
    """The histories of all trainings, for figures that show them."""
    shown = "histories" in figure_inputs(wildcards)
    return expand(
        "results/{experiment}/models/{method}/history.jsonl",
        experiment=wildcards.experiment,
        method=experiment_of(wildcards).trained() if shown else [],
    )


def variants_file(wildcards):
    """The file whose variants are set beside each other."""
    return FILES[COMPARED[wildcards.study][0].name].rpartition("/")[0]


def metrics_of_variants(wildcards):
    """The metrics of all variants."""
    return [
        f"results/{experiment.name}/metrics.nc"
        for experiment in COMPARED[wildcards.study]
    ]


def trainings_of_variants(wildcards):
    """What the trainings of all variants wrote of themselves."""
    return [
        f"results/{experiment.name}/models/{method}/estimator.json"
        for experiment in COMPARED[wildcards.study]
        for method in experiment.trained()
    ]


def variants_depend_on(wildcards):
    """What the comparison of variants depends on."""
    return [
        lineage("scaling", experiment, "", LINEAGES[experiment.name])
        for experiment in COMPARED[wildcards.study]
    ]


PUBLISHED = [name for name in ASKED if EXPERIMENTS[name].published()]
