"""The pages of the documentation as stories: each block runs as it is printed, and prints what the page says."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from . import forks
from .conftest import Study

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]

#: What a test leaves out: set-up, runs of minutes, and what needs a cluster. Targets of make and experiments that pages
#: name are held against those that there are in tests/test_docs.py.
LEFT_OUT = (
    "source ",
    "make ",
    "posterity run ",
    "git ",
    "cp ",
    "srun ",
    "nohup ",
    "squeue ",
    "sacct ",
    "apptainer ",
    "python3 -m venv ",
    "snakemake/bin/",
    ".venv/bin/pip ",
    "snakemake --profile profiles/pbs ",
    ".venv/bin/python -m pip ",
    "pip ",
)

#: The modules of the package of the page on extending, each by a line that its block alone has.
MODULES = {
    "lorenz84": "class Lorenz84(",
    "blown": "class Blown(",
    "coarse": "class Coarse(",
    "weighted": "class WeightedLaplace(",
    "gaussian": "class GaussianPosterior(",
    "tests": "def test_system(",
    "crps": "def crps(",
}

#: A Python that runs one block after another, in double quotes of JSON, and says when it is done with each.
INTERPRETER = """
import json, sys
page = {"__name__": "page"}
for line in sys.stdin:
    exec(compile(json.loads(line), "page", "exec"), page)
    print("\\n--- done", flush=True)
"""


#: The tasks of a console, one command after another.
CONSOLE = """
import sys
from posterity.cli import app
for line in sys.stdin:
    app(line.split(), standalone_mode=False)
"""


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Args:
        language: What it is written in.
        text: The code.
        experiment: The last experiment file that the prose before it names.
    """

    language: str
    text: str
    experiment: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands of a console, and what is printed below each."""
        for part in re.split(r"^\$ ", self.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def blocks(page: str) -> Iterator[Block]:
    """All blocks of a page, in turn."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL):
        named = re.findall(r"([\w-]+)\.yaml", text[: match.start()])
        yield Block(match[2], match[3], named[-1] if named else "page")


class Reader:
    """Somebody who does what pages say, in a copy of the project."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.package = folder / "site" / "mylab"
        self.package.mkdir(parents=True)
        (self.package / "__init__.py").touch()

    def read(self, page: str) -> None:
        """Does all that a page says."""
        said = ""
        with subprocess.Popen(
            [sys.executable, "-c", INTERPRETER], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as self.python:  # fmt: skip
            for block in blocks(page):
                if block.language == "python":
                    said = self.run(block.text)
                elif block.language == "yaml":
                    self.check(block)
                elif block.language == "toml":
                    self.install(block.text)
                elif block.text.startswith("$ "):
                    for command, printed in block.commands():
                        self.command(command, printed)
                elif block.language == "text" and said:
                    assert said == block.text
            self.python.stdin.close()

    def run(self, code: str) -> str:
        """Runs code, or puts it into the package that the page writes; returns what it prints."""
        for name, line in MODULES.items():
            if line in code:
                (self.package / f"{name}.py").write_text(code)
                code = f"import mylab.{name}"
        self.python.stdin.write(json.dumps(code) + "\n")
        self.python.stdin.flush()
        lines = []
        for line in self.python.stdout:
            if line == "--- done\n":
                break
            lines.append(line)
        else:
            pytest.fail(f"{code}\n{''.join(lines)}")
        said = "".join(lines)[:-1]
        printed = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", said)]
        for comment in re.findall(r"^print\(.*\)  # (-?[\d.]+)", code, re.MULTILINE):
            # What a comment says of a number that is printed is right to its last digit.
            digits = len(comment.partition(".")[2])
            assert any(abs(number - float(comment)) < 1.5 * 10**-digits for number in printed), f"{code} prints {said}"
        return said

    def check(self, block: Block) -> None:
        """Writes an experiment file, and checks it."""
        assert yaml.safe_load(block.text)
        (self.folder / "config" / "experiments" / f"{block.experiment}.yaml").write_text(block.text)
        self.command(f"posterity check {block.experiment}", "")

    def install(self, project: str) -> None:
        """Leaves the package where an installer would."""
        entries = re.findall(r'^(?:\[project.entry-points."(.*)"\]|(\S+) = "(mylab\..*)")$', project, re.MULTILINE)
        assert len(entries) > 2
        installed = self.package.parent / "mylab-0.1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 0.1.0\n")
        lines = [f"[{group}]" if group else f"{name} = {target}" for group, name, target in entries]
        (installed / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def command(self, command: str, printed: str) -> None:
        """Runs a command, and holds what it says against the page, where `…` stands for anything."""
        if command.startswith(LEFT_OUT):
            return
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, text=True, capture_output=True
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is not printed.startswith("error: "), f"{command}:\n{said}"
        pattern = ".*".join(re.escape(part) for part in printed.split("…"))
        assert not printed or re.fullmatch(pattern, said, flags=re.DOTALL), f"{command}:\n{said}\nis not\n{printed}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader whose `make demo` had little to do: the results that pages look at, from few training cases."""
    folder = tmp_path_factory.mktemp("pages")
    study = Study.new(folder, ROOT)
    demo = folder / "config" / "experiments" / "demo.yaml"
    whole = demo.read_text()
    experiment = yaml.safe_load(whole)
    experiment["splits"]["train"] = {"cases": 64}
    experiment["splits"]["valid"] = {"cases": 32}
    experiment["methods"]["npe"]["training"]["epochs"] = 1
    experiment["reference"] = None
    demo.write_text(yaml.safe_dump(experiment, sort_keys=False))
    methods = ("vi-full", "prior-importance", "etkf")
    scores = [f"results/demo/metrics/{method}/0.nc" for method in methods]
    study.run("--", *scores, "results/demo/models/npe/weights.safetensors", named="demo")
    demo.write_text(whole)
    commands = (forks.python(), sys.executable)
    study.environment["PATH"] = ":".join([*(str(Path(c).parent) for c in commands), study.environment["PATH"]])
    study.environment["PYTHONPATH"] += f":{folder / 'site'}"
    study.environment["COLUMNS"] = "200"
    study.edit("src/posterity/baselines/sequential/etkf.py")  # of which `posterity why` tells on one page
    reader = Reader(folder, study.environment)
    reader.command(
        f"posterity aggregate demo --metrics {' --metrics '.join(scores)} --output results/demo/metrics.nc"
        " --table results/demo/table.csv",
        "",
    )
    return reader


@pytest.fixture(scope="module")
def networks(reader: Reader) -> Reader:
    """The same reader, for whom a prior of trajectories is hardly trained, and its draws are few and of few steps."""
    folder = reader.folder / "config" / "experiments"
    whole = {name: (folder / f"{name}.yaml").read_text() for name in ("lorenz96_prior", "lorenz96_networks")}
    prior, seen = (yaml.safe_load(text) for text in whole.values())
    prior["splits"] = {"train": {"cases": 8}, "valid": {"cases": 4}, "test": {"cases": 1}}
    prior["methods"]["sda"]["training"] |= {"epochs": 1, "batch": 4}
    prior["samples"] = 2
    seen["methods"]["sda"]["options"]["sampler"]["options"] = {"steps": 2, "corrections": 0}
    for name, tree in (("lorenz96_prior", prior), ("lorenz96_networks", seen)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    learned = "results/lorenz96_prior"
    lines = [f"simulate lorenz96_prior --split {split} --output {learned}/{split}.nc" for split in ("train", "valid")]
    sets = f"--train {learned}/train.nc --valid {learned}/valid.nc"
    lines.append(f"train lorenz96_prior --method sda {sets} --output {learned}/models/sda")
    for name in seen["variants"]:
        made = f"results/lorenz96_networks/{name}"
        twin = f"{made}/simulations/test/0.nc"
        lines += [
            f"simulate lorenz96_networks/{name} --split test --output {twin}",
            f"sample lorenz96_networks/{name} --method sda --weights {learned}/models/sda --twin {twin}"
            f" --output {made}/posteriors/sda/0.nc",
        ]
    done = subprocess.run(
        [sys.executable, "-c", CONSOLE], cwd=reader.folder, env=reader.environment, text=True, capture_output=True,
        input="\n".join(lines),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, text in whole.items():
        (folder / f"{name}.yaml").write_text(text)
    return reader


@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorial.md", "docs/extending.md", "docs/files.md", "docs/cluster.md"]
)
def test_a_page_says_what_happens(reader, page) -> None:
    reader.read(page)


def test_the_page_on_networks_says_what_happens(networks) -> None:
    networks.read("docs/tutorial_trajectories.md")
