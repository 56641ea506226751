"""Reruns are exact: a change redoes what depends on it, and nothing else."""

import os
import shutil

import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

#: Those that the file asks for.
FIGURES = 4


def test_nothing_is_left_to_do(study):
    assert study.planned() == {}


def test_comments_and_docstrings_redo_nothing(study):
    fourdvar = "src/posterity/baselines/variational/fourdvar.py"
    study.edit(fourdvar, '"""4DVAR: the mode', '# A remark.\n"""4DVAR: again, the mode')
    assert study.planned() == {}


def test_what_changes_no_result_redoes_nothing(study):
    """Nothing of this study reaches these, or what they do reaches it as a value."""
    study.edit("src/posterity/__init__.py", '__version__ = "', '__version__ = "9.')
    hinted = "def parameter_names(system: System) -> tuple[str, ...]:"
    study.edit("src/posterity/systems/system.py", hinted, "def parameter_names(system):")
    for module in ("cli", "errors", "experiment/catalog", "experiment/experiment"):
        study.edit(f"src/posterity/{module}.py")
    for module in ("systems/lorenz63", "diffusion/guidance", "estimators/nre"):
        study.edit(f"src/posterity/{module}.py")
    study.edit("envs/posterity.yaml", "channels: [", "channels: [defaults, ")
    assert study.planned() == {}


@pytest.mark.parametrize("module", ["nn/layers", "flows/spline"])
def test_a_network_retrains_those_who_build_on_it(study, module):
    study.edit(f"src/posterity/{module}.py")
    assert study.planned() == {"train": 1, "sample": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_a_figure_module_redraws_that_figure_only(study):
    study.edit("src/posterity/figures/coverage.py")
    assert study.planned() == {"plot": 1}


def test_the_style_of_figures_redraws_figures_only(study):
    study.edit("src/posterity/figures/drawing/style.py")
    assert study.planned() == {"plot": FIGURES}


def test_a_baseline_redoes_itself_and_what_follows(study):
    study.edit("src/posterity/baselines/variational/fourdvar.py")
    assert study.planned() == {"assimilate": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_an_estimator_retrains_itself_and_what_follows(study):
    study.edit("src/posterity/estimators/npe.py")
    assert study.planned() == {"train": 1, "sample": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_the_reference_redoes_itself_and_the_scores(study):
    study.edit("src/posterity/baselines/montecarlo/smc.py")
    assert study.planned() == {"reference": 2, "evaluate": 6, "aggregate": 1, "plot": FIGURES}


def test_more_runs_of_the_reference_redo_no_method(study):
    study.edit("config/experiments/tiny.yaml", "samples: 16", "samples: 16\n  runs: 3")
    assert study.planned() == {"reference": 2, "evaluate": 6, "aggregate": 1, "plot": FIGURES}


def test_scores_redo_no_method(study):
    study.edit("src/posterity/metrics/scores.py")
    assert study.planned() == {"evaluate": 6, "aggregate": 1, "plot": FIGURES}


def test_the_number_of_samples_retrains_nothing(study):
    study.edit("config/experiments/tiny.yaml", "samples: 20", "samples: 30")
    assert study.planned() == {"assimilate": 4, "sample": 2, "evaluate": 6, "aggregate": 1, "plot": FIGURES}


def test_an_option_redoes_one_method(study):
    study.edit("config/experiments/tiny.yaml", "iterations: 5", "iterations: 6")
    assert study.planned() == {"assimilate": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_training_options_retrain_one_estimator(study):
    study.edit("config/experiments/tiny.yaml", "epochs: 3", "epochs: 4")
    assert study.planned() == {"train": 1, "sample": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_a_training_that_failed_is_not_forgotten(study):
    """Snakemake removes the outputs of a job that failed, and asks for no weights as long as there are draws."""
    study.edit("config/experiments/tiny.yaml", "epochs: 3", "epochs: 4")
    shutil.rmtree(study.results / "models")
    assert study.planned() == {"train": 1, "sample": 2, "evaluate": 2, "aggregate": 1, "plot": FIGURES}


def test_the_order_of_methods_is_that_of_tables(study):
    prior, fourdvar = "  prior:\n    kind: prior\n", "  4dvar:\n    kind: 4dvar\n"
    study.edit("config/experiments/vi4dvar.yaml", prior + fourdvar, fourdvar + prior)
    assert study.planned() == {"aggregate": 1, "plot": FIGURES}


def test_classifiers_are_added_to_what_there_is(study):
    with_classifier = "classifier: {cases: 40, epochs: 1}\nfigures: {only: [roc, "
    study.edit("config/experiments/tiny.yaml", "figures: {only: [", with_classifier)
    assert study.planned() == {"classify": 1, "aggregate": 1, "plot": FIGURES + 1}
    study.run("--until", "aggregate")
    with xr.open_dataset(study.results / "metrics.nc", decode_times=False) as metrics:
        assert metrics["auc"].sizes == {"method": 3, "space": 2}
        assert metrics["auc"].sel({"method": "npe"}).notnull().all()
    # The test is not the method: its options leave draws and scores alone.
    study.edit("config/experiments/tiny.yaml", "epochs: 1}", "epochs: 2}")
    assert study.planned() == {"classify": 1, "aggregate": 1, "plot": FIGURES + 1}


def test_more_test_cases_leave_those_there_are_alone(study):
    study.edit("config/experiments/tiny.yaml", "test: {cases: 4", "test: {cases: 6")
    planned = study.planned()
    assert planned["simulate"] == 1
    assert planned["assimilate"] == 2
    assert planned["sample"] == 1
    assert planned["evaluate"] == 3
    assert "train" not in planned


def test_what_figures_show_redraws_figures_only(study):
    study.edit("config/experiments/tiny.yaml", "figures: {", "figures: {sites: [1], ")
    assert study.planned() == {"plot": FIGURES}


def test_results_that_were_cut_off_are_made_again(study):
    """At their old times, which say nothing: a figure at the end of all, and scores amid."""
    for file in ("figures/coverage.svg", "metrics/4dvar/1.nc"):
        path = study.results / file
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_bytes(path.read_bytes()[:-1])
        os.utime(path, ns=times)
        assert "is not whole" in study.run("--dry-run")
    assert study.planned() == {"evaluate": 1, "aggregate": 1, "plot": FIGURES}


def test_the_system_redoes_everything(study):
    study.edit("src/posterity/systems/lorenz96.py")
    planned = study.planned()
    assert planned["simulate"] == 5
    assert planned["train"] == 1
    assert planned["assimilate"] == 4
