"""Layouts: how values stand on the grid that networks see."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Self

import torch
from torch import Tensor


class Layout(NamedTuple):
    r"""The places of a value on the grid that a network sees: fields, and numbers beside them as constant channels.

    With numbers :math:`v` beside fields :math:`x` a value is a vector, since a density is one of each number once.
    Networks see the field :math:`(x, v \mathbf{1})`, and the mean of a channel over the grid is what they say of its
    number: noise, samplers and densities know the vector alone, and constant channels stay constant.

    Args:
        fields: The shape of the fields, ``(channel, *grid)``, or ``(entries,)`` without a grid.
        constants: The number of numbers beside them.
        place: The number of entries of the fields before the numbers in the vector.
    """

    fields: tuple[int, ...]
    constants: int = 0
    place: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a value: of a field, or of a vector with numbers in it."""
        return (prod(self.fields) + self.constants,) if self.constants else self.fields

    @property
    def field(self) -> tuple[int, ...]:
        """The shape that networks see, ``(channel, *grid)``, with a channel for each number."""
        return (self.fields[0] + self.constants, *self.fields[1:])

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Takes values apart, with shape ``(*batch, *shape)``.

        Returns:
            The fields, with shape ``(*batch, *fields)``, and the numbers, with shape ``(*batch, constants)``.
        """
        sizes = (self.place, self.constants, prod(self.fields) - self.place)
        before, numbers, behind = z.split(sizes, dim=-1)
        return torch.cat((before, behind), dim=-1).unflatten(-1, self.fields), numbers

    def join(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        entries = fields.flatten(-len(self.fields))
        return torch.cat((entries[..., : self.place], numbers, entries[..., self.place :]), dim=-1)

    def spread(self, z: Tensor) -> Tensor:
        """Puts values of shape ``(*batch, *shape)`` on the grid, with shape ``(*batch, *field)``."""
        if not self.constants:
            return z
        fields, numbers = self.split(z)
        return torch.cat((fields, constant(numbers, self.fields[1:])), dim=-len(self.fields))

    def gather(self, field: Tensor) -> Tensor:
        """Reads values back, the numbers as means over the grid; the inverse of :meth:`spread` on its image."""
        if not self.constants:
            return field
        fields, channels = field.split((self.fields[0], self.constants), dim=-len(self.fields))
        return self.join(fields, channels.flatten(1 - len(self.fields)).mean(dim=-1))

    @classmethod
    def beside(cls, entries: int, grid: Sequence[int], constants: int, place: int) -> Self:
        """The layout of a number of entries, all of them on a grid, and of numbers beside them.

        Where the grid has one site at most all is one vector: there is nothing to be equivariant to.
        """
        if constants and prod(grid) == 1:
            return cls((entries + constants,))
        return cls((entries // prod(grid), *grid), constants, place)


def averaged(field: Tensor) -> Tensor:
    """The means of channels over the grid, ``(rows, channel, *grid)`` to ``(rows, channel)``; vectors as they are."""
    return field.flatten(2).mean(dim=-1) if field.ndim > 2 else field


def constant(numbers: Tensor, grid: Sequence[int]) -> Tensor:
    """Fields that are constant over a grid, ``(*batch, channel)`` to ``(*batch, channel, *grid)``."""
    return numbers.reshape(*numbers.shape, *([1] * len(grid))).expand(*numbers.shape, *grid)
