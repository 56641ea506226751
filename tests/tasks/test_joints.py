"""A method or a reference of another joint is refused before anything runs."""

import pytest

from posterity.errors import ConfigError
from posterity.tasks.assimilate import assimilate
from posterity.tasks.check import check
from posterity.tasks.reference import reference
from posterity.tasks.simulate import simulate

CLIMATOLOGY = {"joint": "climatology", "std": 1.0}
BLIND = {"joint": "climatology", "std": None}
VARIATIONAL, WEIGHTED = {"4dvar": {"kind": "4dvar"}}, {"weighted": {"kind": "prior-importance"}}
TRUTH = {"kind": "linear", "options": {"size": 6, "damping": 0.1}}


def test_a_method_is_refused_by_check(experiment, tmp_path) -> None:
    study = experiment(prior=CLIMATOLOGY, methods=VARIATIONAL | WEIGHTED)
    with pytest.raises(ConfigError, match=r"methods.4dvar: joint: FourDVar targets .* background joint"):
        list(check("study", study))
    simulate(study, "test", 0, tmp_path / "twin.nc")
    with pytest.raises(ConfigError, match=r"methods.4dvar: joint"):
        assimilate(study, "4dvar", tmp_path / "twin.nc", tmp_path / "posterior.nc", 5)
    assimilate(study, "weighted", tmp_path / "twin.nc", tmp_path / "posterior.nc", 5)


def test_a_reference_is_refused_by_check(experiment, tmp_path) -> None:
    for prior, kind, message in (
        (CLIMATOLOGY, "smc", "reference: joint: SequentialMonteCarlo targets"),
        (BLIND, "hmc", "reference: background_std: HamiltonianMonteCarlo needs a background"),
    ):
        study = experiment(prior=prior, methods=WEIGHTED, reference={"kind": kind})
        with pytest.raises(ConfigError, match=message):
            list(check("study", study))
        with pytest.raises(ConfigError, match=message):
            reference(study, tmp_path / "twin.nc", tmp_path / "reference.nc")
    assert list(check("study", experiment(prior=CLIMATOLOGY, methods=WEIGHTED, reference={"kind": "exact"})))


def test_a_truth_of_another_system_leaves_methods_their_own_joint(experiment, tmp_path) -> None:
    study = experiment(prior=CLIMATOLOGY, methods=VARIATIONAL, reference={"kind": "exact"}, truth=TRUTH)
    assert list(check("study", study))
    simulate(study, "test", 0, tmp_path / "twin.nc")
    assimilate(study, "4dvar", tmp_path / "twin.nc", tmp_path / "posterior.nc", 5)


def test_records_of_several_windows_are_checked_as_they_will_run(experiment) -> None:
    for prior in (BLIND, CLIMATOLOGY):
        assert list(check("study", experiment(prior=prior, cycles=3, forecast=0, methods=VARIATIONAL)))


def test_a_reference_that_must_be_trained_is_refused_by_check(experiment) -> None:
    with pytest.raises(ConfigError, match="reference: 'npe' must be trained"):
        list(check("study", experiment(reference={"kind": "npe"})))
