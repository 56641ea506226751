"""Flows over fields and the numbers beside them."""

import torch
from torch import Tensor

from ..nn.layout import Layout, averaged, constant
from .flow import ConditionalFlow, Flow


class Factorized(ConditionalFlow):
    r"""A density over fields and numbers beside them, the fields given the numbers,

    .. math:: q(x, v | c) = q(v | \bar c) \; q(x | v, c) ,

    with the mean :math:`\bar c` of the context over the grid. The flow over fields sees the numbers as constant
    channels of its context, and stays a flow over a grid.

    Args:
        layout: The layout of the values.
        context: The shape of the context, ``(channel, *grid)``.
        fields: The plan of the flow over the fields.
        numbers: The plan of the flow over the numbers.
    """

    def __init__(self, layout: Layout, context: tuple[int, ...], fields: Flow, numbers: Flow) -> None:
        super().__init__()
        self.layout = layout
        self.fields = fields.build(layout.fields, (context[0] + layout.constants, *context[1:]))
        self.numbers = numbers.build((layout.constants,), context[:1])

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density, with shape ``(case,)``."""
        x, v = self.layout.split(z)
        return self.numbers.log_prob(v, averaged(context)) + self.fields.log_prob(x, self.given(v, context))

    def standardize(self, z: Tensor, context: Tensor) -> None:
        """Initialises both flows from the statistics of training draws."""
        x, v = self.layout.split(z)
        self.numbers.standardize(v, averaged(context))
        self.fields.standardize(x, self.given(v, context))

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        v, log_v = self.numbers.draw(averaged(context))
        x, log_x = self.fields.draw(self.given(v, context))
        return self.layout.join(x, v), log_v + log_x

    def given(self, v: Tensor, context: Tensor) -> Tensor:
        """What the fields are given: the context, and the numbers as constant channels."""
        return torch.cat((context, constant(v, context.shape[2:])), dim=1)
