"""Time loops do not wait for the device: their calls that need a value at once do not grow with the number of steps.

What waits is counted on a CPU, where systems advance by steps of torch, as on devices without compiled functions.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from posterity.algebra import CovarianceFactor
from posterity.baselines import ETKF, LETKF
from posterity.diffusion import EDM, Mean, Multistep, RungeKutta
from posterity.diffusion.samplers import Ancestral, PredictorCorrector
from posterity.mcmc import Kick, evaluate, transition
from posterity.problems import Control, Identity, Observation, Problem
from posterity.systems import (
    Kolmogorov,
    LinearAdvection,
    Lorenz63,
    Lorenz96,
    ShallowWater,
    TwoScaleLorenz96,
)

#: Operations whose results have a size or are a number that the host must know.
WAITING = {"_local_scalar_dense", "_unique2", "equal", "is_nonzero", "masked_select", "nonzero", "unique_dim"}


class Waits(TorchDispatchMode):
    """Counts operations that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, _: Any, arguments: Any = (), options: Any = None) -> Any:
        """Counts, and does it."""
        name = function._schema.name.removeprefix("aten::")
        indices = arguments[1] if name in ("index", "index_put_") else ()
        masks = any(index is not None and index.dtype == torch.bool for index in indices)
        self.count += name in WAITING or masks
        return function(*arguments, **(options or {}))


def waits(run: Callable[[], Any]) -> int:
    """How often a call waits."""
    with Waits() as counted:
        run()
    return counted.count


@pytest.fixture(autouse=True)
def by_steps(monkeypatch):
    monkeypatch.setattr("posterity.systems.equations.rollouts.compiled", lambda kind: None)
    monkeypatch.setattr("posterity.systems.fused.compiled", lambda: None)


def test_what_waits_is_counted():
    x = torch.ones(3)
    assert waits(lambda: x.sum().item()) == 1
    assert waits(lambda: x[x > 0]) == 1
    assert waits(lambda: x.sum() + x[torch.tensor([0, 1])].sum()) == 0
    assert waits(lambda: bool((x > 0).all()) and torch.equal(x, x)) >= 2


SYSTEMS = [
    Kolmogorov(size=16, spinup=0.0),
    LinearAdvection(size=8),
    Lorenz63(spinup=0.0),
    Lorenz96(size=8, spinup=0.0),
    ShallowWater(spinup=0.0),
    TwoScaleLorenz96(size=4, fast=3, substeps=2, spinup=0.0),
]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: type(system).__name__)
def test_rollouts_and_their_adjoints_do_not(system):
    x = system.initial((2,))

    def there_and_back(steps):
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(system.rollout(leaf, steps).square().sum(), leaf)
        system.advance(x, steps)

    assert waits(lambda: there_and_back(5)) == waits(lambda: there_and_back(2))


@pytest.mark.parametrize("sampler", [Multistep, RungeKutta, Ancestral, PredictorCorrector])
def test_samplers_do_not(sampler):
    mean: Mean = lambda x, angle: x / 2  # noqa: E731
    noise = torch.randn(4, 3)
    assert waits(lambda: sampler(16)(mean, EDM(), noise)) == waits(lambda: sampler(4)(mean, EDM(), noise))


def problem(**options):
    observation = Observation(Identity((1, 8)), std=(1.0, 1.0))
    return Problem(Lorenz96(size=8, spinup=0.0), observation, background_std=(1.0, 1.0), **options)


def test_hamiltonian_trajectories_do_not():
    study = problem(window=3)
    control = Control(study, study.sample((2,)).window)
    start = evaluate(control, control.prior(4))
    scale, beta, step = CovarianceFactor(torch.eye(8).expand(2, -1, -1)), torch.ones(2), torch.full((2,), 0.01)

    def move(steps):
        transition(control, start, beta, scale, step, torch.full((2,), steps), Kick.draw(start))

    assert waits(lambda: move(9)) == waits(lambda: move(3))


@pytest.mark.parametrize(("method", "each"), [(ETKF, 1), (LETKF, 3)])
def test_filters_wait_as_often_as_they_say(method, each):
    """Once in a cycle, for members that failed; where sites are updated, for those that see something too."""
    options = {"members": 10, "radius": 2.0} if method is LETKF else {"members": 10}

    def run(cycles):
        study = problem(window=1, cycles=cycles)
        window = study.sample((2,)).window
        return waits(lambda: method(study, **options).sample(window, 10))

    assert run(5) - run(2) == 3 * each
