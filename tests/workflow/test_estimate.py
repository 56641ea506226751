"""What ``posterity estimate`` counts, held against what a study has really left."""

from collections import Counter

import pytest
import xarray as xr
from safetensors.torch import load_file

from posterity.experiment import load
from posterity.tasks.estimate.jobs import jobs
from posterity.tasks.estimate.sizes import Sizes

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

#: The folders, or files, of results by the stages that write them.
STAGES = {
    "simulations": "simulate", "posteriors/npe": "sample", "posteriors/4dvar": "assimilate",
    "posteriors/prior": "assimilate", "references": "reference", "metrics": "evaluate", "metrics.nc": "aggregate",
}  # fmt: skip


def test_a_study_leaves_the_files_and_bytes_that_were_counted(finished, monkeypatch) -> None:
    monkeypatch.chdir(finished.folder)
    study = load("tiny")
    planned, sizes = jobs([study]), Sizes(study)
    files = [path for path in finished.results.rglob("*") if path.is_file() and path.name != ".lock"]
    assert sum(job.files for job in planned) == len(files)
    made = {
        str(path.relative_to(finished.results / "benchmarks").with_suffix(""))
        for path in files
        if path.suffix == ".tsv"
    }
    assert {job.benchmark for job in planned} == made
    counted, written = Counter[str](), Counter[str]()
    for job in planned:
        counted[job.rule] += sizes.bytes(job)
    for name, stage in STAGES.items():
        place = finished.results / name
        for path in place.rglob("*.nc") if place.is_dir() else [place]:
            with xr.open_dataset(path, decode_times=False, mask_and_scale=False) as dataset:
                written[stage] += sum(value.nbytes for key, value in dataset.data_vars.items() if key[:5] != "info_")
    weights = load_file(finished.results / "models" / "npe" / "weights.safetensors")
    written["train"] = sum(value.numel() * value.element_size() for value in weights.values())
    assert counted == {**written, "plot": 0}
