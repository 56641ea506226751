"""What is made of tensors with one row per case."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from ..tensors import append_dims


@dataclass(frozen=True)
class Batched:
    """Dataclass of tensors, whose first dimension is the case."""

    def select(self, cases: Tensor | slice) -> Self:
        """Those of some of the cases."""
        return self._each(lambda field: field[cases])

    def insert(self, part: Self, cases: Tensor) -> Self:
        """These, with those of some of the cases replaced."""
        return self._each(lambda field, new: field.index_copy(0, cases, new), part)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Those of several batches of cases, one after the other."""
        return cls(*(torch.cat(fields) for fields in zip(*(part.tensors() for part in parts), strict=True)))

    def where(self, better: Tensor, other: Self) -> Self:
        """These where ``better``, with shape ``(case,)``, the others elsewhere."""
        return self._each(lambda one, two: torch.where(append_dims(better, one.ndim - 1), one, two), other)

    def to(self, like: Tensor) -> Self:
        """The same in the dtype and on the device of a tensor."""
        return self._each(lambda field: field.to(like))

    def sound(self) -> Tensor:
        """Whether all numbers of a case are finite, with shape ``(case,)``."""
        return torch.stack([field.isfinite().flatten(1).all(dim=-1) for field in self.tensors()]).all(dim=0)

    def tensors(self) -> list[Tensor]:
        """The tensors that it is made of."""
        return [getattr(self, field.name) for field in fields(self)]

    def _each(self, change: Callable[..., Tensor], *others: Self) -> Self:
        """The same of its tensors, each changed together with those of others."""
        return type(self)(*map(change, self.tensors(), *(other.tensors() for other in others)))
