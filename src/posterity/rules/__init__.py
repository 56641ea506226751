"""The rules that systems and operators keep (docs/extending.md), tried on a few states before anything is computed."""

from .batch import obey
from .components import BASES, construct, numbered, seen_channels
from .trial import (
    BATCH,
    Part,
    check_rules,
    check_start,
    check_structure,
    check_values,
    fixed_step,
    lost_gradient,
    lost_gradients,
    seen_by,
    step_of,
)

__all__ = [
    "BASES",
    "BATCH",
    "Part",
    "check_rules",
    "check_start",
    "check_structure",
    "check_values",
    "construct",
    "fixed_step",
    "lost_gradient",
    "lost_gradients",
    "numbered",
    "obey",
    "seen_by",
    "seen_channels",
    "step_of",
]
