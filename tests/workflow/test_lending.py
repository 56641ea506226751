"""Weights of one experiment, and draws of another with them."""

import pytest
import yaml

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]


def test_draws_with_the_weights_of_another_experiment(copied) -> None:
    """Its training is made, and nothing else of it.

    Other masks, standard deviations, windows, samplers and guidances train nothing: one training is planned for all.
    """
    lender = {
        "title": "What is learned",
        "system": {"kind": "lorenz96", "options": {"size": 8}},
        "observation": {"std": 0.5},
        "prior": {"joint": "climatology", "std": None},
        "window": 4,
        "splits": {"test": {"cases": 4, "shard": 2}},
        "methods": {"sda": {"kind": "sda", "options": {"order": 1}, "training": {}}, "climatology": "climatology"},
    }
    draws = {
        "far": {},
        "ancestral": {"sampler": "ancestral"},
        "guided": {"guidance": "dps"},
        "averaged": {"composition": {"kind": "blankets", "options": {"length": 3, "overlap": 1}}, "per_window": True},
    }
    other = {
        **lender,
        "observation": {"std": 0.1, "mask": [{"kind": "random", "options": {"fraction": 0.5}}]},
        "window": 6,
        "methods": {name: {"weights": "lender/sda", "options": options} for name, options in draws.items()},
    }
    for name, tree in (("lender", lender), ("other", other)):
        file = copied.folder / "config" / "experiments" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
    planned = copied.planned("other")
    assert planned.pop("plot") > 1
    assert planned == {"simulate": 4, "train": 1, "sample": 8, "evaluate": 8, "aggregate": 1}
