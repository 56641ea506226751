"""A tiny linear-Gaussian experiment, and files for it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from posterity.experiment import Experiment, load

STUDY = {
    "title": "A ring of 6 sites",
    "system": {"kind": "linear", "options": {"size": 6}},
    "observation": {"mask": [{"kind": "random", "options": {"fraction": 0.5}}], "std": [0.5, 1.0]},
    "prior": {"std": [0.5, 1.5]},
    "window": 4,
    "forecast": 2,
    "splits": {
        "train": {"cases": 40, "shard": 20},
        "valid": {"cases": 12, "shard": 6},
        "test": {"cases": 5, "shard": 2},
    },
    "samples": 20,
    "methods": {
        "prior": {"kind": "prior"},
        "4dvar": {"kind": "4dvar"},
        "npe": {
            "kind": "npe",
            "options": {
                "context": 2,
                "network": {"kind": "convolution", "options": {"width": 8, "blocks": 1}},
                "flow": {"kind": "coupling-spline", "options": {"transforms": 1, "hidden": [8], "bins": 4}},
            },
            "training": {"epochs": 3, "batch": 16},
        },
    },
}


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the experiment, with some of its keys replaced, and returns the file."""

    def written(name: str = "study", **changes: object) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
        return path

    return written


@pytest.fixture
def experiment(study: Callable[..., Path]) -> Callable[..., Experiment]:
    """The experiment, with some of its keys replaced."""

    def loaded(name: str = "study", **changes: object) -> Experiment:
        return load(study(name, **changes))

    return loaded
