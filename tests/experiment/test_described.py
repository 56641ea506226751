"""Descriptions of components as their source has them, held against the classes themselves."""

import ast
import inspect
import re

import pytest

from posterity.experiment import catalog
from posterity.experiment.listing import FUNCTIONS, GROUPS, kinds
from posterity.experiment.sources.described import described

ENTRIES = [(group, kind) for kind, groups in kinds().items() for group in groups]


def test_every_group_says_what_it_is() -> None:
    assert set(GROUPS) == set(catalog.CATALOG)


@pytest.mark.parametrize(("group", "kind"), ENTRIES)
def test_every_entry_describes_itself_and_all_its_options(group, kind) -> None:
    found = described(catalog.target(group, kind), catalog.GIVEN.get(group, 0))
    assert found.summary
    assert "`" not in found.summary + found.text
    for paper in found.papers:
        assert not paper.startswith("http")
    for option in found.options if group not in FUNCTIONS else ():
        assert option.text, option.name


@pytest.mark.parametrize(("group", "kind"), [entry for entry in ENTRIES if entry[0] not in FUNCTIONS])
def test_defaults_are_those_of_the_constructor(group, kind) -> None:
    given = catalog.GIVEN.get(group, 0)
    parameters = list(inspect.signature(catalog.resolve(group, kind)).parameters.values())[given:]
    options = described(catalog.target(group, kind), given).options
    assert [option.name for option in options] == [parameter.name for parameter in parameters]
    for option, parameter in zip(options, parameters, strict=True):
        assert bool(option.default) == (parameter.default is not inspect.Parameter.empty)
        if re.fullmatch(r"-?[\d.e]+|True|False|None|'.*'", option.default):
            assert ast.literal_eval(option.default) == parameter.default


def test_what_a_class_takes_over_is_described_by_its_base() -> None:
    neuron = {option.name: option for option in described(catalog.target("system", "hodgkin-huxley")).options}
    assert neuron["spinup"].text == "Time of rest before the first state, in ms."
    assert neuron["spinup"].default == "0.0"
