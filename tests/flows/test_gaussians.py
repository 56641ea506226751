"""Gaussian posteriors: their densities, their factors, and how they move with what they are given."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from posterity.flows.gaussians import DiagonalGaussian, FullGaussian

SHAPES = [((5,), (7,)), ((1, 6), (4, 6)), ((2, 5), (4, 5)), ((2, 3, 4), (3, 3, 4))]


@pytest.mark.parametrize(("shape", "context"), SHAPES, ids=str)
def test_the_full_gaussian_has_the_density_of_its_precision(shape, context) -> None:
    flow, given = FullGaussian().build(shape, context), torch.randn(9, *context)
    mean, factor = flow.moments(given)
    expected = MultivariateNormal(mean, precision_matrix=factor @ factor.mT)
    z, log_q = flow.draw(given)
    assert z.shape == (9, *shape)
    torch.testing.assert_close(log_q, expected.log_prob(z.flatten(1)))
    torch.testing.assert_close(flow.log_prob(z + 1, given), expected.log_prob(z.flatten(1) + 1))
    # All entries depend on all others.
    assert (factor @ factor.mT).abs().min() > 0


@pytest.mark.parametrize(("shape", "context"), SHAPES, ids=str)
def test_draws_of_the_full_gaussian_have_its_precision(shape, context) -> None:
    """Whitened by the factor, draws are white: their squares and their products with each other."""
    flow, given = FullGaussian().build(shape, context), torch.randn(1, *context)
    mean, factor = flow.moments(given)
    z, _ = flow.draw(given.expand(2000, *context))
    white = (z.flatten(1) - mean) @ factor[0]
    n = white.shape[1]
    error = ((1 + torch.eye(n)) / 2000).sqrt()
    z = ((white.mT @ white / 2000 - torch.eye(n)) / error)[tuple(torch.tril_indices(n, n))]
    assert abs(float(z.square().sum().detach()) - len(z)) < 4 * (2 * len(z)) ** 0.5
    assert float((white.mean(dim=0).square().sum() * 2000).detach()) < n + 4 * (2 * n) ** 0.5


def test_the_diagonal_gaussian_is_one() -> None:
    flow, given = DiagonalGaussian().build((2, 5), (4, 5)), torch.randn(9, 4, 5)
    mean, log_std = (value.squeeze(-1) for value in flow.head(given))
    z = torch.randn(9, 2, 5)
    expected = Normal(mean, log_std.exp()).log_prob(z.flatten(1)).sum(dim=-1)
    torch.testing.assert_close(flow.log_prob(z, given), expected)
    draw, log_q = flow.draw(given)
    torch.testing.assert_close(flow.log_prob(draw, given), log_q)


@pytest.mark.parametrize(("shape", "context"), SHAPES[1:], ids=str)
def test_the_full_gaussian_moves_with_its_context(shape, context) -> None:
    flow, given = FullGaussian().build(shape, context), torch.randn(9, *context)
    axes = tuple(range(2, len(context) + 1))
    moved = given.roll([1] * len(axes), axes)
    z = torch.randn(9, *shape)
    torch.testing.assert_close(flow.log_prob(z.roll([1] * len(axes), axes), moved), flow.log_prob(z, given))
    assert not torch.allclose(flow.log_prob(z, moved), flow.log_prob(z, given))


def test_entries_read_the_context_of_their_own_site() -> None:
    flow, given = DiagonalGaussian().build((2, 5), (4, 5)), torch.randn(1, 4, 5)
    other = given.clone()
    other[:, :, 3] += 1
    changed = (flow.head(other)[0] != flow.head(given)[0]).view(2, 5)
    assert changed.tolist() == [[False, False, False, True, False]] * 2


def test_a_context_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"flow: a Gaussian over the grid \[6\] has a context on \[5\]"):
        FullGaussian().build((1, 6), (4, 5))
