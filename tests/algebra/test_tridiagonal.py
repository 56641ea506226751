"""The block-tridiagonal solver, against dense algebra on the assembled matrix."""

import pytest
import torch

from posterity.algebra import Tridiagonal

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def chain(times: int, n: int, constants: int, cases: int = 2) -> Tridiagonal:
    """Blocks that are diagonally dominant, and so positive definite."""
    lower, border = torch.randn(cases, times - 1, n, n), torch.randn(cases, times, n, constants)
    root, corner = torch.randn(cases, times, n, n), torch.eye(constants).repeat(cases, 1, 1)
    strong = 4 * (n + constants) * torch.eye(n)
    return Tridiagonal(root @ root.mT + strong, lower, border, corner * 4 * n * times)


def assembled(blocks: Tridiagonal) -> torch.Tensor:
    return blocks.assemble(blocks.diagonal())


@pytest.mark.parametrize(("times", "n", "constants"), [(5, 3, 2), (4, 2, 0), (1, 3, 2), (1, 2, 0), (6, 1, 1)])
def test_it_solves_as_dense_algebra_does(times, n, constants):
    blocks = chain(times, n, constants)
    matrix = assembled(blocks)
    torch.testing.assert_close(matrix, matrix.mT)
    factor, covariance = blocks.factor(), torch.linalg.inv(matrix)
    b = torch.randn(3, *matrix.shape[:2])
    torch.testing.assert_close(factor.solve(b), (covariance @ b.unsqueeze(-1)).squeeze(-1), **CLOSE)
    torch.testing.assert_close(-2 * factor.log_det(), torch.logdet(matrix), **CLOSE)
    root = factor.forward(torch.eye(matrix.shape[-1]).unsqueeze(1).expand(-1, 2, -1)).movedim(0, -1)
    torch.testing.assert_close(root @ root.mT, covariance, **CLOSE)


def test_blocks_stand_where_the_control_has_them():
    """The first state, the constants, the later states."""
    blocks = chain(3, 2, 1)
    matrix = assembled(blocks)
    torch.testing.assert_close(matrix[:, :2, :2], blocks.states[:, 0])
    torch.testing.assert_close(matrix[:, 3:5, :2], blocks.lower[:, 0])
    torch.testing.assert_close(matrix[:, 5:, 3:5], blocks.lower[:, 1])
    torch.testing.assert_close(matrix[:, 5:, 2:3], blocks.border[:, 2])
    torch.testing.assert_close(matrix[:, 2:3, 2:3], blocks.corner)
    assert (matrix[:, 5:, :2] == 0).all()


@pytest.mark.parametrize("constants", [0, 2])
def test_marginals_are_blocks_of_the_covariance(constants):
    n, times = 3, 5
    blocks = chain(times, n, constants)
    covariance, found = torch.linalg.inv(assembled(blocks)), blocks.factor().marginals()
    starts = [0, *range(n + constants, n * times + constants, n)]
    states = [slice(start, start + n) for start in starts]
    known = slice(n, n + constants)
    for t, state in enumerate(states):
        torch.testing.assert_close(found.states[:, t], covariance[:, state, state], **CLOSE)
        torch.testing.assert_close(found.crosses[:, t], covariance[:, state, known], **CLOSE)
        if t:
            torch.testing.assert_close(found.neighbours[:, t - 1], covariance[:, state, states[t - 1]], **CLOSE)
    torch.testing.assert_close(found.constants, covariance[:, known, known], **CLOSE)


def test_shifts_add_to_the_diagonal():
    blocks, shift = chain(3, 2, 1), torch.tensor([0.5, 3.0])
    expected = assembled(blocks) + shift[:, None, None] * torch.eye(7)
    torch.testing.assert_close(assembled(blocks.shifted(shift)), expected)


def test_a_case_has_what_it_has_alone():
    blocks = chain(4, 3, 1)
    noise = torch.randn(2, 13)
    alone = blocks.select(slice(1, None)).factor()
    torch.testing.assert_close(blocks.factor().forward(noise)[1:], alone.forward(noise[1:]), rtol=1e-13, atol=1e-13)
