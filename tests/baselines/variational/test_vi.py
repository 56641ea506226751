"""Families of variational posteriors: their limits, their order, and flows beyond Gaussians."""

from itertools import pairwise

import pytest
import torch

from posterity.algebra import DensePrecision, Gaussian, PrecisionFactor
from posterity.baselines import VariationalInference
from posterity.baselines.variational.families import Full, LowRank, MeanField
from posterity.baselines.variational.flow import FlowFamily
from posterity.baselines.variational.optimizers import NaturalGradient, negative_elbo
from posterity.problems import Control

SHORT = NaturalGradient(iterations=6)
BRIEF = FlowFamily(transforms=2, hidden=(64,), iterations=100, samples=32, learning_rate=0.02)


def precision(factor):
    """The precision that a factor stands for, with shape ``(case, n, n)``."""
    variance = factor.variance()
    identity = torch.eye(variance.shape[-1]).unsqueeze(1).expand(-1, len(variance), -1)
    return torch.linalg.inv(factor.covariance(identity).movedim(0, -1))


def divergence(matrix, precision):
    """KL(N(0, precision⁻¹) ‖ N(0, matrix⁻¹)), with shape ``(case,)``."""
    ratio = torch.linalg.solve(precision, matrix)
    return 0.5 * (ratio.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - matrix.shape[-1] - torch.logdet(ratio))


@pytest.fixture(scope="module")
def control(square):
    return Control(square.problem, square.twin.window)


@pytest.fixture(scope="module")
def curvature(control):
    """Posterior precisions of the square problem, with eigenvalues over three decades."""
    return Full().mode(control).model.dense()


@pytest.fixture(scope="module")
def flow(control):
    """Minus the bounds of a flow and of its Gaussian, on the same noise, with the density."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        gaussian = SHORT.fit(control, BRIEF).q
        density, trace = BRIEF.refine(control, gaussian)
        return gaussian, density, trace


@pytest.mark.parametrize(("rank", "other"), [(0, MeanField()), (16, Full()), (20, Full())])
def test_low_rank_has_the_other_families_as_its_limits(control, curvature, rank, other):
    torch.testing.assert_close(
        precision(LowRank(rank).project(DensePrecision(curvature))), precision(other.project(DensePrecision(curvature)))
    )


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "other"), [(0, MeanField()), (16, Full())])
def test_bounds_have_the_same_limits(square, rank, other):
    bounds = []
    for family in (LowRank(rank), other):
        torch.manual_seed(4)
        bounds.append(VariationalInference(square.problem, family, SHORT).sample(square.twin.window, 1).info["elbo"])
    torch.testing.assert_close(*bounds)


@pytest.mark.slow
def test_projections_of_low_rank_near_with_iterations_and_rank(control, curvature):
    """The divergence never rises with an iteration, nor with a direction."""
    for rank in (1, 4, 10):
        steps = [
            divergence(curvature, precision(LowRank(rank, n).project(DensePrecision(curvature)))) for n in range(1, 30)
        ]
        assert (torch.stack(steps).diff(dim=0) <= 1e-9).all()
    ranks = [divergence(curvature, precision(LowRank(rank).project(DensePrecision(curvature)))) for rank in range(17)]
    assert (torch.stack(ranks).diff(dim=0) <= 1e-9).all()


def test_projections_recover_what_is_of_low_rank(control):
    directions = torch.randn(16, 16, 2) * 3
    matrix = torch.diag_embed(1 + torch.rand(16, 16)) + directions @ directions.mT
    torch.testing.assert_close(
        precision(LowRank(2, 1000).project(DensePrecision(matrix))), matrix, rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_wider_families_have_higher_bounds(control, flow):
    """FlowFamily ≥ full ≥ rank 8 ≥ rank 2 ≥ mean-field, on common noise: none falls short by 4 Monte Carlo errors."""
    gaussian, density, _ = flow
    fits = [SHORT.fit(control, family).q for family in (MeanField(), LowRank(2), LowRank(8))]
    noise = torch.randn(1000, *gaussian.mean.shape)
    costs = []
    for q in (*fits, gaussian, density):
        u, volume = q.draw(noise)
        costs.append((control.cost(u) - volume).mean(dim=1))
    for narrow, wide in pairwise(costs):
        gain = narrow - wide
        assert float(gain.mean()) > -4 * float(gain.std()) / len(noise) ** 0.5
    # The first and the last are no tie: tens of nats, and a quarter of one.
    assert float((costs[0] - costs[3]).mean()) > 5
    gain = costs[3] - costs[4]
    assert float(gain.mean()) > 0.1 + 4 * float(gain.std()) / len(noise) ** 0.5


@pytest.mark.slow
def test_flows_end_no_lower_than_their_gaussians(control, flow):
    """Case by case, within 4 errors of the difference."""
    gaussian, density, trace = flow
    noise = torch.randn(1000, *gaussian.mean.shape)
    (u, volume), (v, other) = density.draw(noise), gaussian.draw(noise)
    gain = control.cost(v) - other - control.cost(u) + volume
    assert (gain.mean(dim=0) > -4 * gain.std(dim=0) / len(noise) ** 0.5).all()
    assert trace.shape == (16, 100)
    assert float(trace[:, :20].mean() - trace[:, -20:].mean()) > 0.1


@pytest.mark.slow
def test_flows_know_their_own_density(flow):
    """The log-determinant of each draw's Jacobian, by autograd."""
    _, density, _ = flow
    noise = torch.randn(1, 16, 16)
    # Cases are apart, so the derivative of their sum holds each one's rows.
    jacobian = torch.autograd.functional.jacobian(lambda noise: density.draw(noise)[0][0].sum(dim=0), noise)
    torch.testing.assert_close(density.draw(noise)[1][0], torch.linalg.slogdet(jacobian[:, 0].movedim(1, 0))[1])


def test_a_flow_that_is_worse_than_its_gaussian_is_not_kept(control):
    """One step at an absurd rate; also for cases without any finite bound."""
    gaussian = Gaussian(torch.zeros(16, 16), PrecisionFactor.of(torch.eye(16).expand(16, -1, -1)))
    density, _ = FlowFamily(iterations=1, learning_rate=1e3).refine(control, gaussian)
    noise = torch.randn(5, 16, 16)
    torch.testing.assert_close(density.draw(noise), (gaussian.draw(noise)[0], torch.zeros(5, 16)))


@pytest.mark.slow
def test_a_case_that_diverges_spoils_no_other_flow(square):
    draws = []
    for each in (square.twin.window.select(slice(3)), square.spoilt.select(slice(3))):
        torch.manual_seed(5)
        method = VariationalInference(square.problem, FlowFamily(iterations=5), NaturalGradient(iterations=3))
        draws.append(method.sample(each, 3))
    sound, spoilt = draws
    assert spoilt.info["failed"].tolist() == [0, 3, 0]
    torch.testing.assert_close(spoilt.x[:, [0, 2]], sound.x[:, [0, 2]], rtol=1e-6, atol=1e-6)
    assert sound.info["objective"].shape == (3, 8)


@pytest.mark.slow
def test_flows_add_nothing_where_the_posterior_is_gaussian(linear):
    """The bound is the evidence already: what a flow adds is its noise, and that is not kept."""
    control = Control(linear.problem, linear.window)
    gaussian = NaturalGradient(iterations=2).fit(control, Full()).q
    density, _ = FlowFamily(iterations=10).refine(control, gaussian)
    noise = torch.randn(500, 32, 16)
    difference = negative_elbo(control, density, noise) - negative_elbo(control, gaussian, noise)
    assert float(difference.abs().max()) < 0.05


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (LowRank, {"rank": -1}, "rank: must not be negative, not -1"),
        (LowRank, {"iterations": 0}, "iterations: at least one is needed, not 0"),
        (FlowFamily, {"transforms": 0}, "must all be positive"),
        (FlowFamily, {"learning_rate": 0.0}, "must all be positive"),
        (FlowFamily, {"samples": 3}, "samples: draws come in pairs"),
    ],
)
def test_bad_options_are_refused(family, options, message):
    with pytest.raises(ValueError, match=message):
        family(**options)
