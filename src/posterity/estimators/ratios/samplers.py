"""Samplers of densities that are known by their ratio to the standard normal."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...mcmc import Tempering
from ...mcmc.weights import check_draws, resample
from ...problems.resampling import take
from .ratio import RatioPotential


class RatioSampler(abc.ABC):
    r"""Abstract sampler of :math:`q(z) \propto N(z; 0, I) \, r(z)`."""

    @abc.abstractmethod
    def draw(self, potential: RatioPotential, samples: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        r"""Draws for each case.

        Args:
            potential: The ratio.
            samples: The number of draws per case.

        Returns:
            The draws, with shape ``(samples, case, size)``, and diagnostics of each case. Among these is the estimate
            ``log_normalizer`` of :math:`\log \int N(z; 0, I) \, r(z) \, dz`, zero for a perfect ratio.
        """


@dataclass(frozen=True)
class TemperedSMC(RatioSampler):
    r"""Tempered sequential Monte Carlo, :class:`~posterity.mcmc.Tempering` through :math:`N(z; 0, I) \, r(z)^\beta`.

    Args:
        particles: The number of particles per case.
        ess: The fraction of the particles to which the effective number falls between temperatures.
        moves: The number of transitions at each temperature.
        final: The number of further transitions at :math:`\beta = 1`.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
    """

    particles: int = 512
    ess: float = 0.5
    moves: int = 2
    final: int = 8
    length: float = 2.0
    leapfrog: int = 32
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.particles < 4:
            raise ValueError(f"particles: at least 4 are needed for a covariance, not {self.particles}")
        self._tempering()

    def draw(self, potential: RatioPotential, samples: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draws from the particles, none a second time before all were drawn once."""
        tempered = self._tempering().run(potential, potential.noise(self.particles))
        info = dict(tempered.info)
        info["log_normalizer"] = info.pop("log_evidence")
        return tempered.spread(samples), info

    def _tempering(self) -> Tempering:
        """The tempering of these options."""
        return Tempering(self.ess, self.moves, self.final, self.length, self.leapfrog, self.acceptance)


@dataclass(frozen=True)
class PriorImportance(RatioSampler):
    r"""Importance sampling from the standard normal, with Pareto-smoothed weights :math:`w_i = r(z_i)`.

    Fast, and sufficient for posteriors not much narrower than the prior: the number of draws needed grows exponentially
    with the information of the observations. ``info["k_hat"]`` and ``info["ess"]`` tell whether there are enough.

    Args:
        draws: The number of draws of the standard normal per case.
    """

    draws: int = 4096

    def __post_init__(self) -> None:
        """Checks the number of draws."""
        check_draws(self.draws)

    def draw(self, potential: RatioPotential, samples: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Resamples weighted draws."""
        z = potential.noise(self.draws)
        drawn = resample(potential.log_ratio(z), samples)
        info = {"k_hat": drawn.k_hat, "ess": drawn.ess, "log_normalizer": drawn.log_mean}
        return take(z, drawn.chosen), {name: value.to(z) for name, value in info.items()}
