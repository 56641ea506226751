"""One step, one observation and one gradient of a few states, and the rules that they keep."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems import Composed, Operator, Problem
from ..systems import Stochastic, System
from ..tensors import append_dims, own_random_numbers

#: The batch of states that rules are tried on: with two dimensions, as members of cases have.
BATCH = (2, 3)


class Part(NamedTuple):
    """A step or an operator, as a function of batched tensors.

    Args:
        key: What it is of a problem, ``system`` or ``operator``.
        name: Its name, for messages.
        call: The function, from ``(*batch, *event)`` to ``(*batch, *out_shape)``.
        event: The number of event dimensions of an argument.
        out_shape: The event shape of a value.
        differentiable: Whether it says that gradients pass through it.
    """

    key: str
    name: str
    call: Callable[[Tensor], Tensor]
    event: int
    out_shape: tuple[int, ...]
    differentiable: bool

    def __call__(self, x: Tensor) -> Tensor:
        """The value, of the function as it is."""
        return _called(self.call, x, self.name)


def step_of(system: System, key: str = "system") -> Part:
    """The step of a system."""
    name = f"{key}: {type(system).__name__}: step"
    return Part(key, name, fixed_step(system), len(system.shape), system.shape, system.differentiable)


def fixed_step(system: System) -> Callable[[Tensor], Tensor]:
    """The step of a system; of a stochastic one, its transition with the same noise at each call, for all states."""
    if not isinstance(system, Stochastic):
        return system.step
    with own_random_numbers(0):
        noise = torch.randn(system.noise_shape)

    def step(x: Tensor) -> Tensor:
        """The step with that noise."""
        batch = x.shape[: x.ndim - len(system.shape)]
        return system.transition(x, noise.to(x).expand(*batch, *noise.shape))

    return step


def seen_by(operator: Operator) -> Part:
    """What an operator sees."""
    name = f"operator: {type(operator).__name__}: __call__"
    return Part("operator", name, operator, len(operator.shape), operator.out_shape, operator.differentiable)


def check_rules(problem: Problem, x: Tensor | None = None) -> Tensor:
    """Checks what a problem is made of by one step and one observation of a small batch.

    Seeds torch.

    Args:
        problem: The problem.
        x: States, with shape ``(*batch, *shape)``; drawn from the start of the ensemble, which is checked too, if
            omitted.

    Returns:
        The states.

    Raises:
        ValueError: If a rule is broken; the message names the part, the rule and the remedy.
    """
    if problem.truth is not None:
        check_structure(problem.truth, "truth")
        _check_finite(step_of(problem.truth, "truth"), check_start(problem.truth, "truth"))
    check_structure(problem.system)
    # States that are given may be hopeless, and methods then say so themselves.
    check = _check_finite if x is None else check_values
    x = check_start(_drawn_system(problem)) if x is None else x
    for part, given in _parts(problem, x):
        check(part, given)
    return x


def lost_gradients(problem: Problem, x: Tensor) -> dict[str, str]:
    """What of a problem cannot be differentiated, ``system`` or ``operator``, and why.

    Seeds torch.

    Args:
        problem: The problem, which keeps the rules.
        x: States, with shape ``(*batch, *shape)``.
    """
    found = {}
    for part, given in _parts(problem, x):
        if not part.differentiable:
            found[part.key] = f"{part.name} says that it is not differentiable"
        elif reason := lost_gradient(part, given):
            found[part.key] = reason
    return found


def _drawn_system(problem: Problem) -> System:
    """The system whose ensemble is drawn from, with parameters for each state if they are drawn before the states."""
    if problem.joint == "background":
        return problem.system
    torch.manual_seed(0)
    return problem.system_at(problem.decode_parameters(torch.randn(*BATCH, len(problem.parameters))))


def _parts(problem: Problem, x: Tensor) -> Iterator[tuple[Part, Tensor]]:
    """The step, then the operators, each with what it is given."""
    step = step_of(problem.system)
    if problem.parameters:
        # Beside the state stand the whitened parameters, of each state its own.
        entries, batch = prod(problem.shape), x.shape[: x.ndim - len(problem.shape)]
        torch.manual_seed(0)
        v = torch.randn(*batch, len(problem.parameters)).to(x)

        def moved(z: Tensor) -> Tensor:
            system = problem.system_at(problem.decode_parameters(z[..., entries:]))
            return fixed_step(system)(z[..., :entries].unflatten(-1, problem.shape))

        name = f"{step.name} with parameters of each state"
        yield step._replace(call=moved, event=1, name=name), torch.cat((x.flatten(len(batch)), v), dim=-1)
    else:
        yield step, x
    operator = problem.observation.operator
    for each in operator.operators if isinstance(operator, Composed) else (operator,):
        yield seen_by(each), x
        x = each(x)


def check_structure(system: System, key: str = "system") -> None:
    """Checks that a system is a frozen dataclass with a time step, and a name for each of its channels.

    Args:
        system: The system.
        key: What it is of a problem, for the message.

    Raises:
        ValueError: If it is not; the message names the rule and the remedy.
    """
    name, shape = f"{key}: {type(system).__name__}", tuple(system.shape)
    if not is_dataclass(system) or not type(system).__dataclass_params__.frozen:
        raise ValueError(
            f"{name}: must be a frozen dataclass, whose fields are its parameters; write "
            "@dataclass(frozen=True, kw_only=True) above the class"
        )
    if not 1 <= len(shape) <= 3:
        raise ValueError(f"{name}: shape {shape} must be (channel, *grid), with a grid of at most two dimensions")
    if not getattr(system, "dt", 0) > 0:
        raise ValueError(f"{name}: dt, the time between two states, must be positive; give the class the field")
    channels = tuple(getattr(system, "channels", ()))
    if len(channels) != shape[0]:
        raise ValueError(
            f"{name}: has channels {channels}, and shape {shape} has {shape[0]}; name each of them in the attribute "
            "`channels` of the class"
        )
    _check_grid(system, name, len(shape) - 1)


def _check_grid(system: System, name: str, grid: int) -> None:
    """Checks the lengths of a system's domain, and what it says of the number of its axes."""
    lengths = tuple(system.lengths)
    if len(lengths) != grid or not all(length > 0 for length in lengths):
        raise ValueError(
            f"{name}: lengths {lengths} must be one positive number for each of the {grid} axes of the grid"
        )
    axes = getattr(system, "axes", grid)
    if isinstance(axes, str):
        option = getattr(system, axes)
        axes = len(option) if isinstance(option, Sequence) else 1
    if axes != grid:
        raise ValueError(f"{name}: says that it has {axes} axes, and its grid has {grid}; correct its attribute `axes`")


def check_start(system: System, key: str = "system", batch: Sequence[int] = BATCH) -> Tensor:
    """Checks draws from the start of a system's ensemble: their shape and dtype, and that they follow torch's seed.

    Seeds torch.

    Args:
        system: The system.
        key: What it is of a problem, for the message.
        batch: The batch shape.

    Returns:
        The draws, with shape ``(*batch, *shape)``.

    Raises:
        ValueError: If a rule is broken; the message names the rule and the remedy.
    """
    name = f"{key}: {type(system).__name__}: initial"

    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return _called(system.initial, batch, name)

    x = draw(1)
    _check_tensor(x, (*batch, *system.shape), torch.get_default_dtype(), name, batch)
    if not _same(x, draw(1)):
        raise ValueError(f"{name} draws other states from the same seed; draw with torch, whose seed is set")
    if batch and not _same(x, x[:1].expand_as(x)) and _same(x, draw(2)):
        raise ValueError(f"{name} draws the same states from every seed; draw with torch, whose seed is set")
    return x


def check_values(part: Part, x: Tensor) -> Tensor:
    """Checks a step or an operator: it leaves its argument alone; shape and dtype; no chance; batches that are loops.

    Args:
        part: The step or the operator.
        x: What it is given, with shape ``(*batch, *event)``.

    Returns:
        The values, with shape ``(*batch, *out_shape)``.

    Raises:
        ValueError: If a rule is broken; the message names the rule and the remedy.
    """
    batch = x.shape[: x.ndim - part.event]
    before, y = x.clone(), part(x)
    if not _same(x, before):
        raise ValueError(f"{part.name} writes into its argument; make new tensors: `x = 0.9 * x`, not `x *= 0.9`")
    _check_tensor(y, (*batch, *part.out_shape), x.dtype, part.name, batch)
    if not _close(part(x), y):
        raise ValueError(
            f"{part.name} gives other values when it is called again; it must neither draw random numbers nor remember "
            "(errors of a model are `model_error`, or noise of a step derived from `Stochastic`; those of observations "
            "`std`)"
        )
    rows = x.reshape(-1, *x.shape[len(batch) :])
    alone = torch.stack([part(row) for row in rows]).reshape(y.shape)
    if not _close(alone, y):
        raise ValueError(
            f"{part.name} treats batch elements otherwise than alone; compute along the last dimensions, `dim=-1`, and "
            "keep those of the batch apart"
        )
    return y


def _check_finite(part: Part, x: Tensor) -> None:
    """Checks a step or an operator, and that some of its values are finite; single states may fail."""
    y = check_values(part, x)
    if not y.flatten(y.ndim - len(part.out_shape)).isfinite().all(dim=-1).any():
        raise ValueError(f"{part.name} has no finite value for any of some states; correct it, or its options")


def lost_gradient(part: Part, x: Tensor) -> str | None:
    r"""Why a step or an operator has no gradient, or not that of finite differences; None if all is well.

    With :math:`\Delta` the central difference along a direction :math:`v`, :math:`\langle J^T \Delta, v \rangle`
    is its squared norm: what of a value is computed outside torch is missing from it.

    Args:
        part: The step or the operator.
        x: What it is given, with shape ``(*batch, *event)``.
    """
    # Differences are exact enough in double precision; a function may compute in single nevertheless.
    reason = _lost_gradient(part, x.double(), 1e-6, 1e-3)
    return reason and _lost_gradient(part, x, 1e-2, 0.1)


def _lost_gradient(part: Part, x: Tensor, length: float, tolerance: float) -> str | None:
    """The same with differences of some length, in spreads of the states, in the precision of these."""
    spread = x.flatten(0, x.ndim - part.event - 1).std(dim=0) if x.ndim > part.event else x.abs()
    step = length * (spread + 1e-3 * x.abs())
    try:
        with torch.no_grad():
            difference = (part(x + step) - part(x - step)) / 2
        with torch.enable_grad():
            z = x.detach().requires_grad_()
            y = part(z)
        if not y.requires_grad:
            return f"{part.name} passes no gradient on, as functions outside torch do"
        sound = (difference + y.detach()).isfinite().flatten(x.ndim - part.event).all(dim=-1)
        difference = torch.where(append_dims(sound, len(part.out_shape)), difference, 0)
        (gradient,) = torch.autograd.grad(y, z, difference, allow_unused=True, materialize_grads=True)
    except (ValueError, RuntimeError) as error:
        return f"{error} (when it was differentiated)"
    gradient, expected = gradient[sound], difference.square().sum()
    if not gradient.isfinite().all():
        return f"{part.name} has a gradient that is not finite where the value is"
    found = (gradient * step[sound]).sum()
    if abs(found - expected) > tolerance * expected:
        return f"{part.name} has a gradient that is {float(found / expected):.2f} times that of finite differences"
    return None


def _called(f: Callable[..., Tensor], argument: object, name: str) -> Tensor:
    """The value of a function of a user; an error of its own says where it was raised."""
    try:
        return f(argument)
    except Exception as error:
        torch_itself = str(Path(torch.__file__).parent)
        *_, where = (f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(torch_itself))
        raise ValueError(
            f"{name} raised {type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
        ) from error


def _check_tensor(value: object, shape: tuple[int, ...], dtype: torch.dtype, name: str, batch: Sequence[int]) -> None:
    """Checks that something is a tensor of a shape and a dtype."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} gives {type(value).__name__}, not a tensor; what computes with arrays is derived from "
            "posterity.systems.BlackBox, or posterity.problems.BlackBoxOperator"
        )
    if value.shape != shape:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} for batch {tuple(batch)}, not {shape}; correct it, or what the "
            "class says of its shape"
        )
    if value.dtype != dtype:
        raise ValueError(f"{name} has dtype {value.dtype}, not {dtype}; keep the argument's, or torch's default")


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether tensors are equal, NaN too."""
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether tensors are equal but for rounding of the largest entries."""
    size = float(b.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    return torch.allclose(a, b, rtol=0.0, atol=1e3 * torch.finfo(b.dtype).eps * size, equal_nan=True)
