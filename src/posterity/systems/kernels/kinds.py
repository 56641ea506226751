"""The kinds of kernels: rollouts, their tangents and adjoints, and the curvature of steps.

Their tensors are those of the functions of :mod:`posterity.systems.kernels.rollouts`, and tapes: of states and of their
changes before each substep of a step.
"""

from collections.abc import Callable

from ..equations.expressions import Program
from .writer import Field, Stages, Writer

#: What writes the lines of a kernel.
Kind = Callable[[Writer], None]


def rollout(w: Writer) -> None:
    """The trajectories ``out``."""
    theta = w.numbers("theta")
    x = w.carry("x", w.load("x0"))
    w.store("out", "0", x)
    with w.loop("t in range(steps)"):
        with w.loop(f"s in range({w.substeps})"):
            _substep(w, theta, x)
        if "error" in w.tensors:
            w.carry("x", w.sums((1, x), (1, w.load("error", "t"))))
        w.store("out", "t + 1", x)


def tangent(w: Writer) -> None:
    """The changes ``out`` of trajectories."""
    theta, dtheta = w.numbers("theta"), w.numbers("dtheta")
    dx = w.carry("dx", w.load("dx0"))
    w.store("out", "0", dx)
    with w.loop("t in range(steps)"):
        x = w.carry("x", w.load("path", "t"))
        with w.loop(f"s in range({w.substeps})"):
            _substep(w, theta, x, dtheta, dx)
        if "derror" in w.tensors:
            w.carry("dx", w.sums((1, dx), (1, w.load("derror", "t"))))
        w.store("out", "t + 1", dx)


def adjoint(w: Writer) -> None:
    """The gradients ``out`` of the first states or of all, and ``sums``, if it is there, of parameters by each site."""
    theta = w.numbers("theta")
    g = w.carry("g", w.load("gradient", "steps"))
    w.store("out", "steps", g)
    sums = w.carry("sum", w.zeros(w.equations.parameters)) if "sums" in w.tensors else ()
    with w.loop("t in range(steps - 1, -1, -1)"):
        states, _ = _taped(w, theta)
        with w.loop(f"s in range({w.substeps - 1}, -1, -1)"):
            known, _ = w.runge_kutta(w.equations.value, (theta,), w.load(*states))
            stages, end = w.runge_kutta_adjoint(w.equations.adjoint, (theta,), g, known)
            if sums:
                _summed(w, w.equations.adjoint_parameters, (theta,), stages, sums)
            w.carry("g", end)
        w.carry("g", w.sums((1, g), (1, w.load("gradient", "t"))))
        w.store("out", "t", g)
    w.store("sums", "0", sums)


def curvature(w: Writer) -> None:
    """The changes of the adjoints of single steps, for states, ``out``, and for parameters by each site, ``sums``."""
    theta, dtheta = w.numbers("theta"), w.numbers("dtheta")
    sums = w.carry("sum", w.zeros(w.equations.parameters))
    with w.loop("t in range(steps)"):
        g = w.carry("g", w.load("cotangent", "t + 1"))
        dg = w.carry("dg", w.zeros(w.equations.channels))
        states, changes = _taped(w, theta, dtheta)
        with w.loop(f"s in range({w.substeps - 1}, -1, -1)"):
            x, dx = w.load(*states), w.load(*changes)
            known, _ = w.runge_kutta(w.equations.value, (theta,), x)
            both, _ = w.runge_kutta(w.equations.tangent, (theta, dtheta), dx, known)
            stages, end = w.runge_kutta_adjoint(w.equations.adjoint, (theta,), g, known)
            beside = [(x, k, dx) for (x, k), (_, dx) in zip(stages, both, strict=True)]
            stages, change = w.runge_kutta_adjoint(w.equations.curvature, (theta, dtheta), dg, beside)
            _summed(w, w.equations.curvature_parameters, (theta, dtheta), stages, sums)
            w.carry("g", end)
            w.carry("dg", change)
        w.store("out", "t", dg)
    w.store("sums", "0", sums)


def _substep(w: Writer, theta: Field, x: Field, dtheta: Field = (), dx: Field = ()) -> None:
    """A substep of the state, and of its change if there is one."""
    stages, end = w.runge_kutta(w.equations.value, (theta,), x)
    if dx:
        w.carry("dx", w.runge_kutta(w.equations.tangent, (theta, dtheta), dx, stages)[1])
    w.carry("x", end)


def _taped(w: Writer, theta: Field, dtheta: Field = ()) -> tuple[tuple[str, str], tuple[str, str]]:
    """Tapes the states before each substep of a step, and their changes: says in which tensors and where they are."""
    if "tape" not in w.tensors:
        return ("path", "t"), ("change", "t")
    # Threads may read what others have written: they wait for each other, here until the last step's tape is read.
    w.line("tl.debug_barrier()")
    x = w.carry("x", w.load("path", "t"))
    dx = w.carry("dx", w.load("change", "t")) if "changes" in w.tensors else ()
    w.store("tape", "0", x)
    w.store("changes", "0", dx)
    with w.loop(f"s in range(1, {w.substeps})"):
        _substep(w, theta, x, dtheta, dx)
        w.store("tape", "s", x)
        w.store("changes", "s", dx)
    w.line("tl.debug_barrier()")
    return ("tape", "s"), ("changes", "s")


def _summed(w: Writer, program: Program, thetas: tuple[Field, ...], stages: Stages, sums: Field) -> None:
    """Adds what the stages of a step give to the gradients of parameters."""
    parts = [w.evaluated(program, thetas, fields) for fields in stages]
    w.carry("sum", w.sums((1, sums), *((1, part) for part in parts)))
