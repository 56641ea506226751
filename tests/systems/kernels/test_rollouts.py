"""Rollouts by kernels, in Triton's interpreter or on a card: they are those of `step`, with its derivatives."""

import re
from dataclasses import replace

import pytest
import torch

from posterity.systems import Lorenz63, Lorenz96, TwoScaleLorenz96
from posterity.systems.equations import ode, rollouts

from ..steps import close, stepped

pytest.importorskip("triton", reason="kernels are tested where Triton is: make triton")

STEPS = 2
RING = Lorenz96(size=5, spinup=0.0)
SYSTEMS = {
    "ring": (RING, ("forcing",)),
    "substeps": (replace(RING, substeps=2), ("forcing",)),
    "modes": (Lorenz63(spinup=0.0), ("sigma", "rho", "beta")),
    "two scales": (TwoScaleLorenz96(size=4, fast=1, dt=0.01, substeps=2, spinup=0.0), ("coupling", "ratio")),
}


@pytest.fixture
def kernels(device, monkeypatch):
    """The kernels, which take the place of loops on a CPU, with two members in a program."""
    if device.type == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    from posterity.systems.kernels import rollouts as kernels

    monkeypatch.setattr(rollouts, "compiled", lambda _: kernels)
    monkeypatch.setattr(kernels, "LANES", 16)
    return kernels


def derivatives(rollout, at, directions, cotangent):
    """A rollout, its tangent, its adjoint, and the tangent of that."""
    value, tangent = torch.func.jvp(rollout, at, directions)
    adjoint, change = torch.func.jvp(lambda *at: torch.func.vjp(rollout, *at)[1](cotangent), at, directions)
    return value, tangent, *adjoint, *change


# Neighbours go through memory where a member has more lanes than a program: eight.
@pytest.mark.parametrize(
    ("name", "lanes"), [("ring", 16), ("ring", 4), ("substeps", 16), ("modes", 2), ("two scales", 4)]
)
def test_rollouts_and_derivatives_are_those_of_steps(kernels, monkeypatch, name, lanes):
    monkeypatch.setattr(kernels, "LANES", lanes)
    system, names = SYSTEMS[name]
    members = 3
    values = (getattr(system, name) + torch.rand(members) for name in names)
    at = (torch.randn(members, *system.shape), 0.1 * torch.randn(members, STEPS, *system.shape), *values)
    directions, cotangent = tuple(map(torch.randn_like, at)), torch.randn(members, STEPS + 1, *system.shape)

    def function(rollout):
        return lambda x, error, *values: rollout(
            replace(system, **dict(zip(names, values, strict=True))), x, STEPS, error
        )

    found = derivatives(function(type(system).rollout), at, directions, cotangent)
    close(found, derivatives(function(stepped), at, directions, cotangent))
    # The adjoint is the transpose of the tangent, with nothing of torch between them.
    product = sum(float((a * b).sum()) for a, b in zip(found[2:], directions, strict=False))
    assert product == pytest.approx(float((cotangent * found[1]).sum()), rel=1e-12)


def test_single_precision_is_that_of_rounding(kernels):
    x, weight = torch.randn(2, 1, 5), torch.randn(2, STEPS + 1, 1, 5)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        forcing = torch.full((2,), 8.0, dtype=dtype).requires_grad_()
        path = replace(RING, forcing=forcing).rollout(leaf, STEPS)
        assert path.dtype is dtype
        gradients.append((path.detach(), *torch.autograd.grad(path, (leaf, forcing), weight.to(dtype))))
    close(*gradients, 1e-6)


def test_members_do_not_depend_on_their_batch(kernels):
    x, forcing = torch.randn(5, 1, 5), 8 + torch.rand(5)
    whole = replace(RING, forcing=forcing).rollout(x, STEPS)
    alone = replace(RING, forcing=forcing[3]).rollout(x[3], STEPS)
    torch.testing.assert_close(alone, whole[3], rtol=0, atol=0)


def test_directions_share_a_trajectory(kernels):
    """As matrices of the linearised model have them: a batch of directions in front of one of members."""
    x, directions = torch.randn(3, 1, 5), torch.randn(2, 3, 1, 5)
    tangents = [
        torch.func.vmap(lambda dx, f=f: torch.func.jvp(lambda x: f(RING, x, STEPS), (x,), (dx,))[1])(directions)
        for f in (Lorenz96.rollout, stepped)
    ]
    close(*([tangent] for tangent in tangents))


def test_states_in_any_layout_and_batch(kernels):
    x = torch.randn(5, 2, 1, 3).transpose(0, 3)
    close([RING.rollout(x, 1)], [stepped(RING, x, 1)])
    assert RING.rollout(x[:0], 2).shape == (0, 2, 3, 1, 5)
    torch.testing.assert_close(RING.rollout(x, 0), x.unsqueeze(-3))
    # Parameters and errors of a part of the batch.
    system, error = replace(RING, forcing=torch.tensor([5.0, 6.0])), 0.1 * torch.randn(1, 2, 1, 1, 5)
    close([system.rollout(x, 1, error)], [stepped(system, x, 1, error)])


def test_a_known_trajectory_and_the_end_of_one(kernels):
    x = torch.randn(2, 1, 5, requires_grad=True)
    path = RING.rollout(x, STEPS)
    weight = torch.randn_like(path)
    gradients = [torch.autograd.grad(f, x, weight)[0] for f in (path, RING.retrace(x, path.detach()))]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    torch.testing.assert_close(RING.advance(x, STEPS), path[:, -1], rtol=0, atol=0)
    assert RING.kept(x.device) == 0.5


def test_large_states_and_steps_of_users_go_by_torch(kernels, monkeypatch):
    class Frozen(Lorenz96):
        def step(self, x):
            return 1.0 * x

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(kernels, "rollout", refuse)
    x = torch.randn(2, 1, 5)
    with pytest.raises(AssertionError):
        RING.rollout(x, 1)
    torch.testing.assert_close(Frozen(size=5).rollout(x, 1)[:, 1], x)
    monkeypatch.setattr(ode, "LARGEST", {x.device.type: 4})
    close([RING.rollout(x, 1)], [stepped(RING, x, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [64, 4])
def test_kernels_compile_for_a_card_and_keep_double_precision(kernels, monkeypatch, tmp_path, lanes):
    """Without a card: down to its machine code, the kernel of all that others do, too."""
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = ["path", "theta", "cotangent", "change", "dtheta", "tape", "changes", "out", "sums", "around"]
    names = names if lanes == 4 else names[:-1]
    system, _ = SYSTEMS["substeps"]
    kernel = kernels._kernel.__wrapped__(kernels.kinds.curvature, system._integration, tuple(names), torch.float64)
    types = {name + end: kind for name in names for end, kind in (("", "*fp64"), ("_rows", "i32"), ("_size", "i32"))}
    types |= {"members": "i32", "steps": "i32", "MEMBERS": "constexpr"}
    source = triton.compiler.ASTSource(kernel, types, {"MEMBERS": 2})
    found = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_stages": 1}).asm
    assert found["cubin"]
    assert not re.findall("f32|extf", found["ttir"])
    # Two for the tape, and two for each of 24 evaluations where neighbours go through memory.
    assert found["ttir"].count("barrier") == (2 if lanes == 64 else 2 + 2 * 24)
