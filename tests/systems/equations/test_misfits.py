"""Misfits by compiled loops: those of rollouts and what sees them, with their gradients."""

from dataclasses import dataclass, replace

import pytest
import torch

from posterity.systems import LinearAdvection, Lorenz63, Lorenz96
from posterity.systems.equations.misfits import seen_of

from ..steps import stepped

SYSTEMS = {
    "ring": (Lorenz96(size=5, substeps=2, spinup=0.0), ("forcing",)),
    "modes": (Lorenz63(spinup=0.0), ("sigma", "rho", "beta")),
}
STATES = 4


@dataclass(frozen=True)
class Squares:
    """Sees the square of each channel and, of the first, the reciprocal too."""

    def at_site(self, values):
        """All operations."""
        return [value**2 - 0.5 for value in values] + [1 / (2 + values[0] * values[0])]


class Nothing:
    """Sees what is no arithmetic."""

    def at_site(self, values):
        """Says so."""
        return


def drawn(system, names, members, cases):
    """Arguments of a misfit: states, errors, parameters of each case, and what is seen, some of it missing."""
    values = [getattr(system, name) + torch.rand(cases) for name in names]
    error = 0.1 * torch.randn(members, cases, STATES - 1, *system.shape)
    seen = (cases, STATES, system.shape[0] + 1, *system.shape[1:])
    precision = torch.where(torch.rand(seen) < 0.3, 0, 0.5 + torch.rand(seen))
    return (torch.randn(members, cases, *system.shape), error, *values), torch.randn(seen), precision


def by_steps(system, x, y, precision, error):
    """The definition."""
    axis, path = -len(system.shape) - 1, stepped(system, x, STATES - 1, error)
    seen = torch.stack(Squares().at_site(path.unbind(dim=axis + 1)), dim=axis + 1)
    return 0.5 * ((seen - y) * precision).square().flatten(2).sum(dim=-1)


# A vector holds 8 members in double precision: fewer, one case, whole vectors of cases, and cases that are no part of
# one.
@pytest.mark.parametrize(("members", "cases"), [(1, 1), (9, 1), (2, 8), (3, 5), (9, 4)])
@pytest.mark.parametrize("name", SYSTEMS)
def test_misfits_and_their_gradients_are_those_of_steps(name, members, cases):
    system, names = SYSTEMS[name]
    (x, error, *values), y, precision = drawn(system, names, members, cases)
    # Of each member, as unknown parameters are.
    leaves = [value.expand(members, *value.shape[-1:]).clone() for value in values]
    leaves = [value.requires_grad_() for value in (x, error, *leaves)]
    at = replace(system, **dict(zip(names, leaves[2:], strict=True)))
    found = at.misfit(leaves[0], y, precision, Squares(), leaves[1], gradient=True)
    cost = by_steps(at, leaves[0], y, precision, leaves[1])
    torch.testing.assert_close(found.cost, cost, rtol=1e-12, atol=0)
    gradients = found.x0, found.error, *(found.theta[name] for name in names)
    for one, other in zip(gradients, torch.autograd.grad(cost.sum(), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * float(other.abs().max()))


def test_what_is_not_asked_for_is_left_out_and_members_stand_alone():
    system, names = SYSTEMS["ring"]
    (x, _, _), y, precision = drawn(system, names, 3, 5)
    found = system.misfit(x, y, precision, Squares(), None, gradient=True)
    assert found.theta == {}
    assert found.error is None
    single = system.misfit(x[1:2, 3:4], y[3:4], precision[3:4], Squares(), None, gradient=True)
    assert torch.equal(single.cost, found.cost[1:2, 3:4])
    assert torch.equal(single.x0, found.x0[1:2, 3:4])
    cost = system.misfit(x, y, precision, Squares(), None, gradient=False)
    assert torch.equal(cost.cost, found.cost)
    assert not cost.x0.numel()


@pytest.mark.parametrize(("members", "cases"), [(1, 1), (2, 8), (3, 5), (9, 4)])
@pytest.mark.parametrize("name", SYSTEMS)
def test_products_of_misfits_and_their_changes_are_those_of_steps(name, members, cases):
    system, names = SYSTEMS[name]
    (x, _, *values), y, precision = drawn(system, names, members, cases)
    # Of each member, as unknown parameters are.
    values = [value.expand(members, cases).contiguous() for value in values]
    changes = [torch.randn(3, *value.shape) for value in (x, *values)]

    def misfits(x, *values):
        at = replace(system, **dict(zip(names, values, strict=True)))
        axis, path = -len(system.shape) - 1, stepped(at, x, STATES - 1, None)
        seen = torch.stack(Squares().at_site(path.unbind(dim=axis + 1)), dim=axis + 1)
        return ((seen - y) * precision).flatten(2)

    rows = [torch.autograd.functional.jvp(misfits, (x, *values), each)[1] for each in zip(*changes, strict=True)]
    both = torch.stack([*rows, misfits(x, *values)], dim=-2)
    at = replace(system, **dict(zip(names, values, strict=True)))
    found = at.gauss_newton(x, changes[0], dict(zip(names, changes[1:], strict=True)), y, precision, Squares())
    expected = both @ both.mT
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    single = tuple(value.float() for value in (x, changes[0], y, precision))
    narrow = system.gauss_newton(*single[:2], {}, *single[2:], Squares())
    expected = system.gauss_newton(x, changes[0], {}, y, precision, Squares())
    torch.testing.assert_close(narrow, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_empty_vectors_and_large_memories_are_left_to_torch(monkeypatch):
    monkeypatch.setattr("posterity.systems.compiled.gauss_newton.EMPTY", 0)
    system = SYSTEMS["ring"][0]
    for members, found in ((8, True), (7, False)):
        x, y = torch.zeros(members, 1, 1, 5), torch.zeros(1, STATES, 2, 5)
        assert (system.gauss_newton(x, torch.zeros(3, *x.shape), {}, y, y, Squares()) is not None) == found
    monkeypatch.setattr("posterity.systems.compiled.gauss_newton.MEMORY", 2**14)
    x = torch.zeros(8, 1, 1, 5)
    assert system.gauss_newton(x, torch.zeros(3, *x.shape), {}, y, y, Squares()) is None


def test_what_diverges_is_not_finite_and_spoils_no_other():
    system, names = SYSTEMS["ring"]
    (x, error, _), y, precision = drawn(system, names, 3, 5)
    expected = system.misfit(x, y, precision, Squares(), error, gradient=False).cost
    x[1, 2] = 1e200
    found = system.misfit(x, y, precision, Squares(), error, gradient=False).cost
    assert not found[1, 2].isfinite()
    found[1, 2] = expected[1, 2]
    assert torch.equal(found, expected)


def test_there_is_none_of_other_systems_sights_and_long_windows():
    x, y = torch.zeros(1, 1, 4), torch.zeros(1, 3, 2, 4)
    assert LinearAdvection(size=4).misfit(x, y, y, Squares(), None, gradient=True) is None
    ring = Lorenz96(size=4, spinup=0.0)
    assert ring.misfit(x, y, y, Nothing(), None, gradient=True) is None
    assert ring.misfit(x, y.float(), y.float(), Squares(), None, gradient=True) is None
    # More states than fit the cache.
    y = torch.zeros(1, 2000, 2, 4)
    assert ring.misfit(x, y, y, Squares(), None, gradient=True) is None


def test_there_is_none_off_the_cpu_where_kernels_advance_states(monkeypatch):
    """Of a device whose states are advanced by compiled functions too, as those of GPUs are."""
    system = SYSTEMS["ring"][0]
    monkeypatch.setattr(type(system), "_compiled", lambda *arguments: True)
    y = torch.empty(1, STATES, system.shape[0] + 1, 5, device="meta")
    assert system.misfit(torch.empty(2, 1, 1, 5, device="meta"), y, y, Squares(), None, gradient=True) is None


def test_observations_have_the_shape_of_what_is_seen():
    y = torch.zeros(1, 3, 1, 4)
    with pytest.raises(ValueError, match=r"Squares: at_site gives 2 values for each of the sites \(4,\)"):
        Lorenz96(size=4, spinup=0.0).misfit(torch.zeros(1, 1, 4), y, y, Squares(), None, True)


def test_a_sight_is_written_down_once():
    assert seen_of(Squares(), 1) is seen_of(Squares(), 1)


def test_sights_that_say_nothing_are_not_compared():
    class Weighted(Nothing):
        """Two of them cannot be compared, as tensors cannot."""

        def __hash__(self):
            """All alike."""
            return 0

        def __eq__(self, other):
            """Refuses."""
            raise RuntimeError

    assert seen_of(Weighted(), 1) is None
    assert seen_of(Weighted(), 1) is None
