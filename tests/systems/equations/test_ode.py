"""Systems of equations: compiled rollouts are those of `step`, with its derivatives, alone or in a batch."""

import logging
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from posterity.systems import Lorenz63, Lorenz96, TwoScaleLorenz96, jacobian
from posterity.systems.equations import rollouts
from posterity.systems.equations.ode import ODE
from posterity.testing import check_system

from ..steps import close, stepped

RING = Lorenz96(size=5, substeps=2, spinup=0.0)
MODES = Lorenz63(spinup=0.0)
SYSTEMS = {"ring": (RING, ("forcing",)), "modes": (MODES, ("sigma", "rho", "beta"))}
STEPS = 3


@pytest.fixture(params=SYSTEMS)
def functions(request):
    """The rollout by the compiled loops and by steps, as functions of states, errors and parameters, and arguments."""
    system, names = SYSTEMS[request.param]

    def fused(x, error, *values):
        return replace(system, **dict(zip(names, values, strict=True))).rollout(x, STEPS, error)

    def by_steps(x, error, *values):
        return stepped(replace(system, **dict(zip(names, values, strict=True))), x, STEPS, error)

    def arguments(members):
        values = (getattr(system, name) + torch.rand(members) for name in names)
        noise = 0.1 * torch.randn(members, STEPS, *system.shape)
        return torch.randn(members, *system.shape), noise, *values

    return fused, by_steps, arguments


# A vector holds 8 members in double precision: fewer, whole vectors, and one more.
@pytest.mark.parametrize("members", [1, 7, 16, 17])
def test_rollouts_tangents_and_adjoints_are_those_of_steps(functions, members):
    fused, by_steps, arguments = functions
    at = arguments(members)
    directions = tuple(map(torch.randn_like, at))
    (value, tangent), expected = (torch.func.jvp(f, at, directions) for f in (fused, by_steps))
    close((value, tangent), expected)
    cotangent = torch.randn_like(value)
    adjoint, by_autograd = (torch.func.vjp(f, *at)[1](cotangent) for f in (fused, by_steps))
    close(adjoint, by_autograd)
    # The adjoint is the transpose of the tangent, with nothing of torch between them.
    product = sum(float((a * b).sum()) for a, b in zip(adjoint, directions, strict=True))
    assert product == pytest.approx(float((cotangent * tangent).sum()), rel=1e-12)


def test_derivatives_are_those_of_differences(functions):
    fused, _, arguments = functions
    at = tuple(value.requires_grad_() for value in arguments(2))
    assert gradcheck(fused, at, check_forward_ad=True)
    assert gradgradcheck(fused, at)


def test_second_derivatives_are_those_of_steps(functions):
    fused, by_steps, arguments = functions
    at = arguments(9)
    directions, cotangent = tuple(map(torch.randn_like, at)), torch.randn_like(fused(*at))

    def over_reverse(f):
        """Forward over reverse."""
        return torch.func.jvp(lambda *at: torch.func.vjp(f, *at)[1](cotangent), at, directions)[1]

    def twice(f):
        """Reverse over reverse."""
        leaves = tuple(value.clone().requires_grad_() for value in at)
        gradients = torch.autograd.grad(f(*leaves), leaves, cotangent, create_graph=True)
        return torch.autograd.grad(gradients, leaves, directions)

    def of_tangent(f):
        """Reverse over forward."""
        leaves = tuple(value.clone().requires_grad_() for value in at)
        return torch.autograd.grad(torch.func.jvp(f, leaves, directions)[1], leaves, cotangent)

    for derivative in (over_reverse, twice, of_tangent):
        close(derivative(fused), derivative(by_steps), 1e-12)
    hessians = (
        torch.func.hessian(lambda x, f=f: f(x, *at[1:]).sin().sum())(at[0]).flatten() for f in (fused, by_steps)
    )
    close([next(hessians)], [next(hessians)], 1e-12)


def test_a_known_trajectory_has_the_derivatives_of_its_run(functions, request):
    system, names = SYSTEMS[request.node.callspec.params["functions"]]
    fused, _, arguments = functions
    at = arguments(9)
    known, directions = fused(*at), tuple(map(torch.randn_like, at))
    cotangent = torch.randn_like(known)

    def retraced(x, error, *values):
        return replace(system, **dict(zip(names, values, strict=True))).retrace(x, known, error)

    def derivatives(f):
        """Tangent, adjoint, and how the adjoint changes."""
        both = torch.func.jvp(lambda *at: torch.func.vjp(f, *at)[1](cotangent), at, directions)
        return *torch.func.jvp(f, at, directions), *both[0], *both[1]

    torch.testing.assert_close(derivatives(retraced), derivatives(fused), rtol=0, atol=0)
    # One step of it, as others take it, and directions in front of a trajectory that they share.
    step = system.retracer(known.device)
    found = torch.func.jvp(lambda x: step(x, known[:, 1]), at[:1], directions[:1])
    torch.testing.assert_close(found[1], torch.func.jvp(system.step, at[:1], directions[:1])[1], rtol=1e-12, atol=1e-12)
    several = torch.randn(4, *at[0].shape)
    path, x = system.rollout(at[0], STEPS), at[0].expand(4, *at[0].shape).clone()
    found = torch.func.jvp(lambda x: system.retrace(x, path), (x,), (several,))
    torch.testing.assert_close(found, torch.func.jvp(lambda x: system.rollout(x, STEPS), (x,), (several,)))


def test_third_derivatives_are_refused():
    x = torch.randn(2, 3)
    with pytest.raises(NotImplementedError, match="first and second derivatives"):
        torch.func.jacfwd(torch.func.jacfwd(lambda x: MODES.rollout(x, 2)))(x)
    with pytest.raises(NotImplementedError, match="first and second derivatives"):
        torch.func.jacrev(torch.func.hessian(lambda x: MODES.rollout(x, 2).sum()))(x)


def test_directions_share_a_trajectory():
    """As matrices of the linearised model have them: a batch of directions in front of one of members."""
    x = torch.randn(11, 1, 5)
    found, expected = (jacobian(lambda x, f=f: f(RING, x, 3), x, 2, 3) for f in (Lorenz96.rollout, stepped))
    close(found, expected)
    directions = torch.randn(4, 11, 1, 5)
    tangents = [
        torch.func.vmap(lambda dx, f=f: torch.func.jvp(lambda x: f(RING, x, 3), (x,), (dx,))[1])(directions)
        for f in (Lorenz96.rollout, stepped)
    ]
    close(*([tangent] for tangent in tangents))
    # Of parameters alone, too, for states that are the same.
    forcing = 8 + torch.rand(4, 11)
    several = torch.func.vmap(lambda forcing: replace(RING, forcing=forcing).rollout(x, 2))(forcing)
    close([several], [torch.stack([stepped(replace(RING, forcing=value), x, 2) for value in forcing])])


def test_single_precision_is_that_of_rounding():
    system = Lorenz96(size=19, spinup=0.0)
    x = torch.randn(21, 1, 19)
    weight = torch.randn(21, 6, 1, 19)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        path = system.rollout(leaf, 5)
        assert path.dtype is dtype
        (gradient,) = torch.autograd.grad(path, leaf, weight.to(dtype))
        gradients += [path.detach(), gradient]
    close(gradients[:2], gradients[2:], 1e-6)


def test_members_do_not_depend_on_their_batch(monkeypatch):
    """Bit for bit: alone, in pieces, elsewhere in a vector, on two threads."""
    from posterity.systems.compiled import rollouts as loops

    system = Lorenz96(size=9, spinup=0.0)
    x, weight = torch.randn(37, 1, 9), torch.randn(37, 5, 1, 9)

    def both(part):
        leaf = x[part].clone().requires_grad_()
        path = replace(system, forcing=x[part, 0, 0].abs()).rollout(leaf, 4)
        return path.detach(), torch.autograd.grad(path, leaf, weight[part])[0]

    whole = both(slice(None))
    for part in (slice(0, 1), slice(5, 6), slice(3, 19), slice(20, 37)):
        for found, expected in zip(both(part), whole, strict=True):
            torch.testing.assert_close(found, expected[part], rtol=0, atol=0)
    monkeypatch.setattr(loops, "GRAIN", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        torch.testing.assert_close(both(slice(None)), whole, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


def test_states_in_any_layout_and_batch():
    x = torch.randn(5, 6, 2, 4).transpose(0, 2)[..., ::2].transpose(0, 1).reshape(3, -1, 1, 5).transpose(0, 1)
    close([RING.rollout(x, 2)], [stepped(RING, x, 2)])
    close([RING.rollout(x[0, 0], 2)], [stepped(RING, x[0, 0], 2)])
    assert RING.rollout(x[:0], 2).shape == (0, 3, 3, 1, 5)
    torch.testing.assert_close(RING.rollout(x, 0), x.unsqueeze(-3))
    # Parameters and errors of a part of the batch.
    system, error = replace(RING, forcing=torch.tensor([5.0, 6.0, 8.0])), 0.1 * torch.randn(1, 3, 4, 1, 5)
    close([system.rollout(x, 2, error)], [stepped(system, x, 2, error)])


def test_parts_of_a_rollout_are_the_same_numbers(monkeypatch):
    x = RING.initial((6,))
    path = RING.rollout(x, 9)
    monkeypatch.setattr("posterity.systems.equations.ode.HELD", 2 * x.numel())
    torch.testing.assert_close(RING.advance(x, 9), path[:, 9], rtol=0, atol=0)
    torch.testing.assert_close(RING.stepper()(path[:, 4]), path[:, 5], rtol=0, atol=0)
    steps = torch.tensor([0, 3, 9, 5, 1, 2])
    torch.testing.assert_close(RING.advance_each(x, steps, 9), path[torch.arange(6), steps], rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(RING.rollout(x, 9), path, rtol=0, atol=0)
    assert not path.requires_grad


def test_the_two_scale_ring_is_compiled_too():
    system = TwoScaleLorenz96(size=4, fast=3, substeps=2, dt=0.01, spinup=0.0, rate=10 + torch.rand(9))
    x = torch.randn(9, *system.shape)
    close([system.rollout(x, 3)], [stepped(system, x, 3)])


@dataclass(frozen=True, kw_only=True)
class Decay(ODE):
    """What fades, faster where its neighbour is large: nothing but equations."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    size: int = 4
    speed: float | torch.Tensor = 1.0
    dt: float = 0.1
    substeps: int = 1

    @property
    def shape(self):
        return (1, self.size)

    def initial(self, batch):
        return torch.rand(*batch, *self.shape)

    @staticmethod
    def equations(state, parameters):
        (speed,) = parameters
        return (-speed * state[0, 0] * (1 + state[0, -1]),)


class Frozen(Decay):
    """A subclass with a step of its own, which is the one that counts."""

    def step(self, x):
        return 1.0 * x


def test_a_new_system_is_its_equations_alone():
    check_system(Decay())
    x = Decay().initial((3,))
    expected = -x * (1 + x.roll(1, -1))
    torch.testing.assert_close(Decay().tendency(x), expected)
    torch.testing.assert_close(Frozen().rollout(x, 2)[:, 2], x)
    torch.testing.assert_close(Frozen().advance(x, 2), x)


def test_compiling_is_said_in_the_log(caplog):
    from posterity.systems.compiled.loops import announced

    class Dispatcher:
        """Something that is compiled."""

    with caplog.at_level(logging.INFO, "posterity"), announced("nothing"):
        pass
    assert not caplog.records
    from numba.core import event

    with caplog.at_level(logging.INFO, "posterity"), announced("rollouts of Decay"):
        for _ in range(2):
            with event.trigger_event("numba:compile", data={}):
                pass
    assert [record.message for record in caplog.records] == ["compiling rollouts of Decay: some seconds, once"]


def test_without_numba_or_triton_rollouts_go_by_steps_and_say_so(monkeypatch):
    x = RING.initial((3,))
    expected = RING.rollout(x, 3)
    for kind in ("compiled", "kernels"):
        monkeypatch.setitem(sys.modules, f"posterity.systems.{kind}", None)
    rollouts.compiled.cache_clear()
    try:
        with pytest.warns(UserWarning, match="without compiled loops"):
            found = RING.rollout(x, 3)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(RING.advance(x, 3), expected[:, -1])
        with pytest.warns(UserWarning, match="without compiled loops") as said:
            assert [rollouts.compiled("cuda") for _ in range(2)] == [None, None]
        assert len(said) == 1
    finally:
        monkeypatch.undo()
        rollouts.compiled.cache_clear()


def test_other_numbers_go_by_steps():
    x = torch.randn(3, 1, 5)
    for system in (RING, replace(RING, forcing=torch.tensor(8.0, dtype=torch.float32))):
        close([system.rollout(x.float(), 2)], [stepped(system, x.float(), 2)], 1e-6)
    error = torch.zeros(3, 2, 1, 5)
    assert RING.rollout(x.float(), 2, error).dtype is torch.float64
