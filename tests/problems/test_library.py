"""Libraries of states: what is drawn of them, and where."""

from dataclasses import dataclass, replace

import pytest
import torch

from posterity.problems import StateLibrary
from posterity.problems.climatology import climatological_moments
from posterity.problems.priors import Uniform
from posterity.systems import LinearAdvection
from posterity.tensors import Constant
from posterity.testing import linear_gaussian


@dataclass(frozen=True, kw_only=True)
class Ring(LinearAdvection):
    """A ring that is turned at random."""

    def shuffled(self, x: torch.Tensor) -> torch.Tensor:
        """Turns each state by a number of sites of its own."""
        flat = x.flatten(0, -3)
        turned = [site.roll(int(n), dims=-1) for site, n in zip(flat, torch.randint(4, (len(flat),)), strict=True)]
        return torch.stack(turned).reshape(x.shape)


STATES = torch.arange(12.0).reshape(3, 1, 4)


def test_neighbouring_draws_are_different_states() -> None:
    drawn = StateLibrary(Constant(STATES)).draw(LinearAdvection(size=4), (2, 3), STATES)
    assert drawn.shape == (2, 3, 1, 4)
    for half in drawn:
        assert sorted(half[:, 0, 0].tolist()) == [0, 4, 8]


def test_draws_are_moved_by_symmetries_and_follow_dtype() -> None:
    drawn = StateLibrary(Constant(STATES)).draw(Ring(size=4), (300,), STATES.double())
    assert drawn.dtype == torch.double
    assert {tuple(sorted(x.flatten().tolist())) for x in drawn} == {tuple(x.flatten().tolist()) for x in STATES}
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 12


def test_initial_states_of_the_system_come_from_the_library_and_no_other() -> None:
    problem = replace(linear_gaussian(), library=StateLibrary(Constant(STATES)))
    start = torch.zeros(6)
    assert {x[0, 0].item() for x in problem.climatology(problem.system, start)} == {0, 4, 8}
    assert problem.sample((6,)).window.background.flatten(1)[:, 0].unique().tolist() == [0, 4, 8]
    other = problem.climatology(LinearAdvection(size=4), start)
    assert not set(other.flatten().tolist()) & set(STATES.flatten().tolist())


def test_moments_are_those_of_the_library() -> None:
    problem = replace(linear_gaussian(), library=StateLibrary(Constant(STATES)))
    moments = climatological_moments(problem, torch.zeros(2), 300)
    torch.testing.assert_close(moments.mean[0], STATES.to(moments.mean).mean(dim=0).flatten())
    torch.testing.assert_close(moments.std[0], torch.full((4,), (32 / 3 * 300 / 299) ** 0.5, dtype=moments.mean.dtype))


def test_unknown_parameters_have_no_library_under_the_climatology_joint() -> None:
    problem = replace(
        linear_gaussian(), parameters={"speed": Uniform(0.5, 1.5)}, library=StateLibrary(Constant(STATES))
    )
    with pytest.raises(ValueError, match=r"climatology: a library of states is that of one system"):
        replace(problem, joint="climatology")
