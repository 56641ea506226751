"""Experiment files: their meaning, the catalogue of what they may name, and what each result depends on.

Imports no torch: every job of a cluster parses the workflow again.
"""

from .experiment import Experiment
from .loading import every, load
from .studies import check_keys, lent, studies

__all__ = [
    "Experiment",
    "check_keys",
    "every",
    "lent",
    "load",
    "studies",
]
