"""The bridge between tensors and files: what was drawn is what is read back."""

import torch

from posterity.data.tensors import twin_dataset, window_of
from posterity.problems import Identity, Observation, Problem
from posterity.systems import LinearAdvection


def test_a_case_without_a_background_leaves_others_theirs() -> None:
    """As simulations write it, where a draw of the climatology failed in part."""
    problem = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=3, background_std=(0.2, 0.4))
    twin = problem.sample((3,))
    twin.window.background[1, 0, 2] = torch.inf
    read = window_of(twin_dataset(twin, problem), problem, "twin.nc")
    for found, drawn in ((read.background, twin.window.background), (read.background_std, twin.window.background_std)):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[::2], drawn[::2], rtol=0, atol=0)
