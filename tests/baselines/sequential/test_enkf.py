"""The stochastic filter, and what all ensemble Kalman filters do after their update."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from posterity.baselines import ETKF, StochasticEnKF
from posterity.baselines.sequential.kalman import inflate_and_rotate, rotated_update, rotation, square_root
from posterity.problems import Identity, Observation, Problem
from posterity.systems import LinearAdvection, Lorenz96

PROBLEM = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=1)


def kalman(z, innovation, operator):
    """The Kalman update with the sample covariance: means with shape ``(case, n)``, and covariances."""
    anomalies = (z - z.mean(dim=0)).movedim(0, 1)
    b = anomalies.mT @ anomalies / (len(z) - 1)
    gain = b @ operator.mT @ torch.linalg.inv(operator @ b @ operator.mT + torch.eye(len(operator)))
    mean = z.mean(dim=0) + (gain @ innovation.mean(dim=0).unsqueeze(-1)).squeeze(-1)
    return mean, b - gain @ operator @ b


def linear(members, n=7, m=5):
    """An ensemble of 3 cases, and its innovations from whitened observations."""
    z, operator, y = torch.randn(members, 3, n), torch.randn(m, n), torch.randn(3, m)
    return z, y - z @ operator.mT, operator


@pytest.mark.parametrize("members", [4, 60], ids=["few members", "many members"])
def test_the_mean_is_kalmans_since_perturbations_are_centred(members):
    z, innovation, operator = linear(members)
    mean, _ = kalman(z, innovation, operator)
    torch.testing.assert_close(StochasticEnKF(PROBLEM).update(z, innovation).mean(dim=0), mean)


class Largest(TorchDispatchMode):
    """Notes the number of entries of the largest tensor that any operation makes."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.entries = max(self.entries, each.numel())
        return made


@pytest.mark.parametrize(("members", "n"), [(4, 300), (300, 4)], ids=["few members", "many members"])
def test_nothing_is_larger_than_the_ensemble(members, n):
    """No matrix of all pairs of observations, which fields have thousands of, and none of all pairs of members."""
    z = torch.randn(members, 1, n)
    with Largest() as largest:
        StochasticEnKF(PROBLEM).update(z, torch.randn_like(z))
    assert largest.entries <= (n + 1) * members


def test_the_covariance_is_kalmans_on_average():
    """Over many draws of the perturbations, for the same ensemble."""
    z, innovation, operator = linear(10)
    mean, covariance = kalman(z, innovation, operator)
    repeated = (each.repeat_interleave(2000, dim=1) for each in (z, innovation))
    anomalies = StochasticEnKF(PROBLEM).update(*repeated).unflatten(1, (3, 2000)).movedim(0, 2) - mean[:, None, None]
    samples = anomalies.mT @ anomalies / 9
    error = (samples.mean(dim=1) - covariance) / samples.std(dim=1) * 2000**0.5
    assert float(error.abs().max()) < 5


def test_rotations_are_orthogonal_and_keep_the_mean():
    matrix = rotation(9, torch.empty(0))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(9))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(9))
    assert float((matrix - rotation(9, torch.empty(0))).abs().max()) > 0.1


def test_rotations_have_no_preferred_direction():
    """The trace of a uniform rotation of 8 dimensions has mean 0 and variance 1, and the mean adds 1."""
    trace = torch.stack([rotation(9, torch.empty(0)).trace() for _ in range(500)])
    assert abs(float(trace.mean()) - 1) < 4 / 500**0.5
    assert abs(float(trace.var()) - 1) < 4 * (2 / 500) ** 0.5


# What is observed of the last two cases is a hundred thousand times as precise.
@pytest.mark.parametrize("observations", [7, 12])
def test_a_rotated_update_is_the_symmetric_one_up_to_its_rotation(observations):
    z, innovation = torch.randn(7, 4, 5), torch.randn(7, 4, observations)
    innovation[:, 2:] *= 1e5
    found, expected = rotated_update(z, innovation, 1.2), square_root(innovation)(z)
    torch.testing.assert_close(found.mean(dim=0), expected.mean(dim=0), rtol=1e-9, atol=1e-9)
    one, other = (e - e.mean(dim=0) for e in (found, expected))
    covariance = (torch.einsum("ncs,nct->cst", a, a) for a in (one, 1.2 * other))
    torch.testing.assert_close(next(covariance), next(covariance), rtol=1e-6, atol=1e-12)


def test_inflation_multiplies_the_anomalies_and_rotation_keeps_their_covariance():
    z = torch.randn(9, 3, 5)
    turned = inflate_and_rotate(z, 1.5, rotate=True)
    torch.testing.assert_close(turned.mean(dim=0), z.mean(dim=0))
    for case in range(3):
        torch.testing.assert_close(turned[:, case].mT.cov(), 1.5**2 * z[:, case].mT.cov())
    torch.testing.assert_close(inflate_and_rotate(z, 1.5) - z.mean(dim=0), 1.5 * (z - z.mean(dim=0)))


@pytest.mark.parametrize("kind", [StochasticEnKF, ETKF])
def test_no_inflation_is_refused(kind):
    with pytest.raises(ValueError, match=r"inflation: the factor of the anomalies must be positive, not 0"):
        kind(PROBLEM, inflation=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "published"),
    [
        (lambda problem: StochasticEnKF(problem, 40, inflation=1.06), 0.22),
        (lambda problem: ETKF(problem, 24, inflation=1.013, rotation=True), 0.18),
    ],
    ids=["perturbed observations", "square root"],
)
def test_published_errors_on_lorenz_96(method, published):
    """Sakov & Oke (2008), https://doi.org/10.1175/2007MWR2021.1, Table 1.

    Their runs are far longer: from a good start, 100 cycles after the first 50, of 8 cases, lie within 5 errors.
    """
    observation = Observation(Identity((1, 40)), std=(1.0, 1.0))
    problem = Problem(Lorenz96(size=40, dt=0.05), observation, window=1, cycles=150, background_std=(0.05, 0.05))
    twin = problem.sample((8,))
    ensemble = method(problem)
    x = ensemble.sample(twin.window, ensemble.members).x
    rmse = (x.mean(dim=0) - twin.x)[:, 50:].flatten(2).square().mean(dim=-1).sqrt().mean(dim=1)
    assert abs(float(rmse.mean()) - published) < 5 * float(rmse.std()) / 8**0.5
