"""What an edit of each module redoes: the table of reruns, by rooms, from an edit of every module of a copy in turn.

``tests/workflow/test_reruns.py`` holds plans of the real Snakefile against some of the same edits.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import posterity
from posterity.experiment import catalog

TINY = Path(__file__).parents[1] / "workflow" / "tiny.yaml"

#: Adds a line of code to each module in turn, and prints the jobs whose dependencies change: stage, and what it makes.
EDITS = """
import json, sys
from pathlib import Path
import posterity
from posterity.experiment import load
from posterity.experiment.dependencies import STAGES, dependencies
from posterity.experiment.sources import digest, modules

experiment, known, read = load(sys.argv[1]), {}, modules.source.__wrapped__
modules.source = digest.source = lambda module: known.get(module) or known.setdefault(module, read(module))
looked_up = (digest._reached, digest._leads, digest._own_code, modules.defining_module)
jobs, pending = set(), [("plot", figure) for figure in experiment.figures_drawn()]
while pending:
    job = pending.pop()
    if job not in jobs:
        jobs.add(job)
        pending += STAGES[job[0]].origins(experiment, job[1])
keys = lambda: {" ".join(job).strip(): dependencies(job[0], experiment, job[1]).key for job in jobs}
def forget(name):
    known.pop(name, None)
    for function in looked_up:
        function.cache_clear()
before, root, redone = keys(), Path(posterity.__file__).parent, {}
for path in sorted(root.rglob("*.py")):
    name = ".".join(("posterity", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
    text = path.read_text()
    path.write_text(text + "\\n\\nUNUSED = 0\\n")
    forget(name)
    changed = sorted(job for job, key in keys().items() if key != before[job])
    redone[name.removeprefix("posterity").lstrip(".")] = changed
    path.write_text(text)
    forget(name)
print(json.dumps({"jobs": sorted(before), "redone": redone}))
"""

SIMULATIONS = {"simulate train", "simulate valid", "simulate test"}
LEARNED = {"train npe", "sample npe"}
BASELINES = {"assimilate 4dvar", "assimilate prior"}
DRAWS = LEARNED | BASELINES | {"reference"}
SCORES = {"evaluate 4dvar", "evaluate npe", "evaluate prior", "aggregate"}

#: The jobs of a Lorenz-96 study (a prior, a 4DVAR, an NPE; SMC for reference) that edits in a room redo directly: these
#: and no others, each by some module of the room. What is made of them follows.
TABLE = {
    "": set(),
    "__main__": set(),
    "arguments": set(),
    "batches": set(),
    "cli": set(),
    "errors": set(),
    "experiment": set(),
    "systems": SIMULATIONS | DRAWS,
    "tensors": SIMULATIONS | DRAWS,
    "algebra": DRAWS,
    "problems": SIMULATIONS | DRAWS,
    "rules": SIMULATIONS | DRAWS,
    "mcmc": {"reference"},
    "nn": LEARNED,
    "flows": LEARNED,
    "diffusion": set(),
    "baselines": BASELINES | {"reference"},
    "estimators": LEARNED,
    "metrics": SCORES | {"plot"},
    "figures": {"plot"},
    "data": SIMULATIONS | DRAWS | SCORES | {"plot"},
    "inference": SIMULATIONS | DRAWS | SCORES - {"aggregate"} | {"plot"},
    "memory": set(),
    "tasks": SIMULATIONS | DRAWS | SCORES | {"plot"},
    "overview": set(),
    "project": set(),
    "testing": set(),
    "worker": set(),
}


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What an edit of each module redoes, and all jobs that there are."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(posterity.__file__).parent, folder / "posterity", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TINY.parents[2] / "config", folder / "config")
    every_figure = re.sub(r"^figures: .*\n", "", TINY.read_text(), flags=re.MULTILINE)
    (folder / "config" / "experiments" / "tiny.yaml").write_text(every_figure)
    done = subprocess.run(
        [sys.executable, "-c", EDITS, "tiny"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def redone(edits: dict) -> Mapping[str, list[str]]:
    """What an edit of each module redoes."""
    return edits["redone"]


def without_figures(jobs: list[str]) -> set[str]:
    """The jobs, figures not told apart."""
    return {"plot" if job.startswith("plot ") else job for job in jobs}


def test_every_room_redoes_what_it_should_and_nothing_else(redone) -> None:
    found: dict[str, set[str]] = {}
    for module, jobs in redone.items():
        found.setdefault(module.partition(".")[0], set()).update(without_figures(jobs))
    for room, jobs in sorted(found.items()):
        print(f"{room or 'posterity':<12} {', '.join(sorted(jobs)) or 'nothing'}")
    assert found == TABLE


def test_a_figure_redraws_itself_and_those_that_use_it(redone, edits) -> None:
    drawn = [job.removeprefix("plot ") for job in edits["jobs"] if job.startswith("plot ")]
    assert len(drawn) == 16
    used = {"reference": "corner", "spectra": "error_spectrum"}
    for figure in drawn:
        module = catalog.target("figure", figure).partition(":")[0].removeprefix("posterity.")
        assert set(redone[module]) == {f"plot {each}" for each in (figure, used.get(figure)) if each}
    assert len(redone["figures.drawing.style"]) == 16


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("systems.lorenz63", []),
        ("systems.lorenz96", sorted(SIMULATIONS | DRAWS)),
        ("nn.layers", sorted(LEARNED)),
        ("nn.unet", []),
        ("flows.spline", sorted(LEARNED)),
        ("flows.multiscale", []),
        ("estimators.npe", sorted(LEARNED)),
        ("estimators.nre", []),
        ("estimators.learning.training", ["train npe"]),
        ("tasks.training.ending", ["train npe"]),
        ("tasks.training.submission", []),
        ("baselines.montecarlo.smc", ["reference"]),
        ("baselines.variational.fourdvar", ["assimilate 4dvar"]),
        ("baselines.sequential.etkf", []),
        ("mcmc.tempering", ["reference"]),
        ("metrics.evaluate", ["evaluate 4dvar", "evaluate npe", "evaluate prior"]),
        ("metrics.roc", []),
        ("tasks.files.lock", ["train npe"]),
        ("baselines.cycling", sorted(BASELINES)),
        ("baselines.sequential.record", []),
        ("baselines.montecarlo.climatology", []),
        ("tasks.simulate", sorted(SIMULATIONS)),
        ("tasks.classify", []),
        ("inference.session.method", []),
        ("inference.session.comparison", []),
        ("inference.training", ["train npe"]),
        ("inference.records", sorted(BASELINES)),
        ("inference.scores", ["evaluate 4dvar", "evaluate npe", "evaluate prior"]),
    ],
)
def test_a_module_redoes_those_who_build_on_it(redone, module, jobs) -> None:
    assert redone[module] == jobs
