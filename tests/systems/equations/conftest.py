"""What is compiled by numba is of CPUs alone."""

import pytest


@pytest.fixture(autouse=True)
def on_a_cpu(device):
    """Skips what is of CPUs alone."""
    if device.type != "cpu":
        pytest.skip("loops are compiled for CPUs")
