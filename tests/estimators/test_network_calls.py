"""What draws cost in evaluations of networks, held against counts by hand."""

import pytest

from posterity.baselines import Climatology
from posterity.diffusion import MomentMatching, PredictorCorrector, RungeKutta, SDAGuidance
from posterity.diffusion.compositions import Blankets, Fold, Junction
from posterity.estimators import GuidedScore, NeuralRatio, NeuralScore
from posterity.estimators.ratios.ratio import RatioPotential
from posterity.estimators.ratios.samplers import TemperedSMC
from posterity.estimators.trajectories import score
from posterity.estimators.trajectories.local import LocalResidual
from posterity.estimators.trajectories.methods import SDA
from posterity.nn import MLP
from posterity.problems import Identity, Observation, Posterior, Problem
from posterity.systems import LinearAdvection

STEPS, CORRECTIONS, STATES = 3, 2, 9
#: A mean for each step, the last of which goes to the data, and for each correction of the others.
MEANS = STEPS + CORRECTIONS * (STEPS - 1)
#: Windows of three states of nine, and the separators between them.
COMPOSITIONS = {
    "fold": (Fold(1), 7),
    "blankets": (Blankets(3, 1), 4),
    "junction": (Junction(1, 2), 4 + 3),
    "junction of stride one": (Junction(1, 1), 7 + 6),
}


def problem(window: int = STATES, **options) -> Problem:
    settings = {"joint": "climatology", "background_std": None} | options
    return Problem(LinearAdvection(size=4, damping=0.05), Observation(Identity((1, 4)), std=0.5), window, **settings)


def counted(method: Posterior, samples: int = 2) -> tuple[float, float]:
    """Calls and sweeps back per draw, the same for all three cases."""
    info = method.sample(method.problem.sample((3,)).window, samples).info
    assert info["network_calls"].shape == (3,)
    calls, pullbacks = (info[f"network_{name}"].unique().item() for name in ("calls", "pullbacks"))
    return calls, pullbacks


def trajectories(composition, guidance, per_window: bool = False) -> SDA:
    """An estimator whose networks know nothing."""
    how = {"guidance": guidance, "composition": composition, "per_window": per_window}
    stride = composition.stride if isinstance(composition, Junction) else 0
    sampler = PredictorCorrector(STEPS, CORRECTIONS)
    return SDA(problem(), 1, MLP((4,)), sampler=sampler, stride=stride, **how).mark_trained()


@pytest.mark.parametrize(("composition", "windows"), COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_a_draw_takes_all_windows_for_each_mean_and_a_sweep_back_for_each_product(composition, windows) -> None:
    assert counted(trajectories(composition, SDAGuidance())) == (MEANS * windows, MEANS * windows)
    assert counted(trajectories(composition, SDAGuidance(detach=True))) == (MEANS * windows, 0)
    # Two iterations, each a product with the covariance, of which the pull is a sum. Of a whole whose windows have
    # uneven shares the product is made symmetric, by two of each window, and the pull takes one that is not.
    matching, products = MomentMatching(2, 0.0), 2 if isinstance(composition, Junction) else 2 * 2 + 1
    assert counted(trajectories(composition, matching)) == (MEANS * windows, MEANS * windows * products)
    assert counted(trajectories(composition, matching, True)) == (MEANS * windows, MEANS * windows * 2)


def test_what_the_memory_does_not_hold_is_computed_again(monkeypatch) -> None:
    """A window at a time, whose graphs are gone when its product is asked for."""
    monkeypatch.setattr(score, "MEMORY", 0)
    monkeypatch.setattr(LocalResidual, "held", (10**9, 1))
    assert counted(trajectories(Fold(1), SDAGuidance())) == (2 * MEANS * 7, MEANS * 7)


def test_a_draw_of_one_window_takes_one_call_for_each_mean() -> None:
    """Runge–Kutta takes four a step, and none at the data."""
    small = problem(3)
    guided = GuidedScore(small, MLP((4,)), sampler=RungeKutta(4), guidance=SDAGuidance())
    assert counted(guided.mark_trained()) == (15, 15)
    assert counted(NeuralScore(small, network=MLP((4,)), sampler=RungeKutta(4)).mark_trained()) == (15, 0)
    # The products of a divergence are taken at once.
    density = NeuralScore(small, network=MLP((4,)), steps=2, density=True)
    assert counted(density.mark_trained()) == (7, 7)


def test_chains_take_a_sweep_back_for_each_gradient(monkeypatch) -> None:
    """What samplers ask of a ratio they ask of the network, for all their particles."""
    asked = {"cost_and_gradient": 0, "log_ratio": 0}

    def counting(name: str):
        whole = getattr(RatioPotential, name)

        def count(self, z):
            asked[name] += z[..., 0].numel()
            return whole(self, z)

        return count

    for name in asked:
        monkeypatch.setattr(RatioPotential, name, counting(name))
    sampler = TemperedSMC(particles=6, moves=1, final=1, leapfrog=2)
    ratio = NeuralRatio(problem(3), network=MLP((4,)), ratio_sampler=sampler)
    calls, pullbacks = counted(ratio.mark_trained())
    assert calls == pytest.approx(sum(asked.values()) / 6)
    assert pullbacks == pytest.approx(asked["cost_and_gradient"] / 6)
    assert pullbacks > 0


def test_methods_without_networks_tell_none() -> None:
    posed = problem(3)
    info = Climatology(posed).sample(posed.sample((2,)).window, 2).info
    assert not {"network_calls", "network_pullbacks"} & set(info)
