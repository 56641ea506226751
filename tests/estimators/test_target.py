"""Targets: what is taken from a trajectory, and the way back."""

from dataclasses import replace

import pytest
import torch

from posterity.estimators import ControlTarget, StateTarget, Target
from posterity.problems import Control, Identity, Observation, Problem, Uniform
from posterity.problems.covariances import Solenoidal, SolenoidalClimatology, Spectral
from posterity.systems import LinearAdvection, Lorenz96

OBSERVED = Observation(Identity((1, 8)), std=(0.5, 0.5))


def problems() -> dict[str, Problem]:
    """Strong, weak, with an unknown parameter, and without a background; a forecast of two states."""
    linear, chaotic = LinearAdvection(size=8), Lorenz96(size=8, spinup=1.0)
    parameters = {"forcing": Uniform(6.0, 10.0)}
    return {
        "strong": Problem(linear, OBSERVED, 4, 2),
        "weak": Problem(linear, OBSERVED, 4, 2, model_error=0.1),
        "unknown": Problem(chaotic, OBSERVED, 4, 2, parameters=parameters),
        "climatology": Problem(chaotic, OBSERVED, 4, 2, joint="climatology", background_std=None),
    }


CORRELATED = {
    "spectral": (Spectral(length=1.5), Spectral()),
    "solenoidal": (Solenoidal(), Solenoidal()),
    "mixed": (SolenoidalClimatology(draws=30), None),
}


@pytest.mark.parametrize(("background", "error"), CORRELATED.values(), ids=CORRELATED)
def test_controls_have_the_fields_of_the_roots(background, error):
    """They are white, and decode to the trajectories that they are taken from."""
    system = LinearAdvection(size=(4, 6), names=("u", "v"))
    problem = Problem(
        system,
        Observation(Identity(system.shape), std=0.5),
        window=3,
        model_error=0.3,
        background_correlation=background,
        error_correlation=error,
    )
    first, later = (2 if c is None or not c.uniform else 1 for c in (background, error))
    shape = ControlTarget().shape(problem)
    assert shape == (first + 2 * later, 4, 6)
    twin = problem.sample((500,))
    z = ControlTarget().extract(problem, twin)
    assert z.shape == (500, *shape)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(shape), rtol=0, atol=0.25)
    torch.testing.assert_close(z.var(dim=0), torch.ones(shape), rtol=0, atol=0.4)
    covariance = z.flatten(1).mT @ z.flatten(1) / 500
    assert float((covariance - torch.eye(len(covariance))).abs().max()) < 0.4
    drawn = ControlTarget().ensemble(problem, twin.window, z.unsqueeze(0), {}, None)
    torch.testing.assert_close(drawn.x[0], twin.x)


@pytest.mark.parametrize("target", [ControlTarget(), StateTarget(2)])
def test_parameters_are_constant_channels_behind_the_fields(target) -> None:
    problem = replace(problems()["unknown"], model_error=0.1)
    layout, twin = target.layout(problem), problem.sample((3,))
    z = target.extract(problem, twin)
    field = layout.spread(z)
    assert field.shape == (3, *layout.field) == (3, 5 if isinstance(target, ControlTarget) else 3, 8)
    v = problem.encode_parameters(twin.theta)
    assert torch.equal(field[:, -1], v.expand(3, 8))
    expected = StateTarget(2).extract(replace(problem, parameters={}), twin)
    if isinstance(target, ControlTarget):
        control = Control(problem, twin.window)
        expected = torch.cat((control.initial(z), control.errors(z).flatten(1, 2) / 0.1), dim=1)
        expected[:, :1] = (expected[:, :1] - twin.window.background) / twin.window.background_std
    torch.testing.assert_close(field[:, :-1], expected)


def values(target: Target, problem: Problem, cases: int = 7) -> tuple[torch.Tensor, object]:
    """The values of some draws, and what they decode to with themselves as the only draw."""
    twin = problem.sample((cases,))
    found = target.extract(problem, twin)
    assert found.shape == (cases, *target.shape(problem))
    log_q = torch.arange(float(cases)).unsqueeze(0)
    return twin, target.ensemble(problem, twin.window, found.unsqueeze(0), {"mark": torch.ones(cases)}, log_q)


@pytest.mark.parametrize(
    ("name", "target", "shape"),
    [
        ("strong", ControlTarget(), (1, 8)),
        ("weak", ControlTarget(), (4, 8)),
        ("unknown", ControlTarget(), (9,)),
        ("strong", StateTarget(), (1, 8)),
        ("strong", StateTarget(3), (3, 8)),
        ("climatology", StateTarget(None), (4, 8)),
        ("unknown", StateTarget(2), (17,)),
    ],
)
def test_values_decode_to_the_trajectories_they_came_from(name, target, shape) -> None:
    problem = problems()[name]
    assert target.shape(problem) == shape
    twin, ensemble = values(target, problem)
    first = ensemble.steps.start
    assert ensemble.steps.stop == problem.steps
    assert first == (0 if isinstance(target, ControlTarget) else target.first(problem))
    # Model errors behind the window are drawn anew.
    known = problem.window if problem.weak else problem.steps
    torch.testing.assert_close(ensemble.x[0, :, : known - first], twin.x[:, first:known])
    torch.testing.assert_close(ensemble.theta[0], twin.theta)
    torch.testing.assert_close(ensemble.log_q, torch.arange(7.0).unsqueeze(0))
    assert torch.equal(ensemble.info["failed"], torch.zeros(7, dtype=ensemble.info["failed"].dtype))
    assert torch.equal(ensemble.info["mark"], torch.ones(7))


@pytest.mark.parametrize("name", ["strong", "weak", "unknown"])
def test_controls_are_standard_normal_a_priori(name) -> None:
    problem = problems()[name]
    u = ControlTarget().extract(problem, problem.sample((4000,))).flatten(1)
    # Five standard errors of a mean of 4000 draws, and of their variance.
    torch.testing.assert_close(u.mean(dim=0), torch.zeros(u.shape[1]), atol=5 / 4000**0.5, rtol=0)
    torch.testing.assert_close(u.var(dim=0), torch.ones(u.shape[1]), atol=5 * (2 / 4000) ** 0.5, rtol=0)
    assert ControlTarget.whitened
    assert not StateTarget.whitened


def test_states_of_several_times_stand_behind_each_other() -> None:
    problem = problems()["climatology"]
    twin = problem.sample((3,))
    assert torch.equal(StateTarget(2).extract(problem, twin), twin.x[:, 2:4, 0])


def test_draws_that_diverge_give_their_place_to_others() -> None:
    problem = problems()["climatology"]
    twin = problem.sample((3,))
    x = StateTarget().extract(problem, twin).expand(5, 3, 1, 8).clone()
    x[1, 2] = torch.nan
    x[0] *= 1e200
    log_q = torch.where(x.flatten(2).sum(dim=-1).abs() < 1e100, 1.0, torch.nan)
    ensemble = StateTarget().ensemble(problem, twin.window, x, {}, log_q)
    assert ensemble.info["failed"].tolist() == [1, 1, 2]
    assert ensemble.x.isfinite().all()
    assert (ensemble.log_q == 1).all()


def test_problems_without_such_a_part_are_refused() -> None:
    with pytest.raises(ValueError, match="a control needs a background"):
        ControlTarget().shape(problems()["climatology"])
    with pytest.raises(ValueError, match="states: 5, but the window has 4"):
        StateTarget(5).shape(problems()["strong"])
    with pytest.raises(ValueError, match="states: at least one is needed, not 0"):
        StateTarget(0)
