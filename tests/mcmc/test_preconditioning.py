"""Preconditioners: covariances from few particles."""

import torch

from posterity.algebra import LowRankFactor, leading_eigenpairs
from posterity.mcmc import LaplaceMetric, preconditioner
from posterity.mcmc.preconditioning import _dense


def root(factor):
    """The root as a matrix, with shape ``(case, n, n)``."""
    cases, n = factor.variance().shape
    return factor.forward(torch.eye(n).unsqueeze(1).expand(-1, cases, -1)).movedim(0, -1)


def spread(scale, covariance):
    """The ratio of the longest to the shortest scale that the preconditioner leaves."""
    white = torch.linalg.solve(scale, torch.linalg.cholesky(covariance))
    values = torch.linalg.svdvals(white)
    return values[..., 0] / values[..., -1]


def test_the_preconditioner_whitens():
    """It tends to the covariance; with few particles it does much better than their own covariance or diagonal."""
    n = 60
    rotation = torch.linalg.qr(torch.randn(3, n, n)).Q
    covariance = rotation @ torch.diag(torch.logspace(-3, 0, n)) @ rotation.mT
    factor = torch.linalg.cholesky(covariance)

    def fitted(particles):
        u = 7 + torch.einsum("cij,scj->sci", factor, torch.randn(particles, 3, n))
        return u, root(preconditioner(u, torch.full((particles, 3), 1 / particles)))

    u, scale = fitted(20_000)
    assert float(spread(scale, covariance).max()) < 1.2
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    error = ((torch.linalg.matrix_norm(covariance) ** 2 + trace**2) / 20_000).sqrt()
    assert (torch.linalg.matrix_norm(scale @ scale.mT - covariance) < 1.5 * error).all()
    u, scale = fitted(90)
    own = torch.linalg.cholesky(torch.stack([torch.cov(u[:, case].mT) for case in range(3)]))
    assert (spread(scale, covariance) < 0.7 * spread(own, covariance)).all()
    assert (spread(scale, covariance) < 0.7 * spread(torch.diag_embed(u.std(dim=0)), covariance)).all()
    # Fewer particles than entries leave a covariance all the same, as particles at one point do.
    u, scale = fitted(20)
    assert (spread(scale, covariance) < 1.5 * spread(torch.diag_embed(u.std(dim=0)), covariance)).all()
    assert preconditioner(torch.ones(8, 1, 3), torch.full((8, 1), 1 / 8)).sound().all()


def test_particles_without_weight_do_not_count():
    u = torch.randn(40, 2, 3)
    weights = torch.cat((torch.full((30, 2), 1 / 30), torch.zeros(10, 2)))
    torch.testing.assert_close(root(preconditioner(u, weights)), root(preconditioner(u[:30], weights[:30])))
    shifted = torch.cat((u[:30], 3 * u[30:]))
    torch.testing.assert_close(root(preconditioner(shifted, weights)), root(preconditioner(u, weights)))


def test_each_case_has_its_own_effective_number():
    """A case with one particle left has the covariance of all particles, and changes nothing of the others."""
    u, weights = torch.randn(50, 3, 20), torch.rand(50, 3)
    weights[:, 1] = torch.nn.functional.one_hot(torch.tensor(7), 50)
    weights = weights / weights.sum(dim=0)
    together = root(preconditioner(u, weights))
    for case in (0, 2):
        torch.testing.assert_close(together[[case]], root(preconditioner(u[:, [case]], weights[:, [case]])))
    torch.testing.assert_close(together[[1]], root(preconditioner(u[:, [1]], torch.full((50, 1), 1 / 50))))


def test_fewer_particles_than_entries_leave_the_same_covariance_without_its_matrix():
    """A diagonal and some directions, against the matrix of the same estimate."""
    u, weights = torch.randn(30, 3, 40) * torch.linspace(0.1, 3, 40), torch.rand(30, 3)
    weights[:, 2] = 1.0
    weights = weights / weights.sum(dim=0)
    found = preconditioner(u, weights)
    assert isinstance(found, LowRankFactor)
    concentration = weights.square().sum(dim=0)
    count = ((1 / concentration + 1e-6).floor() - 1).clamp(min=1)
    dense = _dense(u, weights / (1 - concentration), count)
    covariance = root(dense) @ root(dense).mT
    torch.testing.assert_close(root(found) @ root(found).mT, covariance, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.variance(), covariance.diagonal(dim1=-2, dim2=-1))


def test_the_metric_of_laplace_follows_the_temperature():
    """At each temperature it is the covariance of the tempered Gaussian; a hopeless case has the prior's."""
    n, beta = 12, torch.tensor([0.0, 0.3, 1.0])
    directions = torch.randn(3, n, 4)
    matrix = directions @ directions.mT
    pairs = leading_eigenpairs(lambda v: torch.einsum("cij,dcj->dci", matrix, v), torch.zeros(3, n), n)
    pairs.values[1] = torch.nan
    found = root(LaplaceMetric(pairs).factor(torch.zeros(5, 2, n), torch.ones(5, 2), beta[1:], torch.tensor([1, 2])))
    torch.testing.assert_close(found[0], torch.eye(n))
    torch.testing.assert_close(found[1] @ found[1].mT, torch.linalg.inv(torch.eye(n) + matrix[2]))
