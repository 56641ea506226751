"""Window methods over records: exact where nothing is lost between windows, and never spoilt by a lost case."""

from dataclasses import dataclass, replace

import pytest
import torch

from posterity.baselines import (
    ETKF,
    Climatology,
    Cycled,
    FourDVar,
    Prior,
    RejectionABC,
    ThreeDVar,
    VariationalInference,
    cycled,
)
from posterity.problems import Ensemble, Identity, Observation, Posterior, Problem, RandomMask, Uniform, exact_posterior
from posterity.systems import LinearAdvection, Lorenz96


def problem(system=None, **options):
    """Sites that do not speak to each other: then means and standard deviations are all there is to pass on."""
    system = LinearAdvection(size=4, speed=0.0, diffusion=0.0, damping=0.3) if system is None else system
    observation = Observation(Identity(system.shape), std=(0.5, 1.0), masks=(RandomMask(0.6),))
    return Problem(system, observation, **({"window": 3, "cycles": 3} | options))


@dataclass(frozen=True)
class Spy(Posterior):
    """Draws what it is told, and keeps what it was given."""

    problem: Problem
    draws: tuple
    given: list

    def sample(self, window, samples):
        self.given.append(window)
        count = torch.tensor([1.0, 2.0, 3.0])[: len(window.y)] * len(self.given)
        x = self.draws[len(self.given) - 1]
        return Ensemble(x, torch.zeros(samples, len(window.y), 0), range(x.shape[2]), {"failed": count, "cost": count})


def test_nothing_is_lost_between_independent_sites():
    """At each time, the exact posterior given all observations up to the end of its window."""
    study = problem(background_std=(0.5, 1.5))
    window = study.sample((4,)).window
    samples = 20_000
    drawn = Cycled(study, FourDVar(study.cycle()), members=samples).sample(window, samples)
    assert drawn.steps == range(9)
    for cycle in range(3):
        seen = 3 * (cycle + 1)
        known = window._replace(y=window.y[:, :seen], std=window.std[:, :seen])
        exact = exact_posterior(replace(study, window=seen, cycles=1), known)
        for t in range(seen - 3, seen):
            x = drawn.x[:, :, t].flatten(2)
            std = exact.covariance[:, t].diagonal(dim1=-2, dim2=-1).sqrt()
            # Each window adds the Monte Carlo error of the background that it is given.
            error = ((cycle + 1) / samples) ** 0.5
            assert float(((x.mean(dim=0) - exact.mean[:, t]) / std).abs().max()) < 4.5 * error
            assert float((x.std(dim=0) / std - 1).abs().max()) < 4.5 * error / 2**0.5


def test_backgrounds_are_means_and_inflated_standard_deviations():
    study = problem(window=2, cycles=3)
    draws = tuple(torch.randn(5, 2, 3, 1, 4) * torch.tensor([1.0, 1.0, 1.0, 0.0]) for _ in range(3))
    spy = Spy(study.cycle(), draws, [])
    window = study.sample((2,)).window
    drawn = Cycled(study, spy, members=5, inflation=1.5, floor=0.1).sample(window, 5)
    found, given = (x[torch.argsort(x[:, 0, 0, 0, 0])] for x in (drawn.x, torch.cat([x[:, :, :2] for x in draws], 2)))
    torch.testing.assert_close(found, given)
    first, second, third = spy.given
    torch.testing.assert_close(first.background, window.background)
    for given, x in ((second, draws[0]), (third, draws[1])):
        torch.testing.assert_close(given.background, x[:, :, 2].mean(dim=0))
        torch.testing.assert_close(given.background_std, (1.5 * x[:, :, 2].std(dim=0)).clamp(min=0.1))
    torch.testing.assert_close(third.y, window.y[:, 4:], equal_nan=True)
    assert third.start.tolist() == [4, 4]
    assert drawn.info["failed"].tolist() == [6, 12]
    assert drawn.info["cost"].tolist() == [2, 4]


def test_a_lost_case_stays_lost_and_spoils_no_other():
    study = problem(window=2, cycles=3)
    draws = tuple(torch.randn(5, 2, 3, 1, 4) for _ in range(3))
    draws[0][:, 0, 2] = torch.nan
    spy = Spy(study.cycle(), draws, [])
    drawn = Cycled(study, spy, members=5).sample(study.sample((2,)).window, 5)
    assert all(given.background.isfinite().all() and given.background_std.isfinite().all() for given in spy.given)
    assert spy.given[1].y[0].isnan().all()
    assert drawn.x[:, 0, :2].isfinite().all()
    assert drawn.x[:, 0, 2:].isnan().all()
    assert drawn.x[:, 1].isfinite().all()


@pytest.mark.parametrize("samples", [1, 2, 40])
def test_backgrounds_do_not_depend_on_how_many_draws_are_asked_for(samples):
    """Fewer draws than members are some of them; more have no say in what follows."""
    study = problem(window=2, cycles=3)
    window = study.sample((2,)).window
    given, drawn = [], []
    for count in (samples, 12):
        seen = []

        class Watched(FourDVar):
            def sample(self, window, samples, seen=seen):
                seen.append((window, samples))
                return super().sample(window, samples)

        torch.manual_seed(3)
        drawn.append(Cycled(study, Watched(study.cycle()), members=12).sample(window, count))
        given.append([part for part, number in seen if number == 12])
    assert len(given[0]) == len(given[1]) == 3
    for some, all_members in zip(*given, strict=True):
        torch.testing.assert_close(some, all_members, rtol=0, atol=0, equal_nan=True)
    assert drawn[0].x.shape == (samples, 2, 6, 1, 4)
    least = min(samples, 12)
    torch.testing.assert_close(drawn[0].x[:least], drawn[1].x[:least], rtol=0, atol=0)
    if samples > 12:
        assert (drawn[0].info["model_steps"] > drawn[1].info["model_steps"]).all()
        assert len(drawn[0].x[:, 0, -1, 0, 0].unique()) == samples


def test_first_windows_start_from_the_climatology_of_their_time():
    """Of a linear system its standard deviations are those of its powers; a case with a background keeps that."""
    study = problem(LinearAdvection(size=4, damping=0.3), window=2, background_std=(0.5, 0.5), start=(0, 4))
    window = study.sample((3,), torch.tensor([0.0, 4.0, 4.0])).window
    window.background[:2] = window.background_std[:2] = torch.nan
    spy = Spy(study.cycle(), tuple(torch.randn(5, 3, 3, 1, 4) for _ in range(3)), [])
    Cycled(study, spy, members=5, draws=20_000).sample(window, 5)
    found = spy.given[0].background_std.flatten(1)
    power = torch.linalg.matrix_power(study.system.transition(), 4)
    expected = torch.stack([torch.ones(4), (power @ power.mT).diagonal().sqrt()])
    assert float((found[:2] / expected - 1).abs().max()) < 4.5 / (2 * 20_000) ** 0.5
    assert float((spy.given[0].background[:2].flatten(1) / expected).abs().max()) < 4.5 / 20_000**0.5
    assert (found[2] == 0.5).all()
    assert (spy.given[0].background[2] == window.background[2]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FourDVar, VariationalInference])
def test_chaos_is_followed_without_a_background(kind):
    """Started from the climatology, windows come close to the truth; the free run of the prior does not."""
    study = problem(Lorenz96(size=10, dt=0.05), window=5, cycles=5, joint="climatology", background_std=None)
    twin = study.sample((4,))
    found, free = (cycled(study, k, k).sample(twin.window, 50) for k in (kind, Prior))
    last = slice(10, 25)
    rmse = (found.x.mean(dim=0) - twin.x)[:, last].square().mean().sqrt()
    assert float(rmse) < 0.6
    assert float((free.x.mean(dim=0) - twin.x)[:, last].square().mean().sqrt()) > 2
    assert "objective" not in found.info


def test_parameters_are_those_of_the_last_window():
    study = problem(Lorenz96(size=6), window=4, cycles=2, parameters={"forcing": Uniform(6.0, 10.0)})
    drawn = cycled(study, FourDVar, FourDVar).sample(study.sample((2,)).window, 6)
    assert drawn.theta.shape == (6, 2, 1)
    assert drawn.x.shape == (6, 2, 8, 1, 6)


def test_methods_that_run_through_records_are_left_alone():
    study = problem()
    for kind in (ETKF, ThreeDVar, Climatology):
        assert type(cycled(study, kind, kind)) is kind
    assert type(cycled(study, FourDVar, FourDVar)) is Cycled
    assert type(cycled(replace(study, cycles=1), FourDVar, FourDVar)) is FourDVar


def test_what_cannot_be_cycled():
    study = problem()
    window = study.sample((2,)).window
    with pytest.raises(ValueError, match="samples"):
        Cycled(study, ETKF(study.cycle(), members=50)).sample(window, 10)
    with pytest.raises(ValueError, match="method: ETKF"):
        Cycled(study, ETKF(study.cycle())).sample(window, 10)
    for name in ("members", "inflation", "floor", "draws"):
        with pytest.raises(ValueError, match=name):
            Cycled(study, FourDVar(study.cycle()), **{name: 0})


def test_draws_are_limited_as_those_of_the_method_are():
    """It is asked for the members, and for the draws beyond them."""
    study = problem()
    method = Cycled(study, RejectionABC(study.cycle(), trials=100, fraction=0.3), members=20)
    assert method.distinct == 50
    method.check_samples(50)
    for members, samples in ((20, 51), (31, 1)):
        with pytest.raises(ValueError, match="samples: 31 asked of the 30 that ABC keeps"):
            replace(method, members=members).check_samples(samples)
    assert Cycled(study, FourDVar(study.cycle())).distinct is None
