"""The bridge between tensors and files: what was drawn is what is read back."""

from math import pi

import torch

from posterity.data.tensors import twin_dataset, window_of
from posterity.problems import Identity, Observation, Problem
from posterity.problems.observing.grids import Strided
from posterity.systems import Kolmogorov, LinearAdvection


def test_a_case_without_a_background_leaves_others_theirs() -> None:
    """As simulations write it, where a draw of the climatology failed in part."""
    problem = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=3, background_std=(0.2, 0.4))
    twin = problem.sample((3,))
    twin.window.background[1, 0, 2] = torch.inf
    read = window_of(twin_dataset(twin, problem), problem, "twin.nc")
    for found, drawn in ((read.background, twin.window.background), (read.background_std, twin.window.background_std)):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[::2], drawn[::2], rtol=0, atol=0)


def test_twins_say_how_long_the_domain_is_and_where_observations_of_another_grid_stand() -> None:
    """As maps and wave numbers need it; of observations on the states' grid nothing need be said."""
    system = Kolmogorov(size=(12, 16), wavenumber=2, spinup=0.0)
    coarse = Problem(
        system, Observation(Strided((2, 12, 16), every=(6, 8), start=(1, 2))), window=1, joint="climatology"
    )
    dataset = twin_dataset(coarse.sample((1,)), coarse)
    assert dataset["y"].attrs["length"] == dataset["x"].attrs["length"] == 2 * pi
    assert dataset["obs_site"].dims == ("obs_y", "obs_x")
    assert dataset["obs_site"].values.tolist() == [[16 + 2, 16 + 10], [7 * 16 + 2, 7 * 16 + 10]]
    ring = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=1, background_std=(0.2, 0.4))
    dataset = twin_dataset(ring.sample((1,)), ring)
    assert dataset["x"].attrs["length"] == 4
    assert "obs_site" not in dataset.coords
