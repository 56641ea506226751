"""What all tests share: double precision, a seed for each test, and a choice of device."""

import logging
from collections.abc import Callable, Iterator

import pytest
import torch

from posterity.problems import GridMask, Mask, Problem
from posterity.testing import linear_gaussian


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors live, as torch names it: cpu, cuda, cuda:1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs come first, which take minutes: at the end, when one process is left with them, others would idle."""
    items.sort(key=lambda item: not any(item.iter_markers("slurm")) and not any(item.iter_markers("workflow")))


@pytest.fixture(scope="session", autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Double precision on the chosen device, for the whole session."""
    dtype, chosen = torch.get_default_dtype(), torch.device(request.config.getoption("--device"))
    torch.set_default_dtype(torch.float64)
    torch.set_default_device(chosen)
    yield chosen
    torch.set_default_dtype(dtype)
    torch.set_default_device(None)


@pytest.fixture(autouse=True)
def seed(device: torch.device) -> Iterator[int]:
    """Every test draws the same numbers whatever ran before it, and leaves the generators as they were.

    Fixtures of a wider scope are made before this one: those that draw must seed themselves.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield 0


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Leaves the level of the log as it was: commands set it, and what tests see of the log depends on it."""
    logger = logging.getLogger("posterity")
    level = logger.level
    yield
    logger.setLevel(level)


EVERY_OTHER = (GridMask(2),)


@pytest.fixture(scope="session")
def make_problem(device: torch.device) -> Callable[..., Problem]:
    """A ring of some sites, of which every other one is seen; 4 states, and 2 of a forecast."""

    def problem(
        size: int = 8, masks: tuple[Mask, ...] = EVERY_OTHER, std=(0.5, 0.5), background_std=(1.0, 1.0)
    ) -> Problem:
        return linear_gaussian(size, window=4, forecast=2, std=std, masks=masks, background_std=background_std)

    return problem
