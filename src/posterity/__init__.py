"""Posterity: data assimilation as posterior inference."""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

#: The rooms, each imported when it is first asked for: ``import posterity`` alone takes no torch.
__all__ = [
    "baselines",
    "data",
    "diffusion",
    "estimators",
    "experiment",
    "figures",
    "flows",
    "mcmc",
    "metrics",
    "nn",
    "problems",
    "systems",
    "testing",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
