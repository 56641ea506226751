"""An unknown parameter that is added in a linear system: filters against the exact posterior of state and parameter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from posterity.baselines import ETKF, LETKF, EnKS, IEnKS, ParticleFilter, StochasticEnKF
from posterity.problems import Identity, Normal, Observation, Problem, RandomMask, Window
from posterity.problems.resampling import systematic_resampling, take
from posterity.systems import System

SITES, MEMBERS = 3, 4000


@dataclass(frozen=True, kw_only=True)
class Pushed(System):
    """Sites that move round a ring, fade, and are all pushed by as much."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    shape: ClassVar[tuple[int, ...]] = (1, SITES)
    dt: float = 1.0
    push: float | Tensor = 0.0

    def initial(self, batch: Sequence[int]) -> Tensor:
        return torch.randn(*batch, *self.shape)

    def step(self, x: Tensor) -> Tensor:
        return 0.8 * x.roll(1, dims=-1) + torch.as_tensor(self.push).reshape(*torch.as_tensor(self.push).shape, 1, 1)


PROBLEM = Problem(
    Pushed(),
    Observation(Identity((1, SITES)), std=(0.5, 1.0), masks=(RandomMask(0.6),)),
    window=6,
    background_std=(0.5, 1.0),
    model_error=0.4,
    parameters={"push": Normal(0.5, 0.7)},
)


def kalman(problem: Problem, window: Window) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the last state and the parameter, by Kalman's filter of both together."""
    n, error = SITES + 1, problem.model_error or 0.0
    m = torch.eye(n)
    m[:SITES, :SITES] = 0.8 * torch.eye(SITES).roll(1, dims=0)
    m[:SITES, -1] = 1.0
    means, covariances = [], []
    for y, std, background, spread in zip(*(f.flatten(2) if f.ndim > 3 else f for f in window[:4]), strict=True):
        mean = torch.cat((background.flatten(), torch.tensor([0.5])))
        p = torch.diag(torch.cat((spread.flatten(), torch.tensor([0.7])))).square()
        for t in range(problem.window):
            if t:
                mean, p = m @ mean, m @ p @ m.T + torch.diag(torch.tensor([error] * SITES + [0.0])).square()
            h = torch.eye(n)[:SITES][~y[t].isnan()]
            r = torch.diag(std[t][~y[t].isnan()].square())
            k = p @ h.T @ torch.linalg.inv(h @ p @ h.T + r)
            mean, p = mean + k @ (y[t][~y[t].isnan()] - h @ mean), (torch.eye(n) - k @ h) @ p
        means.append(mean)
        covariances.append(p)
    return torch.stack(means), torch.stack(covariances)


@pytest.mark.parametrize(
    "method",
    [
        ETKF(PROBLEM, MEMBERS),
        StochasticEnKF(PROBLEM, MEMBERS),
        LETKF(PROBLEM, MEMBERS, radius=None),
        EnKS(PROBLEM, MEMBERS),
        IEnKS(PROBLEM, MEMBERS, lag=0, shift=1),
        ParticleFilter(PROBLEM, 5 * MEMBERS),
        ParticleFilter(replace(PROBLEM, model_error=None), 5 * MEMBERS),
    ],
    ids=lambda m: type(m).__name__ + ("" if m.problem.weak else ", strong"),
)
def test_state_and_parameter_are_exact(method):
    """Means and covariances, whitened by the exact ones, within a few errors of as many members."""
    torch.manual_seed(3)
    window = method.problem.sample((4,)).window
    mean, covariance = kalman(method.problem, window)
    drawn = method.sample(window, MEMBERS)
    z = torch.cat((drawn.x[:, :, -1].flatten(2), drawn.theta), dim=-1)
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, (z - mean).unsqueeze(-1), upper=False).squeeze(-1)
    assert float(white.mean(dim=0).abs().max()) < 0.12
    spread = torch.einsum("sci,scj->cij", white, white) / MEMBERS - torch.eye(SITES + 1)
    assert float(spread.abs().max()) < 0.15


def test_a_local_filter_knows_a_parameter_from_all_observations():
    """At the first time localisation has lost nothing of it: prior and one analysis, with the exact answer."""
    problem = replace(PROBLEM, window=2, observation=Observation(Identity((1, SITES)), std=(0.5, 1.0)))
    window = problem.sample((3,)).window
    window.y[:, 0] = torch.nan
    mean, covariance = kalman(problem, window)
    drawn = LETKF(problem, 400, radius=0.3).sample(window, 400)
    torch.testing.assert_close(drawn.theta.mean(dim=0)[:, 0], mean[:, -1], rtol=0, atol=0.12)
    torch.testing.assert_close(drawn.theta.var(dim=0)[:, 0], covariance[:, -1, -1], rtol=0.25, atol=0)


def test_only_parameters_are_jittered_where_the_model_moves_states():
    z, weight = torch.randn(500, 2, SITES + 1), torch.rand(500, 2)
    weight = weight / weight.sum(dim=0)
    drawn = take(z, systematic_resampling(weight, 500))
    moved = ParticleFilter(PROBLEM, 500).regularise(drawn, z, weight)
    assert torch.equal(moved[..., :SITES], drawn[..., :SITES])
    assert (moved[..., -1] != drawn[..., -1]).all()
    everything = ParticleFilter(replace(PROBLEM, model_error=None), 500).regularise(drawn, z, weight)
    assert (everything != drawn).all()
