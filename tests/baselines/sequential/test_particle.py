"""Particle filter and smoother against exact posteriors, in errors that their own repetitions show."""

import sys
from dataclasses import replace

import pytest
import torch
from scipy.stats import t as student
from torch import Tensor

from posterity import testing
from posterity.baselines import ParticleFilter, ParticleSmoother
from posterity.baselines.sequential.particle import draw_ancestors
from posterity.problems import Identity, Normal, Observation, Problem, RandomMask, Window, chunks, exact_posterior
from posterity.problems.resampling import systematic_resampling, take
from posterity.systems import LinearAdvection, Lorenz63
from posterity.testing import Breaking, blind, check_isolated, log_evidence

REPETITIONS = 64


def repeat(window: Window, times: int) -> Window:
    """The first case of a batch, so many times over."""
    return Window(*(field[:1].expand(times, *field.shape[1:]) for field in window))


def check_estimates(estimates: Tensor, exact: Tensor) -> None:
    """Compares the mean of independent estimates with the truth; the level 6e-5 is shared out over all entries.

    Args:
        estimates: The estimates, with shape ``(repetitions, *)``.
        exact: What they estimate, with shape ``(*)``.
    """
    count = len(estimates)
    z = (estimates.mean(dim=0) - exact) / (estimates.std(dim=0) / count**0.5)
    assert float(z.abs().max()) < student.ppf(1 - 6e-5 / (2 * z.numel()), count - 1)


def linear(**options):
    """Three sites, of which few things are seen: particles suffice."""
    return Problem(
        LinearAdvection(size=3),
        Observation(Identity((1, 3)), std=(1.0, 2.0), masks=(RandomMask(0.7),)),
        window=4,
        forecast=1,
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, 0.5], ids=["strong", "weak"])
@pytest.mark.parametrize("kind", [ParticleFilter, ParticleSmoother], ids=["filter", "smoother"])
def test_moments_are_exact(kind, error):
    problem = linear(model_error=error)
    window = problem.sample((1,)).window
    exact = exact_posterior(problem, window)
    method = kind(problem, members=1000, jitter=0.0)
    drawn = method.sample(repeat(window, REPETITIONS), 300)
    times = slice(method.steps.start, method.steps.stop)
    check_estimates(drawn.x.mean(dim=0).flatten(2), exact.mean[0, times])
    centred = drawn.x.flatten(3) - exact.mean[0, times]
    check_estimates(centred.square().mean(dim=0), exact.covariance[0, times].diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("error", [None, 0.5], ids=["strong", "weak"])
def test_the_evidence_is_unbiased(error):
    problem = linear(model_error=error)
    window = problem.sample((1,)).window
    method = ParticleFilter(problem, members=500, ess=0.9, jitter=0.0)
    found = method.sample(repeat(window, REPETITIONS), 1).info["log_evidence"]
    check_estimates((found - log_evidence(problem, window)).exp().unsqueeze(-1), torch.ones(1))


@pytest.mark.slow
def test_unknown_parameters_under_model_errors():
    """The posterior of the damping by quadrature, over exact evidences."""
    problem = linear(model_error=0.3, parameters={"damping": Normal(0.5, 0.5)}, background_std=(0.1, 0.1))
    window = problem.sample((1,)).window
    window = window._replace(background=3 + window.background)
    v = torch.linspace(-5, 5, 101)
    known = [replace(problem, system=replace(problem.system, damping=float(d)), parameters={}) for d in 0.5 + 0.5 * v]
    log_density = torch.cat([log_evidence(p, window) for p in known]) - 0.5 * v.square()
    density = torch.softmax(log_density, dim=0)
    mean = (density * (0.5 + 0.5 * v)).sum()
    for kind in (ParticleFilter, ParticleSmoother):
        drawn = kind(problem, members=1000, jitter=0.0).sample(repeat(window, REPETITIONS), 1000)
        check_estimates(drawn.theta.mean(dim=0), mean.reshape(1))


def test_trajectories_are_runs_of_the_model():
    """Traced back without jitter under the strong constraint, and forecast from the last observation on."""
    problem = replace(linear(), forecast=3)
    window = problem.sample((5,)).window
    path = ParticleSmoother(problem, members=50, jitter=0.0).sample(window, 20).x
    torch.testing.assert_close(path[:, :, 1:], problem.system.step(path[:, :, :-1]))
    ahead = ParticleFilter(problem, members=50).sample(window, 20).x
    assert ahead.shape[2] == 4
    torch.testing.assert_close(ahead[:, :, 1:], problem.system.step(ahead[:, :, :-1]))


def test_backward_steps_have_the_right_odds():
    here, ahead, weight = torch.randn(1, 2, 3), torch.randn(4, 2, 3), torch.rand(4, 2)
    drawn = draw_ancestors(here.expand(20_000, -1, -1), ahead, weight)
    odds = weight * (-0.5 * (here - ahead).square().sum(dim=-1)).exp()
    odds = odds / odds.sum(dim=0)
    share = torch.stack([(drawn == i).double().mean(dim=0) for i in range(4)])
    assert float(((share - odds) / (odds * (1 - odds) / 20_000).sqrt()).abs().max()) < 4.5


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan, 1e200])
def test_a_particle_without_a_next_state_is_nobody_s_ancestor(value):
    """The others have the odds that they have without it."""
    here, ahead, weight = torch.randn(1, 1, 3), torch.randn(4, 1, 3), torch.rand(4, 1)
    ahead[2, 0, 1] = value
    drawn = draw_ancestors(here.expand(20_000, -1, -1), ahead, weight)
    odds = torch.where(torch.arange(4) == 2, 0, (weight * (-0.5 * (here - ahead).square().sum(dim=-1)).exp())[:, 0])
    odds = (odds / odds.sum())[[0, 1, 3]]
    share = torch.stack([(drawn == i).double().mean() for i in (0, 1, 3)])
    assert not (drawn == 2).any()
    assert float(((share - odds) / (odds * (1 - odds) / 20_000).sqrt()).abs().max()) < 4.5


def test_jitter_leaves_mean_and_covariance():
    """Of the weighted particles, which the kernel would widen by 1 + h^2; one that has all weight is no covariance."""
    members = 200_000
    method = ParticleFilter(linear(), members=members, jitter=5.0)
    bandwidth = 5 * members ** (-1 / 7)
    assert 0.5 < bandwidth**2 < 0.9
    z = torch.randn(members, 2, 3) @ torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 0.0]])
    weight = torch.rand(members, 2)
    weight[:, 1] = torch.nn.functional.one_hot(torch.tensor(5), members)
    weight = weight / weight.sum(dim=0)
    index = systematic_resampling(weight, members)
    moved = method.regularise(take(z, index), z, weight)
    mean = (weight[:, :1] * z[:, 0]).sum(dim=0)
    covariance = (weight[:, :1] * (z[:, 0] - mean)).mT @ (z[:, 0] - mean)
    torch.testing.assert_close(moved[:, 0].mean(dim=0), mean, rtol=0, atol=4.5 * 2 / members**0.5)
    torch.testing.assert_close(torch.cov(moved[:, 0].mT), covariance, rtol=0, atol=4.5 * 4 * (2 / members) ** 0.5)
    alone = (moved[:, 1] - z[5, 1]) / bandwidth
    torch.testing.assert_close(torch.cov(alone.mT), torch.cov(z[:, 1].mT), rtol=0, atol=4.5 * 4 * (2 / members) ** 0.5)
    assert float(moved[..., 2].abs().max()) < 1e-12


@pytest.mark.parametrize(("members", "repetitions"), [(1000, 64), (5000, 24)])
def test_the_spread_of_jittered_particles_is_exact(members, repetitions):
    """By default under the strong constraint; kernels without shrinkage gave variances 1.4 and 1.25 times these."""
    problem = testing.linear_gaussian(4, window=12, forecast=0)
    window = problem.sample((1,)).window
    exact = exact_posterior(problem, window)
    drawn = ParticleFilter(problem, members=members).sample(repeat(window, repetitions), members)
    variance = exact.covariance[0, -1].diagonal(dim1=-2, dim2=-1)
    centred = drawn.x[:, :, -1].flatten(2) - exact.mean[0, -1]
    check_estimates(centred.mean(dim=0), torch.zeros(4))
    check_estimates((centred.square() / variance).mean(dim=(0, 2)).unsqueeze(-1), torch.ones(1))


def test_jitter_by_default_where_nothing_else_moves_copies():
    """Without it, a hundred particles have long become one; with it none is a copy of another."""
    problem = replace(linear(), window=40, forecast=0)
    window = problem.sample((4,)).window

    def distinct(problem, **options):
        x = ParticleFilter(problem, members=100, ess=1.0, **options).sample(window, 100).x[:, :, -1]
        return [len(x[:, case].unique(dim=0)) for case in range(4)]

    assert max(distinct(problem, jitter=0.0)) < 40
    assert distinct(problem) == [100] * 4
    # Model errors of one site leave the others where they are.
    assert ParticleFilter(replace(problem, model_error=1.0)).has_transition_density
    assert not ParticleFilter(replace(problem, model_error=[1.0, 0.0, 0.0])).has_transition_density


@pytest.mark.parametrize("kind", [ParticleFilter, ParticleSmoother], ids=["filter", "smoother"])
@pytest.mark.parametrize("error", [None, 0.1], ids=["strong", "weak"])
def test_failing_particles_are_replaced(kind, error):
    """Of the second case none survives, and the others do not notice."""
    problem = replace(linear(model_error=error), system=Breaking(inner=LinearAdvection(size=3)))
    window = replace(problem, system=LinearAdvection(size=3)).sample((3,)).window
    background = torch.zeros(3, 1, 3)
    background[1, 0, 0] = 50
    drawn = kind(problem, members=200).sample(window._replace(background=background), 50)
    check_isolated(drawn, lost=[1])
    assert drawn.x[:, 1].isnan().all()
    assert (drawn.info["failed"] > 0).all()
    assert drawn.info["ess"].isfinite().all()


def test_cases_are_cut_into_pieces_that_fit(monkeypatch):
    """Shapes and order survive it."""
    problem = linear()
    window = problem.sample((7,)).window
    background = torch.arange(7.0).reshape(7, 1, 1).expand(7, 1, 3) * 100
    window = blind(window)._replace(background=background)
    monkeypatch.setitem(sys.modules[chunks.__module__].CACHE, window.y.device.type, 3 * 100 * 5 * 2)
    drawn = ParticleSmoother(problem, members=100).sample(window, 30)
    assert drawn.x.shape == (30, 7, 5, 1, 3)
    assert drawn.info["failed"].shape == (7,)
    assert float((drawn.x[:, :, 0] - background).abs().max()) < 10


def test_a_case_that_sees_nothing_at_a_time_keeps_its_draws():
    """Whatever the others see: its draws are runs of the model until its own next observations."""
    problem = replace(linear(), cycles=2, forecast=0)
    window = problem.sample((2,)).window
    window.y[0, 1:] = torch.nan
    x = ParticleFilter(problem, members=50, jitter=0.0).sample(window, 20).x
    torch.testing.assert_close(x[:, 0, 1:], problem.system.step(x[:, 0, :-1]))


def test_records_of_several_cycles_are_returned_whole():
    system = Lorenz63(dt=0.05)
    problem = Problem(system, Observation(Identity((3,))), window=2, cycles=5, background_std=(0.5, 0.5))
    twin = problem.sample((3,))
    for kind in (ParticleFilter, ParticleSmoother):
        drawn = kind(problem, members=500).sample(twin.window, 100)
        assert drawn.steps == range(10)
        assert float((drawn.x.mean(dim=0) - twin.x).square().mean().sqrt()) < 1


@pytest.mark.parametrize("options", [{"ess": 0.0}, {"ess": 1.5}, {"jitter": -1.0}, {"members": 1}])
def test_options_that_go_nowhere(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ParticleFilter(linear(), **options)
