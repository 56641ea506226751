"""Coordinates around an estimate: a linear map, its inverse and its volume."""

import pytest
import torch

from posterity.estimators.whitening import LaplaceWhitening
from posterity.problems import Control, exact_posterior


@pytest.fixture
def whitening() -> LaplaceWhitening:
    """Two directions that differ from the prior, of five; three cases."""
    vectors, _ = torch.linalg.qr(torch.randn(3, 5, 2))
    return LaplaceWhitening(torch.randn(3, 5), torch.tensor([[2.0, 9.0]] * 3), vectors)


def test_places_are_found_again(whitening) -> None:
    w = torch.randn(4, 3, 5)
    torch.testing.assert_close(whitening.forward(whitening.inverse(w)), w)


def test_volume_and_variance_are_those_of_the_map(whitening) -> None:
    root = (whitening.inverse(torch.eye(5).unsqueeze(1).expand(5, 3, 5)) - whitening.origin).movedim(0, -1)
    torch.testing.assert_close(root, root.mT)
    torch.testing.assert_close(whitening.log_det(), torch.logdet(root))
    torch.testing.assert_close(whitening.variance(), (root @ root.mT).diagonal(dim1=-2, dim2=-1))


def test_the_mode_of_a_linear_problem_is_its_posterior(make_problem) -> None:
    problem = make_problem(6)
    window = problem.sample((8,)).window
    whitening = LaplaceWhitening.mode(Control(problem, window), torch.randn(8, 6), iterations=2)
    exact = exact_posterior(problem, window)
    # Backgrounds have a standard deviation of one.
    torch.testing.assert_close(whitening.origin + window.background.flatten(1), exact.mean[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(whitening.variance(), exact.covariance[:, 0].diagonal(dim1=-2, dim2=-1))


def test_a_case_without_a_finite_precision_has_the_coordinates_of_the_prior(make_problem) -> None:
    problem = make_problem(6)
    window = problem.sample((3,)).window
    window.background_std[1] = torch.inf
    whitening = LaplaceWhitening.mode(Control(problem, window), torch.zeros(3, 6), iterations=1)
    assert (whitening.values[1] == 1).all()
    assert (whitening.values[[0, 2]].amax(dim=-1) > 1).all()


def test_the_prior_is_white(make_problem) -> None:
    problem = make_problem(6)
    whitening = LaplaceWhitening.prior(Control(problem, problem.sample((3,)).window))
    w = torch.randn(2, 3, 6)
    assert torch.equal(whitening.inverse(w), w)
    assert torch.equal(whitening.log_det(), torch.zeros(3))
