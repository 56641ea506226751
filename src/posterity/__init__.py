"""Posterity: data assimilation as posterior inference.

``import posterity as ps`` imports next to nothing: what it offers comes when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .memory import keep_freed

if TYPE_CHECKING:
    from .inference.problem import Problem
    from .inference.session import plot
    from .inference.session.arviz import to_arviz
    from .inference.session.comparison import compare, comparison, evaluate
    from .inference.session.method import LearnedMethod, Method, load_estimator, method
    from .inference.session.study import Study, load

__version__ = "0.1.0"

#: What a session of Python works with and the rooms, each imported when it is first asked for.
__all__ = [
    "LearnedMethod",
    "Method",
    "Problem",
    "Study",
    "baselines",
    "compare",
    "comparison",
    "data",
    "diffusion",
    "errors",
    "estimators",
    "evaluate",
    "experiment",
    "figures",
    "flows",
    "load",
    "load_estimator",
    "mcmc",
    "method",
    "metrics",
    "nn",
    "plot",
    "problems",
    "systems",
    "testing",
    "to_arviz",
]

#: The modules that hold what is not a room.
OFFERED = {
    **dict.fromkeys(("LearnedMethod", "Method", "load_estimator", "method"), "session.method"),
    **dict.fromkeys(("Study", "load"), "session.study"),
    **dict.fromkeys(("compare", "comparison", "evaluate"), "session.comparison"),
    "Problem": "problem",
    "plot": "session.plot",
    "to_arviz": "session.arviz",
}

keep_freed()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    if name not in OFFERED:
        return import_module(f".{name}", __name__)
    module = import_module(f".inference.{OFFERED[name]}", __name__)
    return module if name == "plot" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
