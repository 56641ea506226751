"""Leading eigenpairs from products alone, against dense eigenvalues."""

import pytest
import torch

from posterity.algebra import LowRankFactor, PrecisionFactor, leading_eigenpairs

N = 96


def matrices(*spectra: torch.Tensor) -> torch.Tensor:
    values = torch.stack(spectra)
    vectors = torch.linalg.qr(torch.randn(len(values), N, N)).Q
    return (vectors * values.unsqueeze(-2)) @ vectors.mT


def product(matrix: torch.Tensor, count: list[int] | None = None):
    def product(v: torch.Tensor) -> torch.Tensor:
        if count is not None:
            count.append(len(v))
        return torch.einsum("cij,dcj->dci", matrix, v)

    return product


NUMBER = torch.arange(1.0, N + 1)
DECAYING = 1e3 * torch.exp(-NUMBER / 4)
PAIRS = 1e3 * torch.exp(-((NUMBER + 1) // 2) / 2)
FLAT = torch.where(NUMBER <= 20, 50.0, 0.0)


@pytest.mark.parametrize("block", [1, 4, 8])
def test_leading_eigenpairs_are_those_of_the_dense_matrix(block):
    matrix = matrices(DECAYING, PAIRS) if block > 1 else matrices(DECAYING)
    pairs = leading_eigenpairs(product(matrix), torch.zeros(len(matrix), N), 48, block)
    known = torch.linalg.eigvalsh(matrix).flip(-1)
    torch.testing.assert_close(pairs.values[:, :8], known[:, :8], rtol=1e-8, atol=0)
    torch.testing.assert_close(pairs.vectors.mT @ pairs.vectors, torch.eye(48).expand(len(matrix), -1, -1))
    residual = matrix @ pairs.vectors - pairs.vectors * pairs.values.unsqueeze(-2)
    assert residual.norm(dim=1)[:, :8].max() < 1e-3
    assert (pairs.values <= known[:, :48] * (1 + 1e-12)).all()


@pytest.mark.parametrize("rank", [N, 2 * N])
def test_a_full_basis_is_the_dense_path(rank):
    matrix = matrices(DECAYING, PAIRS, FLAT)
    factor = LowRankFactor.of(leading_eigenpairs(product(matrix), torch.zeros(3, N), rank))
    dense = PrecisionFactor.of(torch.eye(N) + matrix)
    x = torch.randn(5, 3, N)
    torch.testing.assert_close(factor.covariance(x), dense.covariance(x), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(factor.log_det(), dense.log_det(), rtol=1e-8, atol=1e-8)


def test_eigenvalues_of_any_multiplicity_are_found_and_the_search_ends():
    """A block of four, twenty equal eigenvalues: what a Krylov space alone would never find."""
    matrix, count = matrices(FLAT, torch.zeros(N)), []
    pairs = leading_eigenpairs(product(matrix, count), torch.zeros(2, N), N)
    assert sum(count) <= 48
    torch.testing.assert_close((pairs.vectors * pairs.values.unsqueeze(-2)) @ pairs.vectors.mT, matrix)
    assert pairs.values[1].abs().max() == 0


def test_a_case_has_what_it_has_alone_beside_a_hopeless_one():
    matrix = matrices(FLAT, DECAYING)
    broken = torch.cat((matrix, torch.full((1, N, N), torch.nan)))
    found = leading_eigenpairs(product(broken), torch.zeros(3, N), 40)
    assert found.values[2].isnan().all()
    assert not LowRankFactor.of(found).sound()[2]
    for case in range(2):
        alone = leading_eigenpairs(product(matrix[case : case + 1]), torch.zeros(1, N), 40)
        kept = alone.values.shape[-1]
        torch.testing.assert_close(found.values[case, :kept], alone.values[0], rtol=1e-9, atol=1e-9)
        assert (found.values[case, kept:].abs() < 1e-9).all()


def test_no_random_numbers_are_taken():
    matrix, state = matrices(FLAT), torch.random.get_rng_state()
    leading_eigenpairs(product(matrix), torch.zeros(1, N), 8)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_products_in_single_precision_give_single_precision():
    matrix = matrices(DECAYING)
    like = torch.zeros(1, N, dtype=torch.float32)

    def single(v: torch.Tensor) -> torch.Tensor:
        assert v.dtype == torch.float32
        return torch.einsum("cij,dcj->dci", matrix.float(), v)

    pairs = leading_eigenpairs(single, like, 48)
    assert pairs.values.dtype == torch.float64
    known = torch.linalg.eigvalsh(matrix).flip(-1)
    torch.testing.assert_close(pairs.values[:, :8], known[:, :8], rtol=1e-4, atol=0)
