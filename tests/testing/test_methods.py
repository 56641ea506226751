"""The checks of methods pass those that are exact, or as good as they say, and notice what is not."""

from dataclasses import dataclass

import pytest
import torch

from posterity.baselines import ETKF, FourDVar, Prior, VariationalInference
from posterity.baselines.montecarlo.exact import Exact
from posterity.problems import Ensemble, Posterior, Problem, exact_posterior
from posterity.testing import blind, check_isolated, check_method, linear_gaussian, log_evidence


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Exact, {"robust": False}),
        (FourDVar, {}),
        (VariationalInference, {}),
        (Prior, {"exact": False}),
        (lambda problem: ETKF(problem, members=60), {"exact": False}),
    ],
    ids=["exact", "4DVAR", "VI", "prior", "ETKF"],
)
def test_sound_methods_pass(method, options):
    check_method(method, **options)


def test_other_problems_may_be_given():
    check_method(FourDVar, linear_gaussian(3, window=2, forecast=0, model_error=0.3), robust=False)


@dataclass(frozen=True)
class Wrong(Posterior):
    """Exact draws with something wrong, which a subclass says."""

    problem: Problem

    def sample(self, window, samples):
        x = exact_posterior(self.problem, window).sample(samples).unflatten(-1, self.problem.shape)
        found = Ensemble(x, x.new_zeros(*x.shape[:2], 0), range(self.problem.steps), {"cost": torch.zeros(x.shape[1])})
        return self.change(found, window)

    def change(self, found, window):
        return found


def biased(self, found, window):
    return found._replace(x=found.x + 0.2)


def narrow(self, found, window):
    mean = exact_posterior(self.problem, window).mean.unflatten(-1, self.problem.shape)
    return found._replace(x=mean + 0.8 * (found.x - mean))


def generators():
    """Draws that no seed repeats."""
    generator = torch.Generator().manual_seed(1)

    def shuffled(self, found, window):
        return found._replace(x=found.x[torch.randperm(len(found.x), generator=generator)])

    return shuffled


def spoils(self, found, window):
    window.y.zero_()
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (biased, "Monte Carlo errors"),
        (narrow, "squared deviations of the covariance|total variance"),
        (generators(), "the same seed gives other draws"),
        (spoils, "the method writes into the window"),
        (lambda self, found, window: found._replace(steps=range(1, 7)), r"steps: range\(1, 7\) is no range of the 6"),
        (lambda self, found, window: found._replace(x=found.x[:-1]), r"x: draws have shape \(59, 16, 6, 1, 4\)"),
        (lambda self, found, window: found._replace(x=found.x / 0), "x: draws are not finite"),
        (lambda self, found, window: found._replace(theta=found.x), "theta: draws have shape"),
        (lambda self, found, window: found._replace(x=found.x.requires_grad_()), "x: draws carry a gradient"),
        (lambda self, found, window: found._replace(log_q=torch.zeros(60)), r"log_q: draws have shape \(60,\)"),
        (
            lambda self, found, window: found._replace(info={"cost": torch.zeros(60)}),
            r"'cost'\]: has shape \(60,\)",
        ),
        (
            lambda self, found, window: found._replace(info={"cost": torch.zeros(16) / 0}),
            r"'cost'\]: is not finite",
        ),
    ],
)
def test_what_is_wrong_with_draws_is_named(change, message):
    method = type("Method", (Wrong,), {"change": change})
    with pytest.raises(AssertionError, match=message):
        check_method(method, robust=False)


def test_a_method_that_forgets_the_prior_is_named():
    def change(self, found, window):
        return found._replace(x=found.x + window.y.isnan().all())

    method = type("Method", (Wrong,), {"change": change})
    check_method(method, prior=False, robust=False)
    with pytest.raises(AssertionError, match="Monte Carlo errors"):
        check_method(method, robust=False)


@dataclass(frozen=True)
class Mixing(Prior):
    """Prior draws about the mean of the backgrounds of all cases."""

    def sample(self, window, samples):
        mean = window.background.mean(dim=0, keepdim=True)
        return super().sample(window._replace(background=0 * window.background + mean), samples)


@dataclass(frozen=True)
class Trusting(Prior):
    """Prior draws without the failures replaced."""

    def sample(self, window, samples):
        states = [window.background + window.background_std * torch.randn(samples, *window.background.shape)]
        for _ in range(self.problem.steps - 1):
            states.append(self.problem.system.step(states[-1]))
        x = torch.stack(states, dim=2)
        return Ensemble(x, x.new_zeros(*x.shape[:2], 0), range(self.problem.steps), {})


@pytest.mark.parametrize(
    ("method", "message"),
    [(Mixing, r"x: cases \[1\] are lost, and spoil the draws of others"), (Trusting, r"info\['failed'\]: must count")],
)
def test_a_method_that_does_not_bear_failures_is_named(method, message):
    with pytest.raises(AssertionError, match=message):
        check_method(method, exact=False, prior=False)


def test_draws_that_are_not_replaced_are_named():
    @dataclass(frozen=True)
    class Counting(Trusting):
        def sample(self, window, samples):
            found = super().sample(window, samples)
            return found._replace(info={"failed": (~found.x.isfinite()).flatten(2).any(dim=-1).sum(dim=0)})

    with pytest.raises(AssertionError, match="no next state, and are not replaced"):
        check_method(Counting, exact=False, prior=False)


def test_diagnostics_that_a_lost_case_spoils_are_named():
    x = torch.zeros(3, 2, 1, 1, 1)
    x[:, 1] = torch.nan
    theta = torch.zeros(3, 2, 0)
    sound = Ensemble(x, theta, range(1), {"failed": torch.tensor([0, 3]), "cost": torch.tensor([1.0, torch.nan])})
    check_isolated(sound, lost=[1])
    for info, message in (
        ({"failed": torch.tensor([0, 0])}, "does not count"),
        (
            {"failed": torch.tensor([0, 3]), "cost": torch.tensor([torch.inf, 1.0])},
            r"'cost'\]: cases \[1\] spoil",
        ),
    ):
        with pytest.raises(AssertionError, match=message):
            check_isolated(sound._replace(info=info), lost=[1])


@pytest.mark.parametrize("model_error", [None, 0.4], ids=["strong", "weak"])
def test_the_evidence_is_that_of_sums_over_the_prior(model_error):
    """By plain Monte Carlo: the likelihood, averaged over draws of the prior."""
    problem = linear_gaussian(2, window=2, forecast=0, std=(1.0, 1.5), masks=(), model_error=model_error)
    window = problem.sample((32,)).window
    x = exact_posterior(problem, blind(window)).sample(20_000).unflatten(-1, problem.shape)
    weight = problem.observation.log_prob(window.y, x, window.std).exp()
    exact = log_evidence(problem, window).exp()
    assert float(((weight.mean(dim=0) - exact) / (weight.std(dim=0) / 20_000**0.5)).abs().max()) < 4.5


def test_the_evidence_is_the_density_of_the_observations():
    """By the matrices of the window; a case that sees nothing has none to explain."""
    problem = linear_gaussian(4, window=3)
    window = problem.sample((8,)).window
    window.y[-1] = torch.nan
    transition = problem.system.transition()
    H = torch.cat([torch.linalg.matrix_power(transition, t) for t in range(3)])
    found = log_evidence(problem, window)
    assert found[-1] == 0
    for case, (y, std, background, background_std) in enumerate(zip(*(f.flatten(1) for f in window[:4]), strict=True)):
        seen = ~y.isnan()
        if seen.any():
            G, B, R = H[seen], torch.diag(background_std**2), torch.diag(std[seen] ** 2)
            density = torch.distributions.MultivariateNormal(G @ background, G @ B @ G.mT + R)
            torch.testing.assert_close(found[case], density.log_prob(y[seen]))
