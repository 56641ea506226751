"""Windows of observations, and the one place where they are checked."""

from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .problem import Problem


class Window(NamedTuple):
    """Observations and background of a window: the input of every method.

    Args:
        y: Observations, with shape ``(*batch, length, *obs_shape)``, NaN where not observed; the length is that of
            the window, or of all windows of a cycling problem.
        std: Their standard deviations, with the same shape.
        background: The background :math:`x_b`, with shape ``(*batch, *shape)``; NaN if there is none.
        background_std: Its standard deviation :math:`B^{1/2}`, with the same shape.
        start: The time at which the window starts, in steps, with shape ``(*batch,)``.
    """

    y: Tensor
    std: Tensor
    background: Tensor
    background_std: Tensor
    start: Tensor

    def select(self, cases: Tensor | slice) -> Self:
        """The windows of some of the cases, along the first batch dimension."""
        return type(self)(*(field[cases] for field in self))

    def to(self, like: Tensor) -> Self:
        """The windows in the dtype and on the device of a tensor."""
        return type(self)(*(field.to(like) for field in self))

    def cases(self) -> Self:
        """The windows with all batch dimensions as one, ``case``: of a single window, the one case."""
        batch = self.start.ndim
        return type(self)(*(field.reshape(self.start.numel(), *field.shape[batch:]) for field in self))

    @property
    def free(self) -> Tensor:
        """Whether a case has no background, with shape ``(case,)``: its prior is then the climatology, if anything."""
        return self.background.isnan().flatten(1).any(dim=-1)

    def check(self, problem: "Problem") -> Self:
        """Checks the windows against the problem that they are of.

        Args:
            problem: The problem.

        Returns:
            The windows, with the start in the dtype of the observations.

        Raises:
            ValueError: If a shape, a dtype or a device does not fit, observations are infinite, standard deviations of
                what there is are not positive, or too small for the precision of the numbers, or a background is there
                in part; the message names the field.
        """
        if not self.y.is_floating_point():
            raise ValueError(f"y: needs floating-point numbers, NaN where nothing is observed, not {self.y.dtype}")
        self._check_shapes(problem)
        window = self._replace(start=self.start.to(self.y))
        for name, field in zip(self._fields, window, strict=True):
            if field.dtype != self.y.dtype or field.device != self.y.device:
                raise ValueError(
                    f"{name}: is {field.dtype} on {field.device}, but y is {self.y.dtype} on {self.y.device}; "
                    f"make them the same, for example by {name}.to(y)"
                )
        window._check_numbers(len(problem.shape))
        window._check_even(problem)
        return window

    def _check_shapes(self, problem: "Problem") -> None:
        """Raises if a field has not the shape that the problem and the batch dimensions of ``y`` give it."""
        events = {
            "y": (problem.length, *problem.observation.shape),
            "std": (problem.length, *problem.observation.shape),
            "background": problem.shape,
            "background_std": problem.shape,
            "start": (),
        }
        batch = tuple(self.y.shape[: max(0, self.y.ndim - len(events["y"]))])
        for name, event in events.items():
            if (shape := tuple(getattr(self, name).shape)) != (*batch, *event):
                raise ValueError(
                    f"{name}: has shape {shape}, but {event} of each case is needed, "
                    f"behind the batch dimensions of y, {batch}: {(*batch, *event)}"
                )

    def _check_numbers(self, event: int) -> None:
        """Raises if observations are infinite, standard deviations not positive, or backgrounds there in part."""
        for name, values in (("y", self.y), ("background", self.background)):
            if (found := _first(values.isinf())) is not None:
                raise ValueError(f"{name}: is infinite at {found}; NaN stands for what there is not")
        there = ~self.background.isnan()
        whole = there.flatten(self.background.ndim - event).all(dim=-1)
        partly = there & ~whole.reshape(*whole.shape, *([1] * event))
        if (found := _first(partly)) is not None:
            raise ValueError(
                f"background: is there at {found}, and missing elsewhere in that case; "
                "give all entries of a case, or NaN for all"
            )
        for name, std, seen in (("std", self.std, ~self.y.isnan()), ("background_std", self.background_std, there)):
            if (found := _first(seen & ~((std > 0) & std.isfinite()))) is not None:
                raise ValueError(
                    f"{name}: standard deviations must be positive and finite where there is something that "
                    f"they belong to, not {float(std[found])} at {found}"
                )
        limits = torch.finfo(self.y.dtype)
        least = (limits.eps * self.y.abs()).clamp(min=limits.tiny**0.5)
        if (found := _first(~self.y.isnan() & (self.std < least))) is not None:
            raise ValueError(
                f"std: a standard deviation of {float(self.std[found]):.2g} of an observation of "
                f"{float(self.y[found]):.2g}, at {found}, is below the {float(least[found]):.2g} that {self.y.dtype} "
                "resolves; give the errors that observations have, or windows of higher precision"
            )

    def _check_even(self, problem: "Problem") -> None:
        """Raises if the entries of a background differ in their standard deviations, and its correlation has one."""
        correlation, std = problem.background_correlation, self.background_std
        if correlation is None or not correlation.uniform:
            return
        entries = std.flatten(std.ndim - len(problem.shape))
        differs = (entries - entries[..., :1]).abs() > 1e-4 * entries[..., :1]
        if (found := _first(differs.reshape(std.shape))) is not None:
            raise ValueError(
                f"background_std: is {float(std[found]):.4g} at {found}, and another number elsewhere in that case; "
                f"the correlation of the background, {type(correlation).__name__}, takes one number for all entries of "
                "a case: give each case one, or choose another correlation"
            )


def _first(wrong: Tensor) -> tuple[int, ...] | None:
    """The index of the first entry that is true; None if there is none."""
    if not wrong.any():
        return None
    return tuple(int(i) for i in torch.nonzero(wrong)[0])
