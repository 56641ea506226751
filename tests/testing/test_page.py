"""The tests of the package that the page on extending writes: they are run, and they pass."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"

#: The modules of the page's package, each by a line that its block alone has.
MODULES = {
    "mylab.lorenz84": "class Lorenz84(",
    "mylab.blown": "class Blown(",
    "mylab.coarse": "class Coarse(",
    "mylab.weighted": "class WeightedLaplace(",
    "mylab.gaussian": "class GaussianPosterior(",
    "mylab.tests": "def test_system(",
}


@pytest.fixture
def tests(monkeypatch) -> ModuleType:
    """The module of tests, with the others beside it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.setitem(sys.modules, "mylab", ModuleType("mylab"))
    for name, line in MODULES.items():
        (code,) = [block for block in blocks if line in block]
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(code, name, "exec"), module.__dict__)
    return sys.modules["mylab.tests"]


@pytest.mark.parametrize("test", ["test_system", "test_operator", "test_method", "test_estimator"])
def test_components_of_the_page_pass_its_tests(tests, test) -> None:
    getattr(tests, test)()
