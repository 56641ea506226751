"""Backgrounds of users: made states that the system can be in, with a word."""

import pytest
import torch

from posterity.inference.observed import admissible
from posterity.problems import Identity, Observation, Problem
from posterity.systems import Kolmogorov, LinearAdvection


def test_backgrounds_of_users_lose_their_divergence_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    system = Kolmogorov(size=8, wavenumber=2, spinup=0.0)
    problem = Problem(system, Observation(Identity((2, 8, 8))), window=2, background_std=(0.2, 0.4))
    fine = system.initial((3,))
    window = problem.sample((3,)).window._replace(background=fine.clone())
    window.background[1, 1] += torch.cos(2 * torch.pi * torch.arange(8) / 8)[:, None]
    window.background[2] = torch.nan
    found = admissible(window, problem, "own.nc").background
    assert "own.nc: 1 backgrounds are none that the system can have" in caplog.text
    # The wave along y of the component v is all divergence.
    torch.testing.assert_close(found[:2], fine[:2])
    assert found[2].isnan().all()


def test_systems_that_may_be_in_any_state_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    problem = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=2, background_std=(0.2, 0.4))
    window = problem.sample((2,)).window
    assert admissible(window, problem, "own.nc") is window
    assert not caplog.text
