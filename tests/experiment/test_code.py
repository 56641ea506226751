"""Digests of code, and constructors read from it: what counts, what is reached, and what is not."""

import inspect
from importlib import import_module
from itertools import count

import pytest

from posterity.errors import ConfigError
from posterity.experiment import catalog
from posterity.experiment.sources.digest import reached
from posterity.experiment.sources.signature import Parameter, signature

#: Every package has a name of its own, because modules are looked up once.
NUMBERS = count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package from the text of its modules, puts it on the path, and returns its name."""

    def written(**modules: str) -> str:
        name = f"made_{next(NUMBERS)}"
        for module, text in {"__init__": "", **modules}.items():
            path = tmp_path / name / f"{module.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PACKAGE", name), encoding="utf-8")
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return written


BASE = '''
"""A module."""
import math


class Thing:
    """A thing."""

    def area(self, radius: float) -> float:
        """Its area."""
        return math.pi * radius**2  # of a disc
'''


def digest_of(package, text: str) -> str:
    """The digest of a module with some text."""
    module = f"{package(thing=text)}.thing"
    return reached([module])[module]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # of a disc", ""),
        ('"""Its area."""', '"""The area, in square metres."""'),
        ('"""A thing."""', '"""Another."""'),
        ('"""A module."""\n', ""),
        ("math.pi * radius**2", "(math.pi*radius ** 2)"),
        ("radius: float", "radius"),
        (") -> float", ") -> complex"),
        ("import math\n", "import math\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\n"),
    ],
)
def test_comments_docstrings_hints_and_formatting_do_not_count(package, old, new) -> None:
    assert old in BASE
    assert digest_of(package, BASE) == digest_of(package, BASE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("radius**2", "radius**3"),
        ("radius", "r"),
        ("import math", "import cmath as math"),
        ("class Thing", "class Thin"),
    ],
)
def test_code_counts(package, old, new) -> None:
    assert digest_of(package, BASE) != digest_of(package, BASE.replace(old, new))


def test_fields_of_a_class_count(package) -> None:
    """Dataclasses are made of annotations, so those are code."""
    text = "from dataclasses import dataclass\n@dataclass\nclass Thing:\n    size: int = 1\n"
    assert digest_of(package, text) != digest_of(package, text.replace("size: int", "size"))


def test_an_import_for_hints_leads_nowhere_and_does_not_count(package) -> None:
    hinted = package(
        user="from .one import One\nfrom .two import Two\n"
        "def f(x: One, y: 'Two') -> None:\n    z: One = x\n    return z\n",
        one="class One: ...",
        two="class Two: ...",
    )
    bare = package(user="def f(x, y):\n    z = x\n    return z\n")
    assert set(reached([f"{hinted}.user"])) == {f"{hinted}.user"}
    assert reached([f"{hinted}.user"])[f"{hinted}.user"] == reached([f"{bare}.user"])[f"{bare}.user"]
    used = package(user="from .one import One\ndef f(x: One):\n    return isinstance(x, One)\n", one="class One: ...")
    assert set(reached([f"{used}.user"])) == {f"{used}.user", f"{used}.one"}


def test_what_is_not_for_hints_under_type_checking_counts(package) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\nelse:\n    LEVEL = 1\n"
    assert digest_of(package, text) != digest_of(package, text.replace("LEVEL = 1", "LEVEL = 2"))
    assert digest_of(package, text) == digest_of(package, text.replace("import json", "import csv"))
    otherwise = "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    LEVEL = 1\n"
    assert digest_of(package, otherwise) != digest_of(package, otherwise.replace("LEVEL = 1", "LEVEL = 2"))
    whole = "import typing\nif typing.TYPE_CHECKING:\n    import json\n"
    assert digest_of(package, whole) == digest_of(package, "import typing\n")


def test_a_name_that_a_package_makes_its_own_leads_to_the_package(package) -> None:
    name = package(
        user="from .room import wrapped, lazy",
        room__in____init__="from .one import wrapped\nwrapped = print\n"
        "try:\n    from .two import lazy\nexcept ImportError:\n    lazy = None\n",
        room__in__one="wrapped = 1",
        room__in__two="lazy = 2",
    )
    assert set(reached([f"{name}.user"])) >= {f"{name}.{part}" for part in ("user", "room", "room.one", "room.two")}


def test_the_code_of_a_package_counts_beside_its_imports(package) -> None:
    bare = package(room__in____init__="from .one import One\n__all__ = ['One']\n", room__in__one="class One: ...")
    assert set(reached([f"{bare}.room.one"])) == {f"{bare}.room.one"}
    busy = package(room__in____init__="import math\nmath.set(1)\n", room__in__one="class One: ...")
    assert set(reached([f"{busy}.room.one"])) == {f"{busy}.room.one", f"{busy}.room.__init__"}


def test_a_name_that_a_module_passes_on_is_followed(package) -> None:
    """The module may need it for its hints alone."""
    name = package(user="from .one import Two", one="from .two import Two\ndef f(x: Two): ...", two="class Two: ...")
    assert set(reached([f"{name}.user"])) == {f"{name}.user", f"{name}.one", f"{name}.two"}


def test_what_has_no_source_leads_nowhere(package) -> None:
    name = package(user="try:\n    from ._fast import f\nexcept ImportError:\n    from .slow import f\n", slow="f = 1")
    assert set(reached([f"{name}.user"])) == {f"{name}.user", f"{name}.slow"}


def test_a_name_leads_to_the_module_that_defines_it_and_to_no_sibling(package) -> None:
    name = package(
        user="from PACKAGE.room import One",
        room__in____init__="from .one import One\nfrom .two import Two as Three\n",
        room__in__one="class One: ...",
        room__in__two="class Two: ...",
    )
    assert set(reached([f"{name}.user"])) == {f"{name}.user", f"{name}.room.one"}
    assert set(reached([f"{name}.room:Three"])) == {f"{name}.room.two"}


def test_imports_are_followed_wherever_and_however_they_stand(package) -> None:
    name = package(
        user="import torch\nimport PACKAGE.one\ndef later():\n    from . import two as renamed, three\n",
        one="from .four import four",
        two="",
        three="from math import pi",
        four="from . import user",
        five="",
    )
    assert set(reached([f"{name}.user"])) == {f"{name}.{part}" for part in ("user", "one", "two", "three", "four")}


def test_a_renamed_module_of_a_package_is_found(package) -> None:
    name = package(user="from . import other", __init__="from . import real as other\n", real="class Real: ...")
    assert set(reached([f"{name}.user"])) == {f"{name}.user", f"{name}.real"}


def test_other_packages_lead_back_to_this_one(package) -> None:
    name = package(system="from posterity.systems import LinearAdvection\nclass Mine(LinearAdvection): ...")
    assert set(reached([f"{name}.system:Mine"])) == {
        f"{name}.system",
        "posterity.systems.linear",
        "posterity.systems.system",
        "posterity.tensors",
    }


@pytest.mark.parametrize(
    ("task", "parts", "inside", "outside"),
    [
        ("simulate", [], {"problems.problem", "data.schema"}, {"figures", "metrics", "baselines", "estimators.npe"}),
        (
            "assimilate",
            ["posterity.baselines:FourDVar"],
            {"baselines.variational.fourdvar", "problems.minimize"},
            {"baselines.variational.vi"},
        ),
        (
            "train",
            ["posterity.estimators:NeuralPosterior"],
            {"estimators.npe"},
            {"estimators.nre", "baselines"},
        ),
        ("evaluate", [], {"metrics.scores"}, {"figures", "baselines", "estimators", "systems.lorenz96"}),
    ],
)
def test_a_task_reaches_what_it_uses_and_nothing_else(task, parts, inside, outside) -> None:
    found = reached([f"posterity.tasks.{task}", *parts])
    names = {module.removeprefix("posterity.") for module in found}
    assert inside <= names
    assert not any(module == other or module.startswith(f"{other}.") for module in names for other in outside)
    assert not {"experiment.experiment", "experiment.catalog", "cli", "errors"} & names


@pytest.mark.parametrize("group", list(catalog.CATALOG))
def test_constructors_are_read_as_python_sees_them(group) -> None:
    for target in catalog.names(group).values():
        module, _, name = target.partition(":")
        expected = inspect.signature(getattr(import_module(module), name)).parameters.values()
        read = signature(target)
        assert [(p.name, p.required) for p in read] == [(p.name, p.default is p.empty) for p in expected]


def test_options_are_inherited(package) -> None:
    name = package(
        systems="""
from dataclasses import dataclass
from typing import ClassVar
from posterity.systems import Lorenz96 as Base

@dataclass(frozen=True, kw_only=True)
class Mine(Base):
    names: ClassVar[tuple[str, ...]] = ("x",)
    gain: float
    size: int = 12

class Yours(Mine): ...

class Theirs(Mine):
    def __init__(self, depth: int, *, width=3): ...
"""
    )
    mine = signature(f"{name}.systems:Mine")
    assert [p.name for p in mine] == ["size", "forcing", "dt", "substeps", "spinup", "gain"]
    assert [p.name for p in mine if p.required] == ["gain"]
    assert signature(f"{name}.systems:Yours") == mine
    assert signature(f"{name}.systems:Theirs") == (
        Parameter("depth", "int", True),
        Parameter("width", "Any", False),
    )


def test_modules_of_packages_without_an_init_are_found(tmp_path, monkeypatch) -> None:
    name = f"made_{next(NUMBERS)}"
    (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / name / "inner" / "thing.py").write_text("class Thing:\n    def __init__(self, a: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert signature(f"{name}.inner.thing:Thing") == (Parameter("a", "int", True),)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("posterity.systems.lorenz96:Lorenz95", "there is no 'Lorenz95' in .*lorenz96.py"),
        ("posterity.systems.lorenz95:Lorenz96", r"there is no module 'posterity\.systems\.lorenz95' in .*posterity"),
        ("not_installed.systems:Mine", r"there is no module 'not_installed\.systems'; is the package 'not_installed'"),
    ],
)
def test_what_is_not_there_is_named(target, message) -> None:
    with pytest.raises(ConfigError, match=message):
        signature(target)
