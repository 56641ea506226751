"""Variants of a file in the real Snakefile: one study each, and all of them beside each other."""

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]


def test_a_file_of_variants_asks_for_its_scaling(sizes):
    planned = dict(sizes.planned("sizes"))
    figures = planned.pop("plot")
    assert planned == {
        "simulate": 6, "train": 4, "sample": 4, "classify": 4, "assimilate": 4, "evaluate": 8, "aggregate": 2,
        "scaling": 1,
    }  # fmt: skip
    # Those of a study without a reference, and corner plots against the weighted prior, trainings and classifiers.
    assert figures == 2 * 16
    assert "scaling" not in sizes.planned("sizes/n6,sizes/n8")
