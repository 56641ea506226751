"""Chains of states and their errors, against matrices."""

import pytest
import torch

from posterity.algebra import Chain, ChainPrecision

CASES, CLOSE = 2, {"rtol": 1e-10, "atol": 1e-10}


def pieces(times: int, n: int, constants: int) -> tuple[Chain, torch.Tensor]:
    chain = Chain(torch.randn(CASES, times - 1, n, n), torch.randn(CASES, times - 1, n, constants))
    root = torch.randn(CASES, times, n, max(n - 1, 1))
    return chain, root @ root.mT


def matrices(chain: Chain, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrix of the chain, entry by entry from its definition, and that of what is seen."""
    times, n, m = seen.shape[1], seen.shape[-1], chain.constants.shape[-1]
    starts = [0, *range(n + m, n * times + m, n)]
    whitening, known = torch.eye(n * times + m).repeat(CASES, 1, 1), torch.zeros(CASES, n * times + m, n * times + m)
    for t, start in enumerate(starts):
        known[:, start : start + n, start : start + n] = seen[:, t]
        if t:
            before = starts[t - 1]
            whitening[:, start : start + n, before : before + n] = -chain.onward[:, t - 1]
            whitening[:, start : start + n, n : n + m] = -chain.constants[:, t - 1]
    return whitening, known


SIZES = [(4, 3, 2), (3, 2, 0), (1, 3, 2), (1, 2, 0)]


@pytest.mark.parametrize("sizes", SIZES)
def test_chains_are_their_matrices(sizes):
    chain, seen = pieces(*sizes)
    whitening, known = matrices(chain, seen)
    columns = torch.randn(CASES, whitening.shape[-1], 3)
    torch.testing.assert_close(chain.errors(columns), whitening @ columns, **CLOSE)
    torch.testing.assert_close(chain.errors_adjoint(columns), whitening.mT @ columns, **CLOSE)
    torch.testing.assert_close(chain.states(whitening @ columns), columns, **CLOSE)
    torch.testing.assert_close(chain.states_adjoint(whitening.mT @ columns), columns, **CLOSE)
    precision = chain.precision(seen)
    torch.testing.assert_close(precision.assemble(precision.diagonal()), whitening.mT @ whitening + known, **CLOSE)


@pytest.mark.parametrize("sizes", SIZES)
def test_precisions_of_errors_are_full_and_never_made(sizes):
    chain, seen = pieces(*sizes)
    whitening, known = matrices(chain, seen)
    inverse, shift = torch.linalg.inv(whitening), torch.tensor([0.0, 2.0])
    eye = torch.eye(whitening.shape[-1])
    matrix = eye + inverse.mT @ known @ inverse + shift[:, None, None] * eye
    precision = ChainPrecision(chain.onward, chain.constants, seen, torch.zeros(CASES)).shifted(shift)
    torch.testing.assert_close(precision.assemble(matrix[..., 0]), matrix, **CLOSE)
    factor, covariance = precision.factor(), torch.linalg.inv(matrix)
    identity = eye.unsqueeze(1).expand(-1, CASES, -1)
    root = factor.forward(identity).movedim(0, -1)
    torch.testing.assert_close(root @ root.mT, covariance, **CLOSE)
    torch.testing.assert_close(factor.transpose(identity).movedim(0, -1), root.mT, **CLOSE)
    torch.testing.assert_close(factor.inverse(factor.forward(identity)), identity, **CLOSE)
    torch.testing.assert_close(factor.dual(factor.transpose(identity)), identity, **CLOSE)
    torch.testing.assert_close(factor.log_det(), -0.5 * torch.logdet(matrix), **CLOSE)
    torch.testing.assert_close(factor.variance(), covariance.diagonal(dim1=-2, dim2=-1), **CLOSE)
