"""Memory of the adjoint: what is counted beforehand is what the allocator saw."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from posterity.problems import Control, Identity, Observation, Problem, chunks
from posterity.problems.linearized.sweeps import descent
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96, TwoScaleLorenz96

SYSTEMS = [
    LinearAdvection(size=16),
    Lorenz63(spinup=0.0),
    Lorenz96(size=16, spinup=0.0),
    Lorenz96(size=16, substeps=3, spinup=0.0),
    TwoScaleLorenz96(size=4, fast=3, substeps=4, spinup=0.0),
]


class ByRollout(Control):
    """A control without sweeps."""

    def swept(self, u, states, gradient):
        """None."""
        return


def control(system, cases=2, of=Control):
    problem = Problem(system, Observation(Identity(system.shape), std=(1.0, 1.0)), window=8)
    return of(problem, problem.sample((cases,)).window)


def peak(run: Callable[[], object]) -> int:
    """The most numbers that were allocated at once, by the allocator's own account."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler.kineto_results.events()
    now = most = 0
    for event in sorted((e for e in results if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most // torch.zeros(()).element_size()


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: f"{type(s).__name__}, {s.shape}")
def test_the_adjoint_holds_what_is_counted(system, device):
    if device.type != "cpu":
        pytest.skip("the profiler's account is that of the processor's memory")
    study = control(system, of=ByRollout)
    u = 0.1 * study.prior(64)
    measured = peak(lambda: descent(study, u, study.problem.window))
    assert 0.9 < measured / (64 * study.adjoint_size()) < 1.15
    # One sweep there and back keeps no states but those of a vector of members.
    swept = control(system)
    assert (swept.swept(u, 8, gradient=True) is None) == isinstance(system, LinearAdvection)
    if not isinstance(system, LinearAdvection):
        assert peak(lambda: descent(swept, u, 8)) < 0.75 * measured


def test_adjoints_are_cut_by_what_they_hold(monkeypatch, device):
    """Members whose trajectories fit, but not what their adjoints keep: the same gradients, in a bounded memory."""
    study = control(SYSTEMS[-1])
    u = 0.1 * study.prior(24)
    whole = study.cost_and_gradient(u)
    bound = 5.5 * study.adjoint_size()
    monkeypatch.setattr(sys.modules[chunks.__module__], "MEMORY", bound)
    calls = []

    def spy(control, members, states):
        calls.append(len(members))
        return descent(control, members, states)

    monkeypatch.setattr(sys.modules[Control.__module__], "descent", spy)
    torch.testing.assert_close(study.cost_and_gradient(u), whole)
    assert calls == [5, 5, 5, 5, 4]
    assert len(list(study.chunks(24))) == 1


def test_a_system_may_say_what_its_adjoint_keeps():
    class Fused(Lorenz96):
        def kept(self, device):
            return 0.25

    assert control(Fused(size=16, spinup=0.0)).adjoint_size() < control(SYSTEMS[2]).adjoint_size()
