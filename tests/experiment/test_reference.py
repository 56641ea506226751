"""The page and the schema of experiment files: generated from the models, complete, and right."""

import json
import runpy
from pathlib import Path

import jsonschema
import pytest
import yaml

from posterity.experiment import Experiment, every, load
from posterity.experiment.component import Model

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "make_config_reference.py"))
EXPERIMENTS = sorted((ROOT / "config" / "experiments").glob("*.yaml"))
REMEDY = "run python docs/make_config_reference.py"


def test_the_page_is_as_generated() -> None:
    assert MADE["PAGE"].read_text(encoding="utf-8") == MADE["page"](), REMEDY


def test_the_schema_is_as_generated() -> None:
    assert json.loads(MADE["SCHEMA"].read_text(encoding="utf-8")) == MADE["file_schema"](), REMEDY


def models(model: type[Model]) -> set[type[Model]]:
    """A model and those that its fields are made of."""
    found = {model}
    for field in model.model_fields.values():
        pending = [field.annotation]
        while pending:
            part = pending.pop()
            pending += getattr(part, "__args__", ())
            if isinstance(part, type) and issubclass(part, Model):
                found |= models(part)
    return found


def test_every_key_is_documented() -> None:
    page = MADE["PAGE"].read_text(encoding="utf-8")
    everything = models(Experiment)
    assert len(everything) == 13
    for model in everything:
        for key, field in model.model_fields.items():
            if (model, key) != (Experiment, "name"):
                default = "*required*" if field.is_required() else ""
                assert f"| `{key}` | " in page
                assert any(row.startswith(f"| `{key}` | ") and default in row for row in page.splitlines())
                assert field.description in page


def test_the_example_and_its_extension_are_experiments(tmp_path) -> None:
    page = MADE["PAGE"].read_text(encoding="utf-8")
    example, extension, sizes = (block.partition("```")[0] for block in page.split("```yaml\n")[1:])
    (tmp_path / "example.yaml").write_text(example)
    (tmp_path / "longer.yaml").write_text(extension)
    (tmp_path / "sizes.yaml").write_text(sizes)
    whole, longer = load(tmp_path / "example.yaml"), load(tmp_path / "longer.yaml")
    assert set(yaml.safe_load(example)) == set(Experiment.model_fields) - {"name", "extends"}
    assert [experiment.name for _, experiment in every(tmp_path / "sizes.yaml")] == ["sizes/n20", "sizes/n40"]
    assert set(longer.methods) == set(whole.methods) - {"abc"}
    assert longer.methods["npe"].training == whole.methods["npe"].training.model_copy(update={"epochs": 100})


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_shipped_experiments_fit_the_schema(path) -> None:
    jsonschema.Draft202012Validator.check_schema(MADE["file_schema"]())
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(tree, MADE["file_schema"](), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "change",
    [{"windw": 3}, {"window": 0}, {"observation": {"std": -1}}, {"system": 3}, {"methods": {"a": {"knd": "prior"}}}],
    ids=str,
)
def test_the_schema_refuses_what_the_models_refuse(change) -> None:
    tree = yaml.safe_load(MADE["EXAMPLE"]) | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, MADE["file_schema"](), jsonschema.Draft202012Validator)
