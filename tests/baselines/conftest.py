"""The two studies that every baseline faces, and statistics that carry their Monte Carlo errors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from posterity.problems import (
    Ensemble,
    GaussianPosterior,
    Identity,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    TimeMask,
    Twin,
    Window,
    exact_posterior,
)
from posterity.systems import LinearAdvection, Lorenz96, System


class Linear(NamedTuple):
    """A linear-Gaussian study with its exact posterior."""

    problem: Problem
    window: Window
    exact: GaussianPosterior

    @property
    def blind(self) -> Window:
        """The windows without their observations."""
        return self.window._replace(y=torch.full_like(self.window.y, torch.nan))

    def state(self, u: Tensor) -> Tensor:
        """The initial states of controls, with shape ``(*batch, case, n)``."""
        return self.window.background.flatten(1) + self.window.background_std.flatten(1) * u

    def covariance(self, precision: Tensor) -> Tensor:
        """The covariances of the initial states from the precisions of the control."""
        std = self.window.background_std.flatten(1)
        return std.unsqueeze(-1) * torch.linalg.inv(precision) * std.unsqueeze(-2)


class Study(NamedTuple):
    """A nonlinear study."""

    problem: Problem
    twin: Twin

    @property
    def spoilt(self) -> Window:
        """Four windows, the second with a background of 1e4, which overflows within the window."""
        window = self.twin.window.select(slice(4))
        background = window.background.clone()
        background[1] = 1e4 * (1 + torch.rand(1, 16))
        return window._replace(background=background)


@pytest.fixture(scope="session")
def linear(device: torch.device) -> Linear:
    """16 sites, 12 steps, half of the entries missing, 32 cases."""
    problem = Problem(
        LinearAdvection(size=16),
        Observation(Identity((1, 16)), std=(0.5, 1.0), masks=(RandomMask(0.5),)),
        window=12,
        forecast=3,
        background_std=(0.5, 1.5),
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        window = problem.sample((32,)).window
    return Linear(problem, window, exact_posterior(problem, window))


@pytest.fixture(scope="session")
def square(device: torch.device) -> Study:
    """Lorenz-96 seen through its square, half of the entries missing, nothing seen of the first state."""
    problem = Problem(
        Lorenz96(size=16, forcing=8.0, dt=0.1),
        Observation(Quadratic((1, 16)), std=(2.8, 5.7), masks=(RandomMask(0.5), TimeMask(start=1))),
        window=12,
        background_std=(0.64, 1.28),
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Study(problem, problem.sample((16,)))


@dataclass(frozen=True, kw_only=True)
class Fragile(System):
    """Lorenz-96 that fails for states whose first site is far from its start."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    inner: Lorenz96 = field(default_factory=lambda: Lorenz96(size=5, dt=0.1))
    threshold: float = 1.0
    dt: float = 0.1

    @property
    def shape(self):
        return self.inner.shape

    def initial(self, batch):
        return torch.zeros(*batch, 1, 5)

    def step(self, x):
        return self.inner.step(torch.where(x[..., :1] > self.threshold, torch.nan, x))


class Fragility(NamedTuple):
    """A problem of which some states have no next."""

    problem: Problem
    window: Window


@pytest.fixture(scope="session")
def fragile(device: torch.device) -> Fragility:
    """A sixth of the prior draws fail; six cases."""
    observation = Observation(Quadratic((1, 5)), std=(5.0, 5.0))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        window = Problem(Lorenz96(size=5, dt=0.1, spinup=0.0), observation, window=2).sample((6,)).window
    return Fragility(Problem(Fragile(), observation, window=2), window._replace(background=torch.zeros(6, 1, 5)))


@pytest.fixture(scope="session")
def check_ranks() -> Callable[[Ensemble, Twin], None]:
    """Checks that the truth ranks anywhere among the draws; see the function for the statistics."""
    return _check_ranks


def _check_ranks(posterior: Ensemble, twin: Twin) -> None:
    r"""Simulation-based calibration: the truth is one more draw, so its rank among the draws is uniform.

    Every rank of the first and last state of the window, and of the parameters, has a count over the cases, which are
    independent. Its chi-squared statistic must stay within the level of the 4-error test, shared out among the
    quantities by Bonferroni.

    Args:
        posterior: Independent draws.
        twin: What they are posteriors of.
    """
    last = twin.window.y.shape[1] - 1
    draws = [posterior.x[:, :, 0].flatten(2), posterior.x[:, :, last].flatten(2), posterior.theta]
    truth = [twin.x[:, 0].flatten(1), twin.x[:, last].flatten(1), twin.theta]
    rank = (torch.cat(draws, dim=-1) < torch.cat(truth, dim=-1)).sum(dim=0)
    bins = len(posterior.x) + 1
    expected = len(rank) / bins
    counts = torch.stack([torch.bincount(each, minlength=bins) for each in rank.mT])
    chi2 = ((counts - expected) ** 2 / expected).sum(dim=-1)
    # The distribution function of chi-squared is a regularised incomplete gamma function.
    half = torch.tensor((bins - 1) / 2)
    p_value = torch.special.gammaincc(half, chi2 / 2)
    assert float(p_value.min()) > 6.3e-5 / len(chi2)


@pytest.fixture(scope="session")
def check_gaussian() -> Callable[[Tensor, GaussianPosterior], None]:
    """Checks draws against an exact Gaussian; see the function for the statistics."""
    return _check_gaussian


def _check_gaussian(x: Tensor, exact: GaussianPosterior) -> None:
    r"""Compares independent draws of trajectories with their exact posterior, in Monte Carlo errors.

    There are thousands of comparisons, of which some exceed 4 Monte Carlo errors by chance. So the level of the
    4-error test, 6e-5, is spent three times: on the largest of all the deviations of the mean, shared out by
    Bonferroni; and on the sum of all squared deviations of mean and of covariance, which is where a small
    bias that all cases share would show. The draws of x_0 are whitened by the exact posterior, so that their
    coordinates are independent and the sums have known distributions.

    Args:
        x: Draws, with shape ``(samples, case, time, channel, n)``.
        exact: The exact posterior.
    """
    samples, cases = x.shape[:2]
    deviation = x.flatten(3) - exact.mean
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    z = deviation.mean(dim=0) / std * samples**0.5
    level = 6.3e-5 / z.numel()
    bound = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - level / 2))
    assert float(z.abs().max()) < float(bound)

    factor = torch.linalg.cholesky(exact.covariance[:, 0])
    white = torch.linalg.solve_triangular(factor, deviation[:, :, 0].movedim(0, -1), upper=False)
    n = white.shape[1]
    chi2 = samples * white.mean(dim=-1).square().sum()
    assert abs(float(chi2) - cases * n) < 4 * (2 * cases * n) ** 0.5

    # Covariance, over all cases together: each entry of the whitened one is 1 or 0, with variance 2 or 1 over
    # the number of draws.
    pooled = torch.einsum("cis,cjs->ij", white, white) / (samples * cases)
    error = ((1 + torch.eye(n)) / (samples * cases)).sqrt()
    z = ((pooled - torch.eye(n)) / error)[tuple(torch.tril_indices(n, n))]
    chi2 = z.square().sum()
    assert abs(float(chi2) - len(z)) < 4 * (2 * len(z)) ** 0.5
    # And the total variance by itself, so that a spread that is everywhere too large cannot hide among n² entries.
    total = white.square().sum()
    count = white.numel()
    assert abs(float(total) - count) < 4 * (2 * count) ** 0.5
