"""Preconditioners: covariances from few particles."""

import torch

from posterity.mcmc import preconditioner


def spread(scale, covariance):
    """The ratio of the longest to the shortest scale that the preconditioner leaves."""
    white = torch.linalg.solve_triangular(scale, torch.linalg.cholesky(covariance), upper=False)
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
        return u, preconditioner(u, torch.full((particles, 3), 1 / particles))

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
    assert preconditioner(torch.ones(8, 1, 3), torch.full((8, 1), 1 / 8)).isfinite().all()


def test_particles_without_weight_do_not_count():
    u = torch.randn(40, 2, 3)
    weights = torch.cat((torch.full((30, 2), 1 / 30), torch.zeros(10, 2)))
    torch.testing.assert_close(preconditioner(u, weights), preconditioner(u[:30], weights[:30]))
    shifted = torch.cat((u[:30], 3 * u[30:]))
    torch.testing.assert_close(preconditioner(shifted, weights), preconditioner(u, weights))


def test_each_case_has_its_own_effective_number():
    """A case with one particle left has the covariance of all particles, and changes nothing of the others."""
    u, weights = torch.randn(50, 3, 20), torch.rand(50, 3)
    weights[:, 1] = torch.nn.functional.one_hot(torch.tensor(7), 50)
    weights = weights / weights.sum(dim=0)
    together = preconditioner(u, weights)
    for case in (0, 2):
        torch.testing.assert_close(together[[case]], preconditioner(u[:, [case]], weights[:, [case]]))
    torch.testing.assert_close(together[[1]], preconditioner(u[:, [1]], torch.full((50, 1), 1 / 50)))
