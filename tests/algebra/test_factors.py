"""Factors, against the matrices that they stand for."""

import pytest
import torch

from posterity.algebra import CovarianceFactor, Gaussian, LowRankFactor, PrecisionFactor, Tridiagonal

TIMES, ENTRIES, CONSTANTS, CASES = 4, 3, 2, 2
SIZE = TIMES * ENTRIES + CONSTANTS


def precision(size: int = SIZE) -> torch.Tensor:
    root = torch.randn(CASES, size, size)
    return root @ root.mT + torch.eye(size)


def markov() -> torch.Tensor:
    """A positive definite precision of a chain with constants behind its first state: a sum over neighbours."""
    matrix = 0.1 * torch.eye(SIZE).repeat(CASES, 1, 1)
    for t in range(TIMES - 1):
        seen = torch.cat([torch.as_tensor(state) for state in (*states()[t : t + 2], constants())])
        root = torch.randn(CASES, len(seen), len(seen))
        matrix[:, seen.unsqueeze(-1), seen] += root @ root.mT
    return matrix


def states() -> list[list[int]]:
    later = range(ENTRIES + CONSTANTS, SIZE, ENTRIES)
    return [list(range(ENTRIES)), *(list(range(start, start + ENTRIES)) for start in later)]


def constants() -> list[int]:
    return list(range(ENTRIES, ENTRIES + CONSTANTS))


def block(matrix: torch.Tensor, rows: list[int], columns: list[int]) -> torch.Tensor:
    return matrix[:, rows][:, :, columns]


def tridiagonal(matrix: torch.Tensor) -> Tridiagonal:
    return Tridiagonal(
        torch.stack([block(matrix, state, state) for state in states()], dim=1),
        torch.stack([block(matrix, states()[t + 1], states()[t]) for t in range(TIMES - 1)], dim=1),
        torch.stack([block(matrix, state, constants()) for state in states()], dim=1),
        block(matrix, constants(), constants()),
    )


def low_rank() -> tuple[LowRankFactor, torch.Tensor]:
    diagonal, directions = torch.rand(CASES, SIZE) + 0.5, torch.randn(CASES, SIZE, 5)
    return LowRankFactor.updated(diagonal, directions), torch.diag_embed(diagonal) + directions @ directions.mT


def cases_of(kind: str):
    """A factor, with the precision that it stands for."""
    if kind == "low rank":
        return low_rank()
    if kind == "diagonal":
        variance = torch.rand(CASES, SIZE) + 0.5
        return LowRankFactor.diagonal(variance), torch.diag_embed(1 / variance)
    matrix = markov() if kind == "tridiagonal" else precision()
    if kind == "tridiagonal":
        return tridiagonal(matrix).factor(), matrix
    if kind == "covariance":
        return CovarianceFactor(torch.linalg.cholesky(torch.linalg.inv(matrix))), matrix
    return PrecisionFactor.of(matrix), matrix


KINDS = ["covariance", "precision", "low rank", "diagonal", "tridiagonal"]


@pytest.mark.parametrize("kind", KINDS)
def test_factors_are_roots_of_the_inverse_of_the_precision(kind):
    factor, matrix = cases_of(kind)
    covariance = torch.linalg.inv(matrix)
    eye = torch.eye(SIZE).unsqueeze(1).expand(-1, CASES, -1)
    root = factor.forward(eye).movedim(0, -1)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(root @ root.mT, covariance, **close)
    torch.testing.assert_close(factor.transpose(eye).movedim(0, -1), root.mT, **close)
    torch.testing.assert_close(factor.inverse(factor.forward(eye)), eye, **close)
    torch.testing.assert_close(factor.dual(factor.transpose(eye)), eye, **close)
    torch.testing.assert_close(factor.covariance(eye).movedim(0, -1), covariance, **close)
    torch.testing.assert_close(factor.log_det(), -0.5 * torch.logdet(matrix), **close)
    torch.testing.assert_close(factor.variance(), covariance.diagonal(dim1=-2, dim2=-1), **close)


@pytest.mark.parametrize("kind", KINDS)
def test_gaussians_have_the_density_of_torch(kind):
    factor, matrix = cases_of(kind)
    q = Gaussian(torch.randn(CASES, SIZE), factor)
    known = torch.distributions.MultivariateNormal(q.mean, precision_matrix=matrix)
    noise = torch.randn(3, 5, CASES, SIZE)
    u, log_det = q.draw(noise.flatten(0, 1))
    torch.testing.assert_close(q.log_prob(u), known.log_prob(u), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(q.entropy(), known.entropy(), rtol=1e-9, atol=1e-9)
    white = torch.distributions.Normal(0, 1).log_prob(noise.flatten(0, 1)).sum(dim=-1)
    torch.testing.assert_close(white - log_det, known.log_prob(u), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_cases_are_selected_replaced_and_told_apart(kind):
    factor, _ = cases_of(kind)
    other, _ = cases_of(kind)
    noise = torch.randn(CASES, SIZE)
    mixed = factor.where(torch.tensor([True, False]), other)
    expected = torch.stack((factor.forward(noise)[0], other.forward(noise)[1]))
    torch.testing.assert_close(mixed.forward(noise), expected)
    torch.testing.assert_close(factor.insert(other.select(slice(1, 2)), torch.tensor([1])).forward(noise), expected)
    alone = mixed.select(torch.tensor([1])).forward(noise[1:])
    torch.testing.assert_close(alone, expected[1:], rtol=1e-12, atol=1e-12)
    assert mixed.sound().all()


def test_a_case_that_is_not_positive_definite_is_hopeless_alone():
    matrix = markov()
    matrix[0, 0, 0] = -1.0
    noise = torch.randn(4, CASES, SIZE)
    for factor in (tridiagonal(matrix).factor(), PrecisionFactor.of(matrix)):
        assert factor.sound().tolist() == [False, True]
        draws = factor.forward(noise)
        assert draws[:, 0].isnan().all() or not draws[:, 0].isfinite().all()
        assert draws[:, 1].isfinite().all()


def test_directions_that_are_not_finite_spoil_their_case_only():
    diagonal, directions = torch.ones(CASES, SIZE), torch.ones(CASES, SIZE, 2)
    directions[0, 0, 0] = torch.nan
    assert LowRankFactor.updated(diagonal, directions).sound().tolist() == [False, True]


def test_factors_of_single_precision_compute_in_it():
    factor, _ = low_rank()
    like = torch.zeros(1, dtype=torch.float32)
    noise = torch.randn(2, CASES, SIZE)
    found = factor.to(like).forward(noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), factor.forward(noise), rtol=1e-4, atol=1e-5)
