"""Writes ``config/README.md`` and ``workflow/schemas/experiment.schema.json`` from the models of experiment files."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from posterity.experiment import Experiment

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "config" / "README.md"
SCHEMA = ROOT / "workflow" / "schemas" / "experiment.schema.json"

INTRODUCTION = """\
# Configuration

<!-- Made by `python docs/make_config_reference.py` from the models in `src/posterity/experiment`: edit those. -->

`config.yaml` says which experiments the workflow runs. Each experiment is a file in `experiments/`, named as its
results are to be named. It holds the science and nothing else: partitions, memory and time stand in `profiles/`.

```console
$ posterity check EXPERIMENT      # says what a file means, or what is wrong with it
$ posterity list methods          # or systems, operators, masks, families, optimizers, figures, experiments
```

## An example

Every key, with a comment where it is not plain:

```yaml
{example}```

## Extending

A file that says `extends: other` takes all that it does not say from `other.yaml` beside it or, if there is none, in
`config/experiments`, of the folder where the workflow starts or of the project. Mappings are merged key by key; lists
and single values are replaced. A component or method of another `kind` replaces the old one with all its options,
`null` removes a method or a parameter, and `only` takes some of the methods alone, as in `methods: {{only: [4dvar]}}`:

```yaml
{extension}```

## Variants

A file with `variants` stands for several experiments, which differ from it in what each of them says. They are named
`FILE/VARIANT`, and their results stand in folders of the file's one:

```yaml
{variants}```

`posterity check sizes` checks all of them, `posterity check sizes/n40` one, and the workflow takes either name.

## Keys

A dotted path in an error message, such as `methods.npe.training.epochs`, is the way down from the top of the file.
"""

EXAMPLE = """\
title: A ring of 20 sites, half of them seen

seed: 0
system:
  kind: lorenz96
  options: {size: 20, forcing: 8.0, dt: 0.05}
observation:
  operator:                           # each sees what the one before it gives
    - identity                        # a kind alone: its options have defaults
    - {kind: pointwise, options: {function: atan, scale: 5.0}}
  mask:                               # observed is what passes all of them
    - {kind: grid, options: {every: 2}}
    - {kind: times, options: {every: 5, start: 5}}
  std: [0.05, 0.1]                    # drawn for every entry; one number is an interval of no width
prior:
  joint: background
  std: 1.0
  correlation:                        # of the background's errors; null: none
    kind: spectral
    options: {length: 2.0, spectrum: {kind: matern, options: {smoothness: 2.5}}}
window: 21
forecast: 10
model_error: null                     # a perfect model; a number makes it err
parameters:                           # unknown: estimated with the states
  forcing: {kind: uniform, options: {low: 6.0, high: 10.0}}
cycles: 1                             # more: windows in a row, each analysis the next one's background
burn_in: 0
start: 0
climatology: null                     # {}: a library of states that is made once, where spin-ups are long
time_unit: 5 days                     # of files of your own observations: what one unit of the model's time is
time_tolerance: 0.25                  # and how far their times may be off, in steps
truth: null                           # another system that test cases come from

splits:
  train: {cases: 32768, shard: 8192}  # four files, made by four jobs
  valid: {cases: 2048}
  test: {cases: 100, shard: 50}
samples: 500

methods:
  4dvar:
    kind: 4dvar
  vi-adam:
    kind: vi
    label: VI (Adam)
    options:
      family: mean-field
      optimizer: {kind: adam, options: {learning_rate: 1e-2}}
  abc:
    kind: abc
    samples: 100
    options: {trials: 100000}
  npe:
    kind: npe
    training: {epochs: 50, batch: 512, patience: 10}

reference: {kind: smc, samples: 512, runs: 2}
classifier: {cases: 4096, epochs: 30}                  # networks that tell the truth from the draws of npe

figures:
  case: 0
  sites: [0, 10]
"""

EXTENSION = """\
extends: example
title: The same, with a longer window and without ABC
window: 41
methods:
  abc: null
  npe:
    training: {epochs: 100}           # its other settings stay
"""

VARIANTS = """\
extends: example
variants:
  n20: {}
  n40: {system: {options: {size: 40}}, splits: {test: {cases: 50}}}
"""

#: What the keys of a mapping of one's own naming are called.
NAMED = {"methods": "methods.NAME", "parameters": "parameters.NAME"}


def models() -> dict[str, Any]:
    """The JSON schema of a whole experiment: no file is extended, and the name comes from the file."""
    schema = Experiment.model_json_schema()
    del schema["properties"]["name"]
    kind, component = {"type": "string"}, {"$ref": "#/$defs/Component"}
    schema["properties"]["system"] = {
        "anyOf": [kind, component],
        "description": Experiment.model_fields["system"].description,
    }
    for model, name in (
        ("PriorConfig", "correlation"),
        ("ModelErrorConfig", "correlation"),
        ("MethodConfig", "refinement"),
        ("ClassifierConfig", "network"),
    ):
        schema["$defs"][model]["properties"][name]["anyOf"].append(kind)
    for name in ("operator", "mask"):
        schema["$defs"]["ObservationConfig"]["properties"][name]["items"] = {"anyOf": [kind, component]}
    return schema


def file_schema() -> dict[str, Any]:
    """The JSON schema of an experiment file, which may extend another one and then leave out what that one says."""
    schema = copy.deepcopy(models())
    for model in schema["$defs"].values():
        model.pop("required", None)
    named_method = copy.deepcopy(schema["properties"]["methods"]["additionalProperties"])
    for name in ("methods", "parameters"):
        named = schema["properties"][name]
        named["additionalProperties"] = {"anyOf": [named["additionalProperties"], {"type": "null"}]}
    schema["properties"]["methods"]["properties"] = {
        "only": {
            "anyOf": [{"type": "array", "items": {"type": "string"}}, named_method],
            "description": "Those of the methods that this file inherits which it takes.",
        }
    }
    schema["properties"]["variants"] = {
        "type": "object",
        "additionalProperties": {"type": ["object", "null"]},
        "description": "Experiments that differ from this one, by names of their own, and what each of them changes.",
    }
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Posterity experiment"}


def page() -> str:
    """The page that documents every key of an experiment file."""
    schema = models()
    # A description that is the model's own is said only once in a schema.
    said = {f"#/$defs/{name}": model["description"] for name, model in schema["$defs"].items()}
    parts = [INTRODUCTION.format(example=EXAMPLE, extension=EXTENSION, variants=VARIANTS)]
    pending = [("The file", schema)]
    while pending:
        title, model = pending.pop(0)
        parts.append(
            f"\n### {title}\n\n{model['description']}\n\n| key | type | default | what it is |\n|---|---|---|---|\n"
        )
        below = []
        for key, value in model["properties"].items():
            default = "*required*" if key in model.get("required", ()) else f"`{flow(value.get('default'))}`"
            description = value.get("description") or said[value["$ref"]]
            parts.append(f"| `{key}` | {type_of(value)} | {default} | {description} |\n")
            for name in references(value):
                if name in schema["$defs"]:
                    within = "" if title == "The file" else title.strip("`") + "."
                    below.append((heading(name, within + NAMED.get(key, key)), schema["$defs"].pop(name)))
        pending = below + pending
    return "".join(parts)


def heading(model: str, key: str) -> str:
    """The heading of the keys below a key; models that stand below several keys are named for what they are."""
    return {
        "Component": "Components: `system`, each of `observation.operator` and of `observation.mask`",
        "SplitConfig": "`splits.train`, `splits.valid`, `splits.test`",
    }.get(model, f"`{key}`")


def references(value: Any) -> list[str]:
    """The models that a part of a schema names."""
    if isinstance(value, dict):
        named = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
        return named + [name for part in value.values() for name in references(part)]
    return [name for part in value for name in references(part)] if isinstance(value, list) else []


def type_of(value: dict[str, Any]) -> str:
    """A type in words."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(type_of(part) for part in value["anyOf"]))
    if "$ref" in value:
        return "component" if value["$ref"].endswith("/Component") else "mapping"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "prefixItems" in value:
        return "[low, high]"
    if value["type"] == "array":
        return f"list of: {type_of(value['items'])}"
    words = {
        "boolean": "`true` or `false`",
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "object": "mapping",
        "null": "`null`",
    }
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "maximum": "≤"}
    return words[value["type"]] + "".join(
        f" {sign} {value[bound]:g}" for bound, sign in bounds.items() if bound in value
    )


def flow(value: Any) -> str:
    """A value as YAML on one line, without the keys that are null."""
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if inner is not None}
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def main() -> None:
    """Writes both files."""
    SCHEMA.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(file_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
