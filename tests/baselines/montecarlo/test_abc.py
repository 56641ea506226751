"""Rejection ABC: its target, its trials, its refusals."""

import sys
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from posterity.baselines import RejectionABC
from posterity.problems import Control, GaussianStations, Identity, Observation, Problem
from posterity.systems import LinearAdvection

#: Two sites, of which a station sees the first alone, once: the posterior is known in closed form.
PROBLEM = Problem(
    LinearAdvection(size=2),
    Observation(GaussianStations((1, 2), positions=[0], radius=0, kernel=1), std=(0.8, 0.8)),
    window=1,
    background_std=(1.0, 1.0),
)


def test_kept_trials_follow_the_prior_within_the_threshold():
    """The target p(u) 1[J_o ≤ ε] is a truncated normal; a background that counted twice would narrow it."""
    window = PROBLEM.sample((6,)).window
    posterior = RejectionABC(PROBLEM, trials=40_000, fraction=0.1).sample(window, 4000)
    u = (posterior.x[:, :, 0] - window.background).squeeze(-2)
    check_standard(u[..., 1])
    normal = Normal(0.0, 1.0)
    reach = 0.8 * (2 * posterior.info["threshold"]).sqrt()
    centre = (window.y - window.background.unsqueeze(1)[..., :1]).flatten()
    low, high = normal.cdf(centre - reach), normal.cdf(centre + reach)
    # The distribution function of the truncated normal makes its draws uniform.
    uniform = (normal.cdf(u[..., 0]) - low) / (high - low)
    assert float(uniform.min()) > -1e-9
    assert float(uniform.max()) < 1 + 1e-9
    assert ((uniform.mean(dim=0) - 0.5).abs() < 4 / (12 * 4000) ** 0.5).all()
    assert ((uniform.var(dim=0) - 1 / 12).abs() < 4 / (180 * 4000) ** 0.5).all()


def check_standard(z):
    assert abs(float(z.mean())) < 4 / z.numel() ** 0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / z.numel()) ** 0.5


def test_a_smaller_fraction_fits_better():
    window = PROBLEM.sample((6,)).window
    infos = [RejectionABC(PROBLEM, trials=2000, fraction=f).sample(window, 20).info for f in (1.0, 0.3, 0.1, 0.01)]
    for wide, narrow in pairwise(infos):
        assert (narrow["cost"] < wide["cost"]).all()
        assert (narrow["threshold"] < wide["threshold"]).all()


def test_the_best_trials_are_kept_whatever_the_chunks(monkeypatch):
    """The running best of small chunks are the best of all, each once."""
    window = PROBLEM.sample((3,)).window
    trials = torch.randn(200, 3, 2)
    method = RejectionABC(PROBLEM, trials=200, fraction=0.2)
    best = Control(PROBLEM, window).misfit(trials).argsort(dim=0)[:40]
    expected = trials.gather(0, best.unsqueeze(-1).expand(-1, -1, 2))
    x = (window.background + expected.unsqueeze(-2)).squeeze(-2)
    for cache in (2**18, 60):
        # The package's name for the module is the function of the same name.
        monkeypatch.setattr(sys.modules["posterity.problems.chunks"], "CACHE", {"cpu": cache, "cuda": cache})
        bank = iter(trials)
        monkeypatch.setattr(
            Control,
            "prior",
            lambda self, n, bank=bank: torch.stack([next(bank) for _ in range(n)]) if n else trials[:0],
        )
        kept = method.sample(window, 40).x.flatten(2)
        torch.testing.assert_close(kept.sort(dim=0).values, x.sort(dim=0).values)


def test_the_work_is_that_of_the_trials():
    problem = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=5)
    info = RejectionABC(problem, trials=100, fraction=0.1).sample(problem.sample((2,)).window, 10).info
    assert info["model_steps"].tolist() == [100 * 4 + 10 * 4] * 2
    assert info["gradients"].tolist() == [0, 0]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, 1e-6])
def test_fractions_that_keep_nothing_are_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction: .* of 1000 trials"):
        RejectionABC(PROBLEM, trials=1000, fraction=fraction)


def test_more_samples_than_kept_trials_are_refused():
    with pytest.raises(ValueError, match=r"samples: 11 asked of the 10 that ABC keeps.*raise trials or fraction"):
        RejectionABC(PROBLEM, trials=1000, fraction=0.01).sample(PROBLEM.sample((2,)).window, 11)
