"""Images, and a scheduler without a plugin: what can be tested without an engine, and without that scheduler."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = (ROOT / "docs" / "cluster.md").read_text()

#: Runs what it is asked to in an environment with nothing but the programs of the image, and notes how it was called.
APPTAINER = """#!PYTHON
import os, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(print("apptainer version 1.3.4"))
with open("LOG", "a") as log:
    print("apptainer", *sys.argv[1:-1], file=log)
*_, image, shell, option, command = sys.argv
os.execve("/bin/" + shell, [shell, option, command], {"PATH": "IMAGE:/usr/bin:/bin", "HOME": os.getcwd()})
"""

#: Runs a job apart, prints its number, and keeps how it ended.
QSUB = """#!/bin/sh
echo qsub "$@" >> LOG
number=$(wc -l < LOG).server
for script; do :; done
(sh "$script" > "FOLDER/$number.out" 2>&1 < /dev/null; echo $? > "FOLDER/$number.status") > /dev/null 2>&1 &
echo $number
"""

QSTAT = """#!/bin/sh
for number; do :; done
echo "Job Id: $number"
if [ -f "FOLDER/$number.status" ]; then
  printf '    job_state = F\\n    Exit_status = %s\\n' $(cat "FOLDER/$number.status")
else
  echo "    job_state = R"
fi
"""


def install(folder: Path, **programs: str) -> None:
    """Writes programs into a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def commands(page: str, heading: str) -> str:
    """The commands under a heading of a page, a line each."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL)
    return "".join(blocks).replace("\\\n", "").replace("$ ", "")


def test_a_job_runs_in_an_image_through_another_scheduler(copied, tmp_path) -> None:
    image, programs, log = tmp_path / "image", tmp_path / "programs", tmp_path / "log"
    install(image, python=f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    fill = {"PYTHON": sys.executable, "LOG": str(log), "IMAGE": str(image), "FOLDER": str(tmp_path)}
    texts = {"apptainer": APPTAINER, "qsub": QSUB, "qstat": QSTAT, "qdel": "#!/bin/sh\n"}
    install(programs, **{name: re.sub("|".join(fill), lambda m: fill[m[0]], text) for name, text in texts.items()})
    shutil.copytree(ROOT / ".test" / "config", copied.folder / "config", dirs_exist_ok=True)
    (copied.folder / "posterity.sif").touch()

    flags = "--sdm apptainer --config experiments=miniature container=posterity.sif"
    described = f"snakemake --profile profiles/slurm {flags.replace('miniature', 'vi4dvar')}"
    assert described in commands(CLUSTER, "Containers")
    assert "snakemake --profile profiles/pbs" in commands(CLUSTER, "Other schedulers")
    made = "results/miniature/simulations/test/0.nc"
    command = [sys.executable, "-m", "snakemake", made, "--profile", "profiles/pbs", *flags.split()]
    environment = copied.environment | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=copied.folder, env=environment, text=True, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(p.read_text() for p in tmp_path.glob("*.out"))

    with xr.open_dataset(copied.folder / made, decode_times=False) as twin:
        assert twin.sizes["case"] == 2
    submitted, executed = log.read_text().splitlines()
    asked = "-l select=1:ncpus=1:mem=4000mb:ngpus=0 -l walltime=30:00"
    assert submitted.startswith(f"qsub -N posterity.simulate -j oe -o results/pbs-logs/ {asked} ")
    assert executed.endswith(" posterity.sif bash -c")
    assert f"--home {copied.folder} " in executed


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("job_state = Q", 0, "running"),
        ("job_state = R", 0, "running"),
        ("job_state = F\n    Exit_status = 0", 0, "success"),
        ("job_state = F\n    Exit_status = 271", 0, "failed"),
        ("job_state = F", 0, "failed"),
        ("qstat: Unknown Job Id", 153, "failed"),
        ("qstat: cannot connect to server", 111, "running"),
    ],
)
def test_jobs_of_the_other_scheduler_are_told_apart(tmp_path, answer, status, said) -> None:
    install(tmp_path / "bin", qstat=f"#!/bin/sh\nprintf '    {answer}\\n'\nexit {status}\n")
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    script = ROOT / "profiles" / "pbs" / "status.sh"
    done = subprocess.run([script, "7.server"], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout == f"{said}\n"


def section(name: str) -> list[str]:
    """The lines of a section of the definition of the image."""
    text = (ROOT / "envs" / "Apptainer.def").read_text()
    return [line.strip() for line in text.partition(f"%{name}\n")[2].partition("\n%")[0].splitlines() if line.strip()]


def test_both_images_are_built_alike_from_the_lock() -> None:
    containerfile = (ROOT / "envs" / "Containerfile").read_text()
    definition = (ROOT / "envs" / "Apptainer.def").read_text()
    assert (
        re.search(r"^From: (.*)$", definition, re.MULTILINE)[1]
        == re.search(r"^FROM (.*)$", containerfile, re.MULTILINE)[1]
    )
    installed = [
        line.replace("${TORCH}", "{{ TORCH }}") for line in re.findall(r"^RUN (.*)$", containerfile, re.MULTILINE)
    ]
    assert section("post") == ["cd /opt/posterity", *installed]
    (torch,) = section("arguments")
    assert torch == re.search(r"^ARG (.*)$", containerfile, re.MULTILINE)[1]
    # As `make setup` does, but that it leaves out the cache and edits in place.
    makefile = (ROOT / "Makefile").read_text()
    assert torch.partition("=")[2] == re.search(r"^TORCH +\?= (.*)$", makefile, re.MULTILINE)[1]
    for line in installed[1:]:
        flags = set(line.split()) - {"--no-cache-dir", "."}
        assert any(flags <= set(made.replace("$(BIN)/", "").split()) for made in makefile.splitlines()), line
    copied = {
        source for line in re.findall(r"^COPY (.*)$", containerfile, re.MULTILINE) for source in line.split()[:-1]
    }
    assert copied == {line.split()[0] for line in section("files")}
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_what_the_image_runs_is_a_shell_s(name) -> None:
    subprocess.run(["sh", "-n"], input="\n".join(section(name)), text=True, check=True)
