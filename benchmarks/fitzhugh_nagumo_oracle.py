"""Prints posteriors of the stochastic FitzHugh–Nagumo neuron by particle marginal Metropolis–Hastings: an oracle.

    .venv/bin/python benchmarks/fitzhugh_nagumo_oracle.py notebook
    .venv/bin/python benchmarks/fitzhugh_nagumo_oracle.py twin TWIN.nc POSTERIOR.nc ...

It shares nothing with the package but the equations: a bootstrap filter estimates the likelihood of parameters, without
bias, and a random walk over the four of them accepts by these estimates (Andrieu, Doucet & Holenstein, 2010,
https://doi.org/10.1111/j.1467-9868.2009.00736.x), so that its draws are of the posterior whatever the number of
particles. There are no gradients, no control, and no temperatures.

``notebook`` is the example of manifold Markov chain Monte Carlo (https://arxiv.org/abs/1912.02982, of the repository
thiery-lab/manifold-mcmc-for-diffusions), made anew from its seed: 100 observations of the voltage, 0.5 apart, with 25
steps between them. There they have no noise; here they get a standard deviation, without which a bootstrap filter has
no weights. Beside it stand the means and standard deviations that the notebook prints. ``twin`` takes the cases of an
experiment on this neuron (with the priors of ``fitzhugh_nagumo_small``), and posteriors or references of them that are
held against the oracle; cases whose chains do not agree are left out.
"""

import sys
from dataclasses import dataclass, fields, replace
from math import log, pi, sqrt

import numba
import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Setting:
    """A problem: what is seen, and the priors of parameters (σ, ε, γ, β) and of the first state.

    Args:
        y: Observations of the voltage behind each step, with shape ``(times,)``.
        std: Their standard deviation.
        dt: The time between them.
        substeps: Integration steps between them.
        location: The means of the parameters, or of their logarithms.
        scale: The standard deviations of the same.
        logarithmic: Whether it is the logarithm that is normal, for each parameter.
        start: The mean of the first state, with unit variances.
    """

    y: Array
    std: float
    dt: float
    substeps: int
    location: Array
    scale: Array
    logarithmic: Array
    start: Array

    def parameters(self, v: Array) -> Array:
        """The parameters of white ``v``, with shape ``(..., 4)``."""
        plain = self.location + self.scale * v
        return np.where(self.logarithmic, np.exp(plain), plain)


@numba.njit(fastmath=True)
def log_likelihood(
    theta: Array, y: Array, std: float, dt: float, substeps: int, start: Array, particles: int, rng: np.random.Generator
) -> tuple[float, Array]:
    """The estimate of the log-likelihood by a bootstrap filter, and the first and the last state of one particle."""
    sigma, epsilon, gamma, beta = theta
    delta = dt / substeps
    first = np.empty((particles, 2))
    for i in range(particles):
        first[i] = start[0] + rng.standard_normal(), start[1] + rng.standard_normal()
    x = first.copy()
    weight, ahead, before = np.empty(particles), np.empty_like(x), np.empty_like(x)
    total = 0.0
    for value in y:
        for i in range(particles):
            v, w = x[i]
            for _ in range(substeps):
                dw = sqrt(delta) * rng.standard_normal()
                dz = 0.5 * delta * (dw + sqrt(delta / 3) * rng.standard_normal())
                a, b = (v - v**3 - w) / epsilon, gamma * v - w + beta
                # Taylor's scheme: the drift, its rate along itself, and the integral of the noise.
                rate = ((1 - 3 * v * v) * a - b) / epsilon
                v, w = (
                    v + delta * a + 0.5 * delta**2 * rate - sigma / epsilon * dz,
                    w + delta * b + 0.5 * delta**2 * (gamma * a - b) + sigma * (dw - dz),
                )
            x[i] = v, w
            off = (value - v) / std
            weight[i] = -0.5 * off * off if abs(off) < 1e8 else -1e16
        top = weight.max()
        weight = np.exp(weight - top)
        mean = weight.mean()
        total += top + log(mean) - log(std * sqrt(2 * pi))
        # Systematic resampling, of first states with those that descend from them.
        at, j, summed = rng.random(), 0, weight[0] / mean
        for i in range(particles):
            while summed < at + i and j < particles - 1:
                j += 1
                summed += weight[j] / mean
            ahead[i], before[i] = x[j], first[j]
        x[:], first[:] = ahead, before
    i = int(particles * rng.random())
    return total, np.concatenate((first[i], x[i]))


@numba.njit
def chain(
    v: Array,
    iterations: int,
    warmup: int,
    particles: int,
    rng: np.random.Generator,
    y: Array,
    std: float,
    dt: float,
    substeps: int,
    location: Array,
    scale: Array,
    logarithmic: Array,
    start: Array,
) -> tuple[Array, float]:
    """A chain over white parameters, with the first and the last state, whose proposals adapt to it in the warm-up."""
    n = len(v)
    mean, covariance, size = v.copy(), np.eye(n) * 0.1, 1.0
    draws, accepted = np.empty((iterations, n + 4)), 0
    old, place = -np.inf, np.zeros(4)
    root = np.linalg.cholesky(covariance)
    for k in range(-warmup, iterations):
        trial = v if k == -warmup else v + size * root @ rng.standard_normal(n)
        theta = location + scale * trial
        theta = np.where(logarithmic, np.exp(theta), theta)
        found, drawn = log_likelihood(theta, y, std, dt, substeps, start, particles, rng)
        found -= 0.5 * (trial**2).sum()
        taken = np.log(rng.random()) < found - old
        if taken:
            v, old, place = trial, found, drawn
        if k < 0:
            step = (k + warmup + 2) ** -0.6
            away = v - mean
            mean = mean + step * away
            covariance = covariance + step * (np.outer(away, away) - covariance)
            size *= np.exp(step * ((1.0 if taken else 0.0) - 0.25))
            root = np.linalg.cholesky(covariance + 1e-6 * np.eye(n))
        else:
            accepted += taken
            draws[k, :n], draws[k, n:] = v, place
    return draws, accepted / iterations


def sample(setting: Setting, particles: int, iterations: int, seeds: int, v: Array | None = None) -> Array:
    """Draws of several chains: parameters, first and last state, with shape ``(seeds, iterations, 8)``."""
    found, given = [], [getattr(setting, field.name) for field in fields(setting)]
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        begin = rng.normal(0, 0.3, 4) + (0.0 if v is None else v)
        draws, rate = chain(begin, iterations, iterations // 4, particles, rng, *given)
        print(f"  chain {seed}: acceptance {rate:.2f}", file=sys.stderr)
        found.append(np.concatenate((setting.parameters(draws[:, :4]), draws[:, 4:]), axis=1))
    return np.stack(found)


def summary(draws: Array) -> list[tuple[float, float, float, float]]:
    """Mean, standard deviation, effective number and split R-hat of each quantity."""
    from arviz_stats.base import array_stats

    chains = np.moveaxis(draws, -1, 0)
    ess, rhat = array_stats.ess(chains, method="mean"), array_stats.rhat(chains)
    return list(zip(draws.mean((0, 1)), draws.std((0, 1)), ess, rhat, strict=True))


def main(setting: str, *files: str) -> None:
    """Prints the table of a setting."""
    if setting == "notebook":
        for std, particles in ((0.1, 500), (0.05, 1000)):
            problem, truth = notebook(std)
            rows = summary(sample(problem, particles, 4000, 2, truth))
            print(f"standard deviation {std}", flush=True)
            for name, row, (mean, sd) in zip(NAMES, rows, PUBLISHED, strict=False):
                print(f"  {name:8}" + line(row) + f"   notebook {mean:7.3f} ± {sd:.3f}", flush=True)
    else:
        against(*files)


#: The quantities of draws.
NAMES = ("sigma", "epsilon", "gamma", "beta", "x0[0]", "x0[1]", "xT[0]", "xT[1]")


def line(row: tuple[float, float, float, float]) -> str:
    """A row of a table."""
    return f"{row[0]:9.4f} ± {row[1]:.4f}  (ESS {row[2]:.0f}, R-hat {row[3]:.3f})"


def against(twin: str, *files: str) -> None:
    """Prints how far the draws in files are from those of the oracle, over the cases of a twin."""
    import xarray as xr

    observed, drawn = xr.load_dataset(twin), [xr.load_dataset(file) for file in files]
    gaps: list[list[Array]] = [[] for _ in files]
    for case in range(observed.sizes["case"]):
        here = observed.isel(case=case)
        y = here["observation"].values[:, 0].astype(float)
        y, std = y[1 : np.isfinite(y).nonzero()[0][-1] + 1], float(here["observation_std"].max())
        problem = Setting(
            y, std, 0.2, 8, np.log([1.0, 0.5, 1.0, 1.0]), np.array([1.0, 0.5, 1.0, 1.0]),
            np.array([True, True, True, False]), here["background"].values.astype(float),
        )  # fmt: skip
        rows = np.array(summary(sample(problem, 300, 5000, 2)))
        converged = rows[:, 3].max() < 1.05
        print(f"case {case}: worst R-hat of the oracle {rows[:, 3].max():.3f}, least ESS {rows[:, 2].min():.0f}")
        for found, part in zip(gaps, drawn, strict=True):
            there = part.isel(case=case)
            last = there["state"].values[:, there["time"].values.searchsorted(0.2 * len(y) - 0.01)]
            own = np.concatenate((there["theta"].values, last), axis=1)
            row = rows[[0, 1, 2, 3, 6, 7]]
            if converged:
                found.append(np.stack(((own.mean(0) - row[:, 0]) / row[:, 1], own.std(0, ddof=1) / row[:, 1])))
    print("rms over cases of (mean - oracle's) / sd, and mean ratio of sds:", *NAMES[:4], *NAMES[6:])
    for file, found in zip(files, gaps, strict=True):
        gap, ratio = np.moveaxis(np.array(found), 1, 0)
        rms = " ".join(f"{value:6.3f}" for value in (gap**2).mean(0) ** 0.5)
        print(f"{file[-60:]:60} {rms}   " + " ".join(f"{value:6.3f}" for value in ratio.mean(0)), flush=True)


def notebook(std: float) -> tuple[Setting, Array]:
    """The example of the notebook, and the white parameters that it was made of."""
    q = np.random.RandomState(20200710).standard_normal(5006)
    plain = Setting(
        np.empty(0), std, 0.5, 25, np.array([-1.0, -2.0, 1.0, 1.0]), np.full(4, 0.5),
        np.array([True, True, False, False]), np.array([-0.5, -0.5]),
    )  # fmt: skip
    sigma, epsilon, gamma, beta = plain.parameters(q[:4])
    (x, w), delta, seen = plain.start + q[4:6], 0.02, []
    for k, (first, second) in enumerate(q[6:].reshape(-1, 2), start=1):
        dz = 0.5 * delta**1.5 * (first + second / sqrt(3))
        a, b = (x - x**3 - w) / epsilon, gamma * x - w + beta
        rate = ((1 - 3 * x * x) * a - b) / epsilon
        x, w = (
            x + delta * a + 0.5 * delta**2 * rate - sigma / epsilon * dz,
            w + delta * b + 0.5 * delta**2 * (gamma * a - b) + sigma * (sqrt(delta) * first - dz),
        )
        if k % 25 == 0:
            seen.append(x)
    print(f"  truth: {plain.parameters(q[:4]).round(3)}, start {(plain.start + q[4:6]).round(3)}", file=sys.stderr)
    return replace(plain, y=np.array(seen)), q[:4]


#: Means and standard deviations that the notebook prints, of σ, ε, γ, β and both entries of the first state.
PUBLISHED = ((0.784, 0.073), (0.206, 0.028), (1.054, 0.149), (0.282, 0.110), (-0.202, 0.970), (1.289, 0.574))


if __name__ == "__main__":
    main(*sys.argv[1:])
