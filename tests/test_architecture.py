"""The rooms and the arrows between them, read from the imports."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import posterity

ROOT = Path(posterity.__file__).parent
MODULES = {
    ".".join(("posterity", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

#: What each room may import of the others. Every room may import `errors`, and `tensors` where it may import torch.
ARROWS = {
    "errors": set(),
    "tensors": set(),
    "experiment": set(),
    "algebra": set(),
    "systems": set(),
    "nn": set(),
    "flows": {"nn"},
    "diffusion": {"nn"},
    "problems": {"algebra", "systems"},
    "rules": {"problems", "systems"},
    "mcmc": {"algebra", "problems", "systems"},
    "baselines": {"algebra", "mcmc", "problems", "systems", "flows"},
    "estimators": {"algebra", "mcmc", "problems", "systems", "nn", "flows", "diffusion"},
    "metrics": set(),
    "figures": {"metrics"},
    "data": {"problems", "systems", "metrics"},
    "inference": {
        *("systems", "problems", "rules", "baselines", "estimators", "metrics", "figures", "data", "experiment"),
        "posterity",
    },
}
#: What stands above the rooms, and may import all of them: the package itself is empty.
ABOVE = {
    *("posterity", "__main__", "arguments", "batches", "cli", "memory", "overview", "project", "tasks", "testing"),
    "worker",
}
#: What may be imported beside the standard library, by rooms that must stay light.
LIGHT = {
    "algebra": {"torch"},
    "systems": {"torch", "numpy", "numba", "llvmlite", "triton"},
    "nn": {"torch"},
    "flows": {"torch"},
    "diffusion": {"torch"},
    "problems": {"torch", "numpy"},
    "rules": {"torch"},
    "mcmc": {"torch", "numpy", "arviz_stats"},
    "baselines": {"torch"},
}
#: Rooms and modules that start quickly, on machines that may have no torch: nothing that they import may import it.
NO_TORCH = (
    "metrics", "figures", "experiment", "errors", "cli", "data.schema", "data.files", "data.scores",
    "inference.scores", "inference.drawing", "inference.progress", "inference.session.plot", "inference.session.arviz",
    "inference.session.comparison", "tasks.files.lock",
    "tasks.files.provenance", "tasks.evaluate", "tasks.aggregate", "tasks.plot", "tasks.scaling",
    "tasks.literature", "tasks.why", "tasks.report", "tasks.training.submission", "tasks.nodes",
    "tasks.files.verdict", "tasks.running", "tasks.starting.new", "project",
)  # fmt: skip
#: Packages that take a good part of a second to import, which every job would pay: functions import them when they run.
SLOW = {"arviz_stats", "dask.array", "distributed", "numba", "scipy", "sklearn", "submitit", "triton"}
#: Rooms in which files are read and written, and modules; a recorded current is a component, and its file an option.
FILES = (
    "data", "tasks", "cli", "experiment.files", "experiment.sources", "experiment.whole", "systems.neurons.stimuli",
)  # fmt: skip
#: The modules that may call the step of a system, each with its reason; all others advance states by its methods.
STEPPING = {
    "systems.system": "advance, advance_each and rollout",
    "systems.linear": "the matrix of one step",
    "testing.components": "the checks of a step",
    "testing.examples": "a system that breaks another",
}
#: The most lines of a module: beyond, look for the two things that it does.
LINES = 350
#: The most lines of a room, which is the modules of one folder.
ROOM_LINES = 2500

OPENERS = {
    "open", "read_text", "write_text", "read_bytes", "write_bytes", "to_netcdf", "to_zarr", "open_dataset",
    "open_mfdataset", "load_dataset", "savefig", "savez", "savez_compressed", "savetxt", "loadtxt", "genfromtxt",
    "fromfile", "tofile", "memmap", "load_file", "save_file", "mkdir", "unlink", "to_csv", "read_csv",
}  # fmt: skip
#: Functions that open files in these modules, and mean something else as methods.
QUALIFIED = {(m, f) for m in ("np", "numpy", "torch", "pickle", "json", "yaml") for f in ("load", "save", "dump")}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "posterity"


def resolve(module: str, node: ast.ImportFrom) -> str:
    """The absolute name of what a `from … import` names."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, *(node.module or "").split("."))).rstrip(".")


@cache
def parsed(module: str) -> ast.Module:
    """The code of a module."""
    return ast.parse(MODULES[module].read_text())


@cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """The absolute names that a module imports, as it is imported or anywhere in its functions."""
    found, pending = set(), list(parsed(module).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve(module, node)
            # `from package import module` names a module too.
            found.update((base, *(name for alias in node.names if (name := f"{base}.{alias.name}") in MODULES)))
        elif everywhere or not is_deferred(node):
            pending.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def is_deferred(node: ast.AST) -> bool:
    """Whether a statement's imports do not run when the module is imported."""
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    return typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def reached(module: str) -> dict[str, str]:
    """Everything that is imported with a module, each with the module that imports it."""
    found, pending = {module: module}, [module]
    while pending:
        current = pending.pop()
        parents = [current.rsplit(".", n)[0] for n in range(1, current.count(".") + 1)]
        for name in (*sorted(imports(current, everywhere=False)), *parents):
            if name not in found:
                found[name] = current
                if name in MODULES:
                    pending.append(name)
    return found


def within(names) -> list[str]:
    """The modules of some rooms, or of those names themselves; there must be some of each."""
    found = {name: [m for m in MODULES if f"{m}.".startswith(f"posterity.{name}.")] for name in names}
    assert all(found.values()), found
    return sorted({module for modules in found.values() for module in modules})


def but(names) -> list[str]:
    """All other modules."""
    return sorted(set(MODULES) - set(within(names)))


def each(modules):
    """Runs a test on modules that it is about."""
    return pytest.mark.parametrize("module", modules)


def test_the_reader_sees_imports_of_every_kind():
    """Relative imports of rooms and of neighbours, and what comes with an import of another."""
    assert {"posterity.systems", "posterity.problems.problem", "torch"} <= set(imports("posterity.problems.gaussian"))
    assert "torch" in reached("posterity.data.tensors")


def test_every_module_stands_in_a_room_or_above_them():
    assert {room(module) for module in MODULES} == set(ARROWS) | ABOVE


@each(within(ARROWS))
def test_arrows_go_one_way(module):
    own = room(module)
    targets = {room(name) for name in imports(module) if name.startswith("posterity.")}
    assert targets <= ARROWS[own] | {own, "errors", "tensors"}, f"{module} imports {targets}"


@each(within(LIGHT))
def test_the_rooms_at_the_bottom_stay_light(module):
    others = {name.split(".")[0] for name in imports(module)} - set(sys.stdlib_module_names)
    assert others <= LIGHT[room(module)] | {"posterity"}, f"{module} imports {others}"


@each(within(NO_TORCH))
def test_light_modules_import_no_torch(module):
    guilty = {
        name: by for name, by in reached(module).items() if name == "safetensors.torch" or name.split(".")[0] == "torch"
    }
    assert not guilty, f"{module} imports torch by way of {guilty}"


@each(but(("systems.compiled", "systems.kernels")))
def test_slow_packages_are_imported_when_they_are_needed(module):
    found = {name for name in imports(module, everywhere=False) for slow in SLOW if f"{name}.".startswith(f"{slow}.")}
    assert not found, f"{module} imports {found} for all who import it"


@each(within(("metrics", "figures", "experiment")))
def test_rooms_without_torch_never_import_it(module):
    """Not later either, within a function."""
    assert "torch" not in {name.split(".")[0] for name in imports(module)}


@pytest.mark.slow
def test_light_modules_run_without_torch():
    """The imports of other packages count too, and only running them tells."""
    code = f"import {', '.join(within(NO_TORCH))}, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_the_package_imports_a_room_when_it_is_asked_for():
    code = """
import sys, posterity
assert len(sys.modules) < 200, sorted(sys.modules)
assert set(posterity.__all__) <= set(dir(posterity))
assert [name for name in sys.modules if name.startswith("posterity.")] == ["posterity.memory"]
posterity.experiment
assert {"torch", "xarray", "numpy"}.isdisjoint(sys.modules)
assert posterity.metrics.crps and "torch" not in sys.modules
assert not hasattr(posterity, "rooms")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@each(MODULES)
def test_files_stay_short(module):
    assert len(MODULES[module].read_text().splitlines()) <= LINES


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_rooms_stay_small(folder):
    assert sum(len(path.read_text().splitlines()) for path in folder.glob("*.py")) <= ROOM_LINES


@each(but(FILES))
def test_nothing_else_touches_files(module):
    found = set()
    for node in ast.walk(parsed(module)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in OPENERS:
            found.add(called.id)
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr in OPENERS or (owner, called.attr) in QUALIFIED:
                found.add(f"{owner}.{called.attr}")
    assert not found, f"{module} calls {found}"


def test_states_are_advanced_through_one_door():
    """Steps of a system take states; those of optimisers and schedules take nothing."""
    callers = {
        module.removeprefix("posterity.")
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"
        if node.args or node.keywords
    }
    assert callers == set(STEPPING), "advance states by the methods of System: advance, advance_each, rollout"


@each(MODULES)
def test_no_module_draws_or_computes_at_import(module):
    """Statements of a module are imports, definitions, assignments and docstrings."""
    allowed = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.If,
    )  # fmt: skip
    for node in parsed(module).body:
        assert isinstance(node, allowed)
        assert "torch.rand" not in ast.unparse(node) or isinstance(node, ast.FunctionDef | ast.ClassDef)
