"""What an experiment file means, what it is made of, and what redoes it; imports no torch."""

from .experiment import Experiment, every, load

__all__ = [
    "Experiment",
    "every",
    "load",
]
