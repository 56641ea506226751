"""Neurons: trajectories of another simulator, orders, exact limits, gates, noise and time."""

from dataclasses import replace
from math import exp

import pytest
import torch

from posterity.systems import (
    Chaotic,
    FitzHughNagumo,
    Lorenz63,
    NaKL,
    RamsayFitzHughNagumo,
    Recorded,
    RegularSpiking,
    Step,
    StochasticFitzHughNagumo,
)
from posterity.systems.neurons.stimuli import lorenz
from posterity.testing import check_system

#: Below, what benchmarks/neurons_reference.py prints.

#: The cortical cell from 16 ms on, every half; conductances of 50 and 5 mS/cm².
FIRING = (
    (-55.8886646, 0.0321214, 0.9957406, 0.0481004, 0.0307741),
    (-54.9325233, 0.038401, 0.9946761, 0.0557611, 0.0310517),
    (-53.9456961, 0.0459053, 0.9933677, 0.0643398, 0.0313566),
    (-52.8719133, 0.0553169, 0.9917292, 0.074127, 0.0316924),
    (-51.5929625, 0.0682354, 0.9895919, 0.0857459, 0.0320665),
    (-49.7799366, 0.0894784, 0.986532, 0.1007772, 0.0324958),
    (-45.7309209, 0.1452199, 0.980668, 0.1254113, 0.0330409),
    (48.2447529, 0.9841423, 0.4955783, 0.4198317, 0.0565335),
    (10.3877887, 0.9995413, 0.067628, 0.8281992, 0.1602967),
    (-48.2363879, 0.400757, 0.0522348, 0.7844241, 0.1660376),
    (-71.4613754, 0.0028616, 0.2325999, 0.5530828, 0.1655751),
    (-73.648618, 0.0007301, 0.454422, 0.3549411, 0.1647119),
    (-72.6785197, 0.0008737, 0.6130246, 0.2279289, 0.1638476),
    (-71.2680451, 0.0012006, 0.7190446, 0.1491273, 0.1630497),
    (-69.8460424, 0.0016599, 0.7909452, 0.0999902, 0.1623218),
    (-68.4834439, 0.0022605, 0.8409395, 0.0691541, 0.1616582),
    (-67.1902338, 0.0030232, 0.8765502, 0.0498223, 0.1610527),
)

#: The same with conductances of 20 and 1 mS/cm².
SLUGGISH = (
    (-55.9757982, 0.0316468, 0.9957715, 0.0478319, 0.0307706),
    (-55.0865996, 0.0374242, 0.9947442, 0.0552201, 0.031045),
    (-54.2154278, 0.0439304, 0.9935141, 0.0632753, 0.0313437),
    (-53.3469857, 0.0513192, 0.9920419, 0.0720556, 0.0316679),
    (-52.4586489, 0.0598679, 0.9902716, 0.0816756, 0.0320197),
    (-51.5141775, 0.0700966, 0.9881156, 0.092354, 0.0324021),
    (-50.4484033, 0.0830559, 0.9854212, 0.104515, 0.0328208),
    (-49.1220601, 0.101183, 0.9818788, 0.1190484, 0.0332864),
    (-47.1395025, 0.1317961, 0.976678, 0.1381894, 0.0338239),
    (-42.4209959, 0.214063, 0.9659072, 0.1707103, 0.0345259),
    (30.609401, 0.9747242, 0.4651784, 0.4228022, 0.0450259),
    (34.0227935, 0.9999914, 0.0632034, 0.8412911, 0.1516681),
    (-0.0207903, 0.9960978, 0.0100377, 0.9112404, 0.1870934),
    (-26.7778721, 0.8046354, 0.013335, 0.8661539, 0.1930125),
    (-39.2632327, 0.4188662, 0.047979, 0.7651352, 0.1943113),
    (-45.749696, 0.2009048, 0.1053908, 0.6462538, 0.1946861),
    (-48.80067, 0.1206859, 0.1749449, 0.5334441, 0.1947723),
)

#: The NaKL neuron, every half millisecond.
NAKL = (
    (-70.0, 0.05, 0.6, 0.4),
    (-61.0529603, 0.0436275, 0.6047861, 0.3943611),
    (-54.1005067, 0.0942003, 0.5929557, 0.3995248),
    (-41.6150167, 0.2122114, 0.5548305, 0.4159714),
    (43.9596627, 0.9693411, 0.3693033, 0.5667996),
    (28.8574908, 0.9997249, 0.2240034, 0.7308345),
    (6.2396316, 0.9987134, 0.1359705, 0.8217485),
    (-15.5243853, 0.9790569, 0.0838306, 0.8586826),
    (-36.2150362, 0.8498977, 0.0616862, 0.8610816),
    (-66.1868927, 0.2737397, 0.0750714, 0.8372676),
    (-73.5784121, 0.015904, 0.1506777, 0.7763919),
    (-72.6604872, 0.0123489, 0.2242362, 0.7193237),
    (-71.4435487, 0.0143039, 0.2834392, 0.6710016),
    (-70.0790389, 0.0170118, 0.3302787, 0.6305496),
    (-68.6135883, 0.0205087, 0.3668406, 0.5970251),
    (-67.0961458, 0.0248973, 0.3949901, 0.5695313),
    (-65.5744966, 0.0302423, 0.4163148, 0.5472382),
)

#: FitzHugh's form, every second unit of time.
FITZHUGH = (
    (-1.0, 1.0),
    (-1.8507162, 0.7352911),
    (-1.7502123, 0.4813211),
    (-1.6394419, 0.2742766),
    (-1.5296709, 0.108662),
    (-1.4200103, -0.0205926),
    (-1.3088756, -0.1177607),
    (-1.1935058, -0.1862854),
    (-1.0683317, -0.2285989),
    (-0.9195956, -0.2454957),
    (-0.7011594, -0.2337305),
    (-0.1551101, -0.1725841),
    (1.6825099, 0.0641467),
    (1.7965938, 0.4348608),
    (1.6424816, 0.7459404),
    (1.474022, 0.9954104),
    (1.2804153, 1.18792),
    (1.0249032, 1.3242644),
    (0.5347626, 1.3924556),
    (-1.4407124, 1.2907015),
    (-1.945284, 0.957476),
)

#: Ramsay's form, every unit of time.
RAMSAY = (
    (-1.0, 1.0),
    (1.6579079, 0.878114),
    (1.8525537, 0.1835273),
    (1.5904732, -0.342106),
    (1.2801856, -0.7002491),
    (0.7772497, -0.8859593),
    (-1.6642025, -0.6702315),
    (-1.7626275, 0.0321534),
    (-1.4497048, 0.5514034),
    (-0.9977913, 0.8780098),
    (0.8806408, 0.8856694),
    (1.8700714, 0.2282359),
    (1.6103834, -0.3100222),
    (1.3056107, -0.6799083),
    (0.8316656, -0.8796389),
    (-1.4534738, -0.7185131),
    (-1.7830025, -0.0126583),
    (-1.4747492, 0.5203531),
    (-1.0417938, 0.8615739),
    (0.5594955, 0.9112743),
    (1.8875624, 0.2739213),
)


SMALL = [
    FitzHughNagumo(spinup=1.0),
    RamsayFitzHughNagumo(spinup=1.0, substeps=2),
    StochasticFitzHughNagumo(dt=0.01, substeps=2, spinup=0.05),
    NaKL(dt=0.05, substeps=2, spread=1.0),
    RegularSpiking(dt=0.05, substeps=2, spread=1.0, spinup=0.1, stimulus=Step(begin=0.0)),
]


@pytest.mark.parametrize("system", SMALL, ids=lambda s: type(s).__name__)
def test_what_is_taken_for_granted(system):
    check_system(system)


@pytest.mark.parametrize(
    ("system", "start", "expected", "every"),
    [
        (FitzHughNagumo(dt=0.05), (-1.0, 1.0), FITZHUGH, 40),
        (RamsayFitzHughNagumo(dt=0.02), (-1.0, 1.0), RAMSAY, 50),
    ],
)
def test_fitzhugh_nagumo_is_that_of_brian(system, start, expected, every):
    x = system.rollout(torch.tensor(start), every * (len(expected) - 1))[::every]
    torch.testing.assert_close(x, torch.tensor(expected), rtol=0, atol=1e-5)


def extrapolated(system, x0, steps, first=0):
    """The trajectory in the limit of short steps, from two lengths, for a scheme whose error has even powers only."""
    lengths = (replace(system, substeps=factor * system.substeps) for factor in (1, 2))
    coarse, fine = (system.at(first).rollout(x0, steps) for system in lengths)
    return (4 * fine - coarse) / 3


def test_cortical_cells_are_those_of_brian():
    """Two cells at once, through a spike each, to a thousandth of a millivolt."""
    expected = torch.tensor((FIRING, SLUGGISH))
    system = RegularSpiking(g_na=torch.tensor([50.0, 20.0]), g_k=torch.tensor([5.0, 1.0]), substeps=40)
    error = (extrapolated(system, expected[:, 0], 16, first=32) - expected).abs().amax(dim=(0, 1))
    assert float(error[0]) < 1e-3
    assert float(error[1:].max()) < 1e-5


def test_a_nakl_neuron_is_that_of_brian():
    expected = torch.tensor(NAKL)
    system = NaKL(substeps=40, stimulus=Step(20.0, begin=0.0))
    error = (extrapolated(system, expected[0], 16) - expected).abs().amax(dim=0)
    assert float(error[0]) < 1e-3
    assert float(error[1:].max()) < 1e-5


def test_the_two_forms_of_fitzhugh_nagumo_are_one_system():
    r"""R = I − w, with ε = 1/c² and time in units of c."""
    driven = FitzHughNagumo(epsilon=0.08, a=0.7, b=0.8, current=0.5, dt=0.1)
    c = 0.08**-0.5
    ramsay = RamsayFitzHughNagumo(a=0.8 * 0.5 - 0.7, b=0.8, c=c, dt=0.1 / c)
    x = torch.randn(4, 2)
    v, w = driven.rollout(x, 100).unbind(dim=-1)
    mapped = ramsay.rollout(torch.stack((x[:, 0], 0.5 - x[:, 1]), dim=-1), 100)
    torch.testing.assert_close(mapped, torch.stack((v, 0.5 - w), dim=-1))


@pytest.mark.parametrize("system", [NaKL(dt=0.4, stimulus=Step(5.0, begin=0.0)), RegularSpiking(dt=0.4, spread=5.0)])
def test_the_splitting_is_of_second_order(system):
    x = replace(system, spinup=1.0, substeps=4).initial((8,))
    reference = replace(system, substeps=256).step(x)
    coarse, fine = ((replace(system, substeps=n).step(x) - reference).square().mean(dim=0).sqrt() for n in (8, 16))
    assert ((coarse / fine).log2() - 2).abs().max() < 0.1


def test_a_membrane_without_gates_is_exact():
    """V' = (g (E − V) + I) / C, with a current that starts between two substeps."""
    system = RegularSpiking(g_na=0.0, g_k=0.0, g_m=0.0, capacitance=2.0, stimulus=Step(3.0, begin=1.0, end=50.0))
    x = system.initial((2,)) + 4.0
    v = system.rollout(x, 10)[:, -1, 0]
    before = -70 + 4 * exp(-0.05)
    after = -40 + (before + 40) * exp(-0.2)
    torch.testing.assert_close(v, torch.full((2,), after))


@pytest.mark.parametrize("system", [NaKL(dt=3.0, substeps=1), RegularSpiking(dt=3.0, substeps=1, spread=20.0)])
def test_gates_stay_where_gates_can_be(system):
    """With steps a hundred times too long: voltages stay between the reversal potentials that the current moves."""
    x = system.rollout(system.initial((50,)), 30)
    assert ((x[..., 1:] >= 0) & (x[..., 1:] <= 1)).all()
    assert x.isfinite().all()
    outside = torch.cat((x[..., :1], 3 * x[..., 1:] - 1), dim=-1)
    inside = system.admissible(outside)
    assert ((inside[..., 1:] >= 0) & (inside[..., 1:] <= 1)).all()
    torch.testing.assert_close(system.admissible(x), x)


def test_a_neuron_rests_at_its_fixed_point():
    system = RegularSpiking(stimulus=Step(begin=1e6, end=2e6), spinup=2000.0, substeps=1, dt=5.0)
    x = system.initial(())
    torch.testing.assert_close(system.step(x), x, rtol=0, atol=1e-4)
    assert -75 < float(x[0]) < -68


def coarsened(noise, delta, factor):
    """The noise of substeps ``factor`` times as long on the same Brownian path."""
    first, second = noise.unbind(dim=-2)
    dw = (delta**0.5 * first).unflatten(-1, (-1, factor))
    dz = (0.5 * delta**1.5 * (first + second / 3**0.5)).unflatten(-1, (-1, factor))
    before = dw.cumsum(dim=-1) - dw
    long = factor * delta
    w = dw.sum(dim=-1) / long**0.5
    z = (dz + delta * before).sum(dim=-1) / long**1.5
    return torch.stack((w, 3**0.5 * (2 * z - w)), dim=-2)


def test_the_stochastic_scheme_is_of_strong_order_three_halves():
    """Against a fine path with the same Brownian motion; and the noise of long substeps is white again."""
    fine = StochasticFitzHughNagumo(substeps=1024, dt=0.8, epsilon=0.5, sigma=1.0)
    x, noise = 0.5 * torch.randn(64, 2), torch.randn(64, 2, 1024)
    reference = fine.transition(x, noise)
    factors = [8, 16, 32, 64]
    sizes = []
    for factor in factors:
        coarse = coarsened(noise, fine.dt / fine.substeps, factor)
        system = replace(fine, substeps=fine.substeps // factor)
        sizes.append((system.transition(x, coarse) - reference).square().mean(dim=0).sqrt())
    slopes = (torch.stack(sizes[1:]) / torch.stack(sizes[:-1])).log2()
    assert (slopes > 1.5).all()
    covariance = coarsened(torch.randn(4000, 2, 64), 0.01, 64).squeeze(-1).T.cov()
    assert float((covariance - torch.eye(2)).abs().max()) < 0.1


def test_the_recovery_alone_is_an_ornstein_uhlenbeck_process():
    """Without a slope its mean and variance over a step are known: (1 − exp(−2 t)) σ² / 2."""
    system = StochasticFitzHughNagumo(gamma=0.0, sigma=0.5, beta=0.3, substeps=50, dt=0.4)
    x, noise = torch.tensor([0.2, 1.0]), torch.zeros(2, 50)
    jacobian = torch.func.jacrev(lambda noise: system.transition(x, noise)[1])(noise)
    mean, variance = system.transition(x, noise)[1], jacobian.square().sum()
    assert float(mean) == pytest.approx(0.3 + 0.7 * exp(-0.4), rel=1e-5)
    assert float(variance) == pytest.approx(0.5**2 * (1 - exp(-0.8)) / 2, rel=1e-4)


def test_a_stochastic_step_draws_noise_for_each_element_and_step():
    system = StochasticFitzHughNagumo(dt=0.02, substeps=2)
    x = system.initial((1,)).expand(400, 2)
    moved = system.step(x)
    assert not torch.equal(moved[0], moved[1])
    assert not torch.equal(system.step(x), moved)
    noise = torch.randn(3, 5, *system.noise_shape)
    path = system.rollout(x[:3], 5, noise)
    later = system.rollout(path[:, 2], 3, noise[:, 2:])
    torch.testing.assert_close(later, path[:, 2:])
    torch.testing.assert_close(system.rollout(x[:3], 3, noise), path[:, :4])
    torch.manual_seed(1)
    drawn = system.rollout(x, 3)
    torch.manual_seed(1)
    torch.testing.assert_close(system.rollout(x, 3, torch.randn(400, 3, *system.noise_shape)), drawn)


@pytest.mark.parametrize("stimulus", [Step(begin=1.0, end=2.0), Chaotic(tempo=2.0)])
def test_time_goes_on_from_the_clock(stimulus):
    system = NaKL(stimulus=stimulus, substeps=4)
    x = system.initial((3,))
    path = system.rollout(x, 8)
    torch.testing.assert_close(system.at(3).rollout(path[:, 3], 5), path[:, 3:])
    torch.testing.assert_close(system.at(3).advance(path[:, 3], 5), path[:, 8])
    assert not torch.allclose(system.rollout(path[:, 3], 5), path[:, 3:])
    starts = torch.tensor([0.0, 2.0, 5.0])
    each = torch.stack([path[i, int(start)] for i, start in enumerate(starts)])
    moved = system.at(starts).step(each)
    torch.testing.assert_close(moved, torch.stack([path[i, int(start) + 1] for i, start in enumerate(starts)]))
    torch.testing.assert_close(system.advance_each(x, starts, 5), each)
    # Parameters are put in before the time.
    assert system.at(3).clock == 3
    assert Lorenz63().at(3) == Lorenz63()


def test_a_chaotic_current_is_a_lorenz_system():
    """At the points of its table, and between them, where a step of half the length is as good."""
    stimulus = Chaotic(mean=2.0, scale=0.5, tempo=10.0, duration=200.0)
    x, y, z = torch.randn(3, generator=torch.Generator().manual_seed(0)).tolist()
    path = Lorenz63(dt=0.02).rollout(torch.tensor(lorenz((x, y, z + 25.0), 1001)[-1]), 150)
    time = 0.2 * torch.arange(151)
    torch.testing.assert_close(stimulus(time), 2.0 + 0.5 * path[:, 0])
    between = Lorenz63(dt=0.01).step(path)[:, 0]
    torch.testing.assert_close(stimulus(time + 0.1), 2.0 + 0.5 * between, rtol=0, atol=1e-3)
    torch.testing.assert_close(stimulus(time.float()).double(), stimulus(time), rtol=0, atol=1e-3)
    assert torch.equal(stimulus(torch.tensor([-0.1, 200.0])), torch.zeros(2))
    assert not torch.equal(replace(stimulus, seed=1)(time), stimulus(time))


def test_a_recorded_current_is_that_of_its_file(tmp_path):
    """In seconds and picoamperes, with a heading; a cell under it moves as under the same step."""
    file = tmp_path / "current.csv"
    file.write_text("time (s),current (pA)\n0,0\n0.001,0\n0.0010001,50\n0.005,50\n")
    stimulus = Recorded(str(file), time_unit=1000.0, scale=0.1)
    time = torch.tensor([-1.0, 0.5, 1.00005, 2.0, 5.0, 5.1])
    torch.testing.assert_close(stimulus(time), torch.tensor([0.0, 0.0, 2.5, 5.0, 5.0, 0.0]))
    x = torch.tensor([-65.0, 0.05, 0.6, 0.3])
    cells = (NaKL(stimulus=current, substeps=4) for current in (stimulus, Step(5.0, begin=1.0)))
    torch.testing.assert_close(*(cell.rollout(x, 8) for cell in cells))
    # One time for a batch, and single precision.
    assert stimulus(torch.tensor(2.0, dtype=torch.float)) == 5.0


@pytest.mark.parametrize("rows", ["time,current\n0,1\n", "0,1\n0,2\n", "0,1\n1,\n2,3\n", "0;1\n1;2\n"])
def test_a_recorded_current_needs_times_that_increase(tmp_path, rows):
    file = tmp_path / "current.csv"
    file.write_text(rows)
    with pytest.raises(ValueError, match=r"file: .*current.csv needs two columns of numbers"):
        Recorded(str(file))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FitzHughNagumo(start=(1.0,)), "start: needs a voltage and a recovery"),
        (lambda: FitzHughNagumo(spread=-1.0), "spread: the standard deviation must not be negative"),
        (lambda: StochasticFitzHughNagumo(substeps=0), "substeps: at least one"),
        (lambda: NaKL(dt=0.0), "dt: the time between states must be positive"),
        (lambda: NaKL(stimulus="step"), "stimulus: must be of kind step, chaotic or recorded"),
        (lambda: Step(begin=3.0, end=2.0), "begin, end: a step needs"),
        (lambda: Recorded("none.csv"), "file: there is no none.csv; a relative path counts from /"),
        (lambda: Chaotic(tempo=0.0), "tempo, duration: must be positive"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
