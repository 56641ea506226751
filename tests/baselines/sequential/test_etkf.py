"""The square-root filter and the algebra that it shares with the smoothers."""

import pytest
import torch

from posterity.baselines import ETKF
from posterity.baselines.sequential.kalman import Spectrum, Update, square_root
from posterity.problems import Identity, Observation, Problem
from posterity.systems import LinearAdvection

PROBLEM = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=1)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)], ids=["few members", "many members", "as many"])
@pytest.mark.parametrize("p", [-1.0, -0.5, 0.5])
def test_powers_of_a_matrix(shape, p):
    s = torch.randn(3, *shape)
    s[0, :, -1] = 0  # as a missing observation leaves it
    matrix = torch.eye(shape[0]) + s @ s.mT
    values, vectors = torch.linalg.eigh(matrix)
    expected = vectors @ torch.diag_embed(values**p) @ vectors.mT
    torch.testing.assert_close(Spectrum.of(s).power(p, torch.eye(shape[0])), expected)


def test_powers_of_the_identity():
    for shape in ((3, 5), (5, 3)):
        spectrum = Spectrum.of(torch.zeros(2, *shape))
        b = torch.randn(2, shape[0], 4)
        torch.testing.assert_close(spectrum.power(-0.5, b), b, rtol=0, atol=0)


@pytest.mark.parametrize("members", [4, 60], ids=["few members", "many members"])
def test_mean_and_covariance_are_kalmans(members):
    """Exactly those of the update with the sample covariance, whatever the number of members."""
    z, operator, y = torch.randn(members, 3, 7), torch.randn(5, 7), torch.randn(3, 5)
    innovation = y - z @ operator.mT
    anomalies = (z - z.mean(dim=0)).movedim(0, 1)
    b = anomalies.mT @ anomalies / (members - 1)
    gain = b @ operator.mT @ torch.linalg.inv(operator @ b @ operator.mT + torch.eye(5))
    x = ETKF(PROBLEM).update(z, innovation)
    mean = z.mean(dim=0) + (gain @ innovation.mean(dim=0).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(x.mean(dim=0), mean)
    anomalies = (x - x.mean(dim=0)).movedim(0, 1)
    torch.testing.assert_close(anomalies.mT @ anomalies / (members - 1), b - gain @ operator @ b)


def test_the_transform_is_the_symmetric_one():
    """Of all square roots, it moves the members least; so a weak observation moves them little."""
    z = torch.randn(8, 2, 8)
    moved = square_root(1e-4 * torch.randn(8, 2, 3))(z)
    assert float((moved - z).abs().max()) < 1e-3


def test_updates_of_high_and_low_rank_agree():
    left, right, z = torch.randn(2, 5, 9), torch.randn(2, 9, 5), torch.randn(5, 2, 3)
    anomalies = z - z.mean(dim=0)
    expected = z + torch.einsum("cir,crj,jck->ick", left, right, anomalies)
    torch.testing.assert_close(Update(left, right)(z), expected)
    torch.testing.assert_close(
        Update(left[..., :3], right[:, :3])(z) + Update(left[..., 3:], right[:, 3:])(z) - z, expected
    )


def test_single_precision_is_kept():
    z = torch.randn(8, 2, 4, dtype=torch.float32)
    assert square_root(torch.randn(8, 2, 3, dtype=torch.float32))(z).dtype == torch.float32
