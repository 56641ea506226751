"""Weights of one experiment, and draws of another with them."""

import pytest
import yaml

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]


def test_draws_with_the_weights_of_another_experiment(copied) -> None:
    """Its training is made, and nothing else of it; other observations and another window train nothing."""
    lender = {
        "title": "What is learned",
        "system": {"kind": "lorenz96", "options": {"size": 8}},
        "observation": {"std": 0.5},
        "prior": {"joint": "climatology", "std": None},
        "window": 4,
        "splits": {"test": {"cases": 4, "shard": 2}},
        "methods": {"sda": {"kind": "sda", "options": {"order": 1}, "training": {}}, "climatology": "climatology"},
    }
    other = {**lender, "observation": {"std": 0.1}, "window": 6, "methods": {"far": {"weights": "lender/sda"}}}
    for name, tree in (("lender", lender), ("other", other)):
        file = copied.folder / "config" / "experiments" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
    planned = copied.planned("other")
    assert planned.pop("plot") > 1
    assert planned == {"simulate": 4, "train": 1, "sample": 2, "evaluate": 2, "aggregate": 1}
