"""Hamiltonian transitions: what they leave invariant, and what they cost."""

import torch

from posterity.algebra import CovarianceFactor
from posterity.mcmc import Kick, Particles, evaluate, move, transition
from posterity.problems import Control
from posterity.testing import hopeless


def test_transitions_leave_a_tempered_posterior_invariant(linear):
    """Exact draws stay exact, whatever the preconditioner, though a third of the moves are rejected."""
    zero = torch.zeros(32, 16)
    beta = torch.linspace(0.1, 1, 32)
    model = linear.linearize(zero)
    identity = torch.eye(16)
    precision = identity + beta[:, None, None] * (model.dense() - identity)
    mean = -torch.linalg.solve(precision, beta.unsqueeze(-1) * model.gradient)
    upper = torch.linalg.cholesky(precision).mT
    noise = torch.randn(400, 32, 16)
    u = mean + torch.linalg.solve_triangular(upper, noise.movedim(0, -1), upper=True).movedim(-1, 0)
    scale = CovarianceFactor(torch.eye(16).expand(32, -1, -1) + 0.1 * torch.randn(32, 16, 16).tril())
    step = torch.full((32,), 0.5)
    start = evaluate(linear, u)
    moved, rate = transition(linear, start, beta, scale, step, torch.full((32,), 3), Kick.draw(start))
    assert 0.2 < float(rate.mean()) < 0.8
    torch.testing.assert_close(evaluate(linear, moved.u).misfit, moved.misfit)
    torch.testing.assert_close(evaluate(linear, moved.u).gradient, moved.gradient)
    same = (moved.u == u).all(dim=-1).double().mean(dim=0)
    assert (((1 - same) - rate).abs() < 5 * (0.25 / 400) ** 0.5).all()
    white = torch.einsum("cij,scj->sci", upper, moved.u - mean)
    assert abs(float(400 * white.mean(dim=0).square().sum()) - 512) < 4 * 1024**0.5
    assert abs(float(white.square().sum()) - white.numel()) < 4 * (2 * white.numel()) ** 0.5
    # The start of a transition tells nothing of its energy, so neither does the end.
    assert abs(float(torch.einsum("sci,scj->ij", white, white).tril(-1).sum())) < 4 * (120 * 400 * 32) ** 0.5


def test_small_steps_conserve_energy(square):
    particles = evaluate(square, square.prior(8))
    scale = CovarianceFactor(torch.eye(16).expand(5, -1, -1))
    step, five = torch.full((5,), 1e-4), torch.full((5,), 5)
    _, rate = transition(square, particles, torch.ones(5), scale, step, five, Kick.draw(particles))
    assert (rate > 0.99).all()


def test_cases_take_steps_of_their_own_number(square):
    """As many doublings as make the length, up to the most; a case of which nothing is left takes one."""
    control = Control(square.problem, hopeless(square.window, 4))
    particles = evaluate(control, 0.1 * control.prior(6))
    before = control.gradients.clone()
    step = torch.tensor([2.5, 0.9, 0.5, 1e-3, 1e-3])
    scale = CovarianceFactor(1e-3 * torch.eye(16).expand(5, -1, -1))
    moved, rate = move(control, particles, torch.ones(5), scale, step, 2.0, 16, Kick.draw(particles))
    assert ((control.gradients - before) / 6).tolist() == [1, 4, 4, 16, 1]
    assert (rate[:4] > 0.5).all()
    assert rate[4] == 0
    assert (moved.u[:, :4] != particles.u[:, :4]).any(dim=-1).any(dim=0).all()
    assert (moved.u[:, 4] == particles.u[:, 4]).all()


def test_trajectories_of_different_lengths_are_those_of_each_case_alone(square):
    """One batch takes as many gradients one after another as the longest trajectory has steps."""
    particles, scale = evaluate(square, square.prior(6)), CovarianceFactor(0.1 * torch.eye(16).expand(5, -1, -1))
    step, counts, kick = 0.2 + 0.1 * torch.rand(5), torch.tensor([4, 1, 8, 2, 4]), Kick.draw(particles)
    taken = []

    class Counted(Control):
        """Counts the batches that it evaluates."""

        def cost_and_gradient(self, u, states=None):
            taken.append(u.shape[1])
            return super().cost_and_gradient(u, states)

    counted = Counted(square.problem, square.window)
    moved, rate = transition(counted, particles, torch.ones(5), scale, step, counts, kick)
    assert taken == [5, 4, 3, 3, 1, 1, 1, 1]
    assert ((moved.u != particles.u).any(dim=-1).sum(dim=0) > 0).all()
    for case in range(5):
        one = torch.tensor([case])
        alone, its_rate = transition(
            square.select(one), particles.select(one), torch.ones(1), scale.select(one), step[one], counts[one],
            kick.select(one),
        )  # fmt: skip
        torch.testing.assert_close(tuple(moved.select(one)), tuple(alone))
        torch.testing.assert_close(rate[one], its_rate)


def test_the_misfit_is_what_the_cost_has_beside_the_prior(square):
    u = square.prior(3)
    particles = evaluate(square, u)
    torch.testing.assert_close(particles.misfit, square.misfit(u))
    cost, gradient = square.cost_and_gradient(u)
    torch.testing.assert_close(particles.misfit + 0.5 * u.square().sum(dim=-1), cost)
    torch.testing.assert_close(particles.gradient + u, gradient)


def test_parts_of_particles_go_where_they_came_from():
    particles = Particles(torch.randn(5, 3, 2), torch.randn(5, 3), torch.randn(5, 3, 2))
    cases = torch.tensor([2, 0])
    part = particles.select(cases)
    again = particles.insert(Particles(*(2 * field for field in part)), cases)
    for before, after in zip(particles, again, strict=True):
        assert (after[:, [0, 2]] == 2 * before[:, [0, 2]]).all()
        assert (after[:, 1] == before[:, 1]).all()
