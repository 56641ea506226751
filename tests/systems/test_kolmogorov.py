"""The Kolmogorov flow: its exact solutions, budget, symmetries, order and derivatives, and an independent solver."""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import exp, pi

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from posterity.systems import Kolmogorov, Lorenz96, fused, jacobian
from posterity.systems.compiled import kernel
from posterity.systems.compiled.lanes import BYTES
from posterity.systems.compiled.plan import factors, roots
from posterity.systems.compiled.transforms import fourier
from posterity.systems.spectral import resolved, solenoidal, waves
from posterity.tensors import one_thread
from posterity.testing import check_system

#: Small, neither square nor even, integrated on another grid.
ODD = Kolmogorov(size=(11, 10), resolution=(15, 16), wavenumber=2, reynolds=50.0, dt=0.1, substeps=2, spinup=0.0)
PARAMETERS = {
    "reynolds": torch.tensor([50.0, 80.0], dtype=torch.float64),
    "drag": torch.tensor([0.1, 0.3], dtype=torch.float64),
    "forcing": torch.tensor([1.0, 2.0], dtype=torch.float64),
}


@pytest.fixture(params=("compiled", "torch"))
def loops(request, monkeypatch):
    """The fused step by compiled loops, and as it is elsewhere than on a CPU."""
    if request.param == "torch":
        monkeypatch.setattr(fused, "compiled", lambda: None)


def grid(height, width):
    """The positions y, as a column, and x."""
    return 2 * pi * torch.arange(height)[:, None] / height, 2 * pi * torch.arange(width) / width


def vorticity(x):
    """The vorticity of velocities on their own grid, and its coefficients."""
    height, width = x.shape[-2:]
    of_grid = waves(height, width, (resolved(height), resolved(width)))
    coefficients = of_grid.vorticity(x)
    coefficients[..., 0, 0] = 0
    return torch.fft.irfft(torch.fft.ifft(coefficients, dim=-2, norm="forward"), n=width, norm="forward"), coefficients


def divergence(x):
    """The divergence of velocities."""
    height, width = x.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height)[:, None]
    u, v = torch.fft.fft2(x).unbind(dim=-3)
    return torch.fft.ifft2(1j * torch.fft.fftfreq(width, 1 / width) * u + 1j * rows * v).real


def mean(x):
    return x.mean(dim=(-2, -1))


def energy(x):
    return mean(x.square().sum(dim=-3)) / 2


@pytest.mark.parametrize(("reynolds", "dt"), [(4.0, 0.1), (1000.0, 0.01)], ids=["stable", "unstable"])
def test_the_laminar_state_is_held(reynolds, dt):
    """u = A sin 4y, with A = F / (16 ν + drag), is stationary: 1e-12 after 100 steps.

    Where it is unstable rounding outgrows that in ten times as long.
    """
    amplitude = 1 / (16 / reynolds + 0.1)
    y, _ = grid(24, 24)
    x = torch.stack((amplitude * torch.sin(4 * y).expand(24, 24), torch.zeros(24, 24)))
    assert float((Kolmogorov(size=24, dt=dt, reynolds=reynolds).advance(x, 100) - x).abs().max()) < 1e-12


@pytest.mark.parametrize("shape", [(16, 16), (15, 20)])
def test_taylor_green_vortices_decay_as_they_do_in_theory(shape):
    """Waves of one length advect themselves into a gradient: they decay by exp(-(2 ν k² + drag) t) alone."""
    y, x = grid(*shape)
    vortices = torch.stack((torch.cos(2 * x) * torch.sin(2 * y), -torch.sin(2 * x) * torch.cos(2 * y)))
    system = Kolmogorov(size=shape, reynolds=40.0, drag=0.05, forcing=0.0, dt=0.5)
    decay = exp(-(2 * 4 / 40 + 0.05) * 1.5)
    torch.testing.assert_close(system.advance(vortices, 3), decay * vortices, rtol=1e-12, atol=1e-12)


def test_a_mean_flow_carries_all_along_and_is_dragged():
    """In a frame that moves with the mean flow, which decays by the drag, the flow is what it is without; unforced."""
    system = replace(ODD, forcing=0.0, drag=0.0, dt=2 * pi / 10 / 0.5, substeps=80)
    x = system.admissible(torch.randn(3, 2, 11, 10))
    x = x - x.mean(dim=(-2, -1), keepdim=True)
    wind = torch.tensor([0.5, 0.0])[:, None, None]
    # One step is the time in which the wind passes one point.
    torch.testing.assert_close(system.step(x + wind), system.step(x).roll(1, dims=-1) + wind, rtol=1e-6, atol=1e-6)
    dragged = replace(ODD, drag=0.2).step(x + wind)
    torch.testing.assert_close(mean(dragged), exp(-0.2 * 0.1) * wind.flatten().expand(3, 2))


def test_order_of_the_scheme():
    system = Kolmogorov(size=16, dt=0.4, reynolds=100.0, spinup=1.0)
    x = system.initial((4,))
    end = replace(system, substeps=512).step(x)
    errors = [float((replace(system, substeps=n).step(x) - end).norm()) for n in (8, 16, 32)]
    orders = [float(torch.tensor(a / b).log2()) for a, b in pairwise(errors)]
    assert orders == pytest.approx([4.0, 4.0], abs=0.35), orders


def test_the_budget_of_energy_closes():
    """dE/dt = <f·u> − 2 drag E − 2 ν Z along a trajectory, integrated by Simpson's rule."""
    system = Kolmogorov(size=24, reynolds=200.0, dt=0.02, spinup=2.0)
    x = system.rollout(system.initial((2,)), 50)
    y, _ = grid(24, 24)
    enstrophy = mean(vorticity(x)[0].square()) / 2
    gain = mean(torch.sin(4 * y) * x[..., 0, :, :]) - 0.2 * energy(x) - 2 / 200 * enstrophy
    simpson = torch.tensor([1.0] + [4.0, 2.0] * 24 + [4.0, 1.0]) * 0.02 / 3
    change = energy(x[:, -1]) - energy(x[:, 0])
    torch.testing.assert_close((simpson * gain).sum(dim=1), change, rtol=0, atol=1e-6)
    # The test means something: the terms are far from nothing.
    assert float(change.abs().min()) > 1e-3


@pytest.mark.parametrize("system", [ODD, Kolmogorov(size=16, dt=0.1, spinup=0.0)], ids=("odd", "square"))
def test_states_have_no_divergence(system):
    x = system.initial((3,))
    assert float(divergence(x).abs().max()) < 1e-12
    assert float(divergence(system.step(x)).abs().max()) < 1e-12
    torch.testing.assert_close(system.admissible(x), x)


def test_the_projection_takes_out_gradients_and_nothing_else():
    y, x = grid(9, 12)
    gradient = torch.stack((torch.cos(x) * torch.cos(2 * y), -2 * torch.sin(x) * torch.sin(2 * y)))
    solenoid = torch.stack((2 * torch.cos(x) * torch.cos(2 * y) + 0.3, torch.sin(x) * torch.sin(2 * y)))
    torch.testing.assert_close(solenoidal(gradient + solenoid), solenoid)
    any_field = torch.randn(2, 9, 12)
    projected = solenoidal(any_field)
    torch.testing.assert_close(solenoidal(projected), projected)
    assert float((projected * (any_field - projected)).sum().abs()) < 1e-12


def test_what_the_grid_cannot_advect_is_gone_after_a_step():
    """Divergence, Nyquist's waves, and those beyond a third of the fine grid: states are as if without them."""
    system = Kolmogorov(size=16, dt=0.1)
    x = torch.randn(3, 2, 16, 16)
    low = system.admissible(x)
    waves_of = torch.fft.fft2(low)
    k = torch.fft.fftfreq(16, 1 / 16).abs()
    low = torch.fft.ifft2(waves_of * ((k <= 5)[:, None] & (k <= 5))).real
    torch.testing.assert_close(system.step(x), system.step(low))


def test_resolution_refines_the_same_equations():
    """A smooth flow is the same on its own grid and on a finer one, up to the waves that the coarse grid drops."""
    system = Kolmogorov(size=48, dt=0.2, reynolds=4.0, spinup=0.0)
    y, x = grid(48, 48)
    smooth = torch.stack((torch.cos(2 * y + x), -torch.cos(2 * y + x) / 2)) + torch.tensor([0.2, 0.1])[:, None, None]
    torch.testing.assert_close(
        system.step(smooth), replace(system, resolution=(63, 64)).step(smooth), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("size", [16, (12, 9), (20, 16), (7, 10)])
def test_symmetries_commute_with_the_model(size):
    system = Kolmogorov(size=size, resolution=24, wavenumber=2, dt=0.1, spinup=0.0)
    x = system.initial((40,))
    torch.manual_seed(1)
    shuffled = system.shuffled(x)
    torch.manual_seed(1)
    torch.testing.assert_close(system.step(shuffled), system.shuffled(system.step(x)))
    assert float((shuffled - x).flatten(1).norm(dim=1).gt(1e-6).double().mean()) > 0.8
    assert system.shuffled(x[:, None]).shape == (40, 1, *system.shape)


def test_all_symmetries_of_the_grid_are_drawn():
    """Of 8 × 8 points and wave number 2: 8 shifts along x, 4 half periods along y, and the rotation."""
    system = Kolmogorov(size=8, wavenumber=2, resolution=12)
    x = torch.randn(2, 8, 8)
    drawn = {tuple(y.round(decimals=6).flatten().tolist()) for y in system.shuffled(x.expand(2000, 2, 8, 8))}
    assert len(drawn) == 64


def test_shifts_that_the_forcing_does_not_allow_are_not_symmetries():
    system = Kolmogorov(size=16, dt=0.1, spinup=0.0)
    x = system.initial((1,))
    assert float((system.step(x.roll(1, dims=-2)) - system.step(x).roll(1, dims=-2)).abs().max()) > 1e-3


#: What benchmarks/kolmogorov_reference.py prints.
FIRST = ((1, 2, 4.0, 0.3), (3, -1, 5.0, 1.1), (2, 3, -4.0, 2.0), (0, 4, 3.0, 0.7), (5, 1, 2.0, 0.2))
LAST = (
    (2.6709685, 0.4877430, -6.9234963, -10.1241250, -2.9913893, -1.5399943),
    (-7.1240530, -4.2845039, 1.7865322, 5.3167633, 3.5414532, 12.4134128),
    (-6.3463349, 11.4452903, 2.3303127, 4.2332193, -0.1381918, -4.0568031),
    (5.6320869, 3.3260072, -1.4095570, -1.8845981, -3.0925475, 5.9869534),
    (2.9611419, 2.1937491, 0.5548028, 9.7025375, 4.5812853, -5.0777864),
    (5.2312603, -1.2418277, 2.8108212, -2.6396576, -9.4462898, -0.0587513),
)


def test_an_independent_solver_agrees():
    """exponax (ETDRK4, vorticity, double precision) on the same waves, for one time unit."""
    y, x = grid(48, 48)
    first = sum(amplitude * torch.cos(k * x + m * y + phase) for k, m, amplitude, phase in FIRST)
    of_grid = waves(48, 48, (15, 15))
    velocity = of_grid.flow(torch.fft.fft(torch.fft.rfft(first, norm="forward")[:, :16], dim=0, norm="forward"))
    last, _ = vorticity(Kolmogorov(size=48, dt=1.0, substeps=200).step(velocity))
    expected = torch.tensor(LAST)
    error = (last[::8, ::8] - expected).norm() / expected.norm()
    assert float(error) < 1e-6


def parts(system, x):
    """A step as a function of states and parameters, in the two ways."""
    names = tuple(name for name in PARAMETERS if isinstance(getattr(system, name), torch.Tensor))

    def by_hand(x, *values):
        return replace(system, **dict(zip(names, values, strict=True))).stepper()(x)

    def eager(x, *values):
        return replace(system, **dict(zip(names, values, strict=True))).step(x)

    return by_hand, eager, (x, *(getattr(system, name) for name in names))


def test_the_landscape_is_what_the_forcing_makes_of_a_flow_at_rest() -> None:
    found = ODD.landscape
    assert found.shape == (1, *ODD.grid)
    u, v = ODD.step(torch.zeros(ODD.shape))
    torch.testing.assert_close(u / u.square().mean().sqrt(), found[0].to(u))
    assert float(v.abs().max()) < 1e-12
    assert Lorenz96(size=8).landscape.shape == (0, 8)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("system", [ODD, replace(ODD, **PARAMETERS)], ids=("numbers", "batched"))
def test_tangent_and_adjoint_are_those_of_the_step(system):
    by_hand, eager, arguments = parts(system, torch.randn(3, 2, 2, 11, 10))
    arguments = tuple(a.clone().requires_grad_() for a in arguments)
    torch.testing.assert_close(by_hand(*arguments), eager(*arguments))
    g = torch.randn(3, 2, 2, 11, 10)
    gradients = torch.autograd.grad((g * by_hand(*arguments)).sum(), arguments)
    torch.testing.assert_close(gradients, torch.autograd.grad((g * eager(*arguments)).sum(), arguments))
    directions = tuple(torch.randn_like(a) for a in arguments)
    _, tangent = torch.func.jvp(by_hand, arguments, directions)
    torch.testing.assert_close(tangent, torch.func.jvp(eager, arguments, directions)[1])
    # The tangent and its adjoint, by their products.
    products = sum(float((a * b).sum()) for a, b in zip(gradients, directions, strict=True))
    assert float((tangent * g).sum()) == pytest.approx(products, rel=1e-10)


@pytest.mark.usefixtures("loops")
def test_gradients_of_rollouts_with_errors_and_batched_parameters():
    names = tuple(PARAMETERS)
    small = replace(ODD, size=(6, 5), resolution=(7, 8), wavenumber=1)

    def trajectory(x0, errors, *values):
        return replace(small, **dict(zip(names, values, strict=True))).rollout(x0, 2, errors)

    arguments = (torch.randn(2, 2, 6, 5), 0.1 * torch.randn(2, 2, 2, 6, 5), *PARAMETERS.values())
    arguments = tuple(a.clone().requires_grad_() for a in arguments)
    assert torch.autograd.gradcheck(trajectory, arguments, check_forward_ad=True, fast_mode=True)


def test_one_parameter_for_a_whole_batch_has_the_gradient_of_all():
    system = replace(ODD, reynolds=torch.tensor(50.0))
    by_hand, eager, arguments = parts(system, torch.randn(3, 2, 11, 10))
    arguments = tuple(a.clone().requires_grad_() for a in arguments)
    for f in (by_hand, eager):
        assert torch.autograd.grad(f(*arguments).square().sum(), arguments)[1].shape == ()
    torch.testing.assert_close(
        *(torch.autograd.grad(f(*arguments).square().sum(), arguments) for f in (by_hand, eager))
    )


@pytest.mark.usefixtures("loops")
def test_forward_mode_through_duals():
    x, dx = torch.randn(2, 2, 11, 10), torch.randn(2, 2, 11, 10)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(ODD.advance(forward_ad.make_dual(x, dx), 2)).tangent
    torch.testing.assert_close(tangent, torch.func.jvp(lambda x: ODD.step(ODD.step(x)), (x,), (dx,))[1])


@pytest.mark.usefixtures("loops")
def test_jacobians_in_one_batch():
    small = replace(ODD, size=(5, 6), resolution=(7, 8), wavenumber=1, reynolds=torch.tensor([50.0, 80.0]))
    x = torch.randn(2, 2, 5, 6)
    torch.testing.assert_close(jacobian(small.stepper(), x, 3), jacobian(small.step, x, 3))
    columns = torch.func.vmap(partial(torch.func.jvp, small.stepper(), (x,)))(
        (torch.eye(60).reshape(60, 1, 2, 5, 6).expand(60, 2, 2, 5, 6),)
    )[1]
    torch.testing.assert_close(columns.flatten(2).permute(1, 2, 0), jacobian(small.step, x, 3)[1])


@pytest.mark.usefixtures("loops")
def test_second_derivatives_raise_and_are_not_zero():
    x = torch.randn(2, 11, 10, requires_grad=True)
    (gradient,) = torch.autograd.grad(ODD.stepper()(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        torch.autograd.grad(gradient.square().sum(), x)


def test_the_loops_are_those_of_the_step_in_single_precision():
    system = Kolmogorov(size=(11, 10), resolution=(24, 20), wavenumber=2, dt=0.1, substeps=2, spinup=0.0)
    x = system.initial((3,)).float()
    after = system.stepper()(x)
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, system.step(x))


def test_a_batch_shared_among_threads_is_what_it_is_on_one(monkeypatch):
    by_hand, _, arguments = parts(replace(ODD, **PARAMETERS), torch.randn(3, 2, 2, 11, 10))
    arguments = tuple(a.clone().requires_grad_() for a in arguments)

    def found():
        after = by_hand(*arguments)
        return (after, *torch.autograd.grad(after.square().sum(), arguments))

    with one_thread():
        alone = found()
    monkeypatch.setattr(kernel, "GRAIN", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    torch.testing.assert_close(found(), alone, rtol=0, atol=0)


def test_without_numba_flows_go_by_torch_and_say_so(monkeypatch):
    expected = ODD.stepper()(x := ODD.initial((2,)))
    monkeypatch.setitem(sys.modules, "posterity.systems.compiled", None)
    fused.compiled.cache_clear()
    try:
        with pytest.warns(UserWarning, match="without compiled loops"):
            assert fused.compiled() is None
        torch.testing.assert_close(ODD.stepper()(x), expected)
    finally:
        fused.compiled.cache_clear()


@pytest.mark.parametrize("points", [1, 2, 3, 4, 7, 12, 15, 16, 30, 64])
def test_transforms_of_any_length(points):
    """Both directions, against NumPy's; of constants nothing but the mean is left, to the last bit for 2 and 3."""
    re, im = np.random.default_rng(0).standard_normal((2, points, BYTES // 8))
    re[:, 0], im[:, 0] = 1.0, 0.0
    expected = np.fft.fft(re + 1j * im, axis=0)
    arrays = [part.ravel().copy() for part in (re, im, re, im)]
    plan = factors(points), roots(points).astype(np.float64)
    there = [part.reshape(points, -1) for part in fourier(*arrays, *plan)]
    np.testing.assert_allclose(there[0] + 1j * there[1], expected, atol=1e-13)
    if set(factors(points)) <= {2, 3, 4}:
        assert not there[0][1:, 0].any()
        assert not there[1][:, 0].any()
    arrays = [part.ravel().copy() for part in (*there, re, im)]
    back_im, back_re = fourier(arrays[1], arrays[0], arrays[3], arrays[2], *plan)
    np.testing.assert_allclose(back_re.reshape(points, -1) / points, re, atol=1e-14)
    np.testing.assert_allclose(back_im.reshape(points, -1) / points, im, atol=1e-14)


def test_batches_larger_than_a_tile(monkeypatch):
    system = replace(ODD, **PARAMETERS)
    monkeypatch.setattr(fused, "compiled", lambda: None)
    by_hand, eager, arguments = parts(system, torch.randn(5, 2, 2, 11, 10))
    arguments = tuple(a.clone().requires_grad_() for a in arguments)
    monkeypatch.setitem(fused.TILE, "cpu", 3 * 15 * 16)
    torch.testing.assert_close(by_hand(*arguments), eager(*arguments))
    for f in (by_hand, eager):
        f(*arguments).square().sum().backward()
    with forward_ad.dual_level():
        dual = by_hand(forward_ad.make_dual(arguments[0].detach(), torch.ones(5, 2, 2, 11, 10)), *arguments[1:])
        assert forward_ad.unpack_dual(dual).tangent.shape == (5, 2, 2, 11, 10)


@pytest.mark.usefixtures("loops")
def test_what_is_not_finite_stays_in_its_batch_element():
    x = ODD.initial((3,))
    spoiled = x.clone()
    spoiled[1, 0, 2, 3] = torch.nan
    after = ODD.advance(spoiled.requires_grad_(), 2)
    assert after[1].isnan().any()
    torch.testing.assert_close(after[[0, 2]], ODD.advance(x, 2)[[0, 2]])
    (gradient,) = torch.autograd.grad(after[[0, 2]].sum(), spoiled)
    assert gradient[[0, 2]].isfinite().all()


@pytest.mark.usefixtures("loops")
def test_only_states_are_kept_for_the_adjoint():
    """Of a rollout, the tape holds each state once: the stages of 40 substeps are not on it."""
    system = replace(ODD, substeps=40)
    kept: dict[int, int] = {}

    def note(saved):
        kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
        return saved

    x = torch.randn(8, 2, 11, 10, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        trajectory = system.rollout(x, 5)
    states = 5 * x.numel() * x.element_size()
    constants = 2 * 15 * 6 * 16
    assert sum(kept.values()) <= states + constants
    assert trajectory.requires_grad
    assert system.kept(x.device) == 1.0


def test_a_system_keeps_what_a_plug_in_must():
    check_system(Kolmogorov(size=(9, 8), resolution=15, dt=0.1, spinup=1.0))


def test_the_start_of_the_ensemble_has_the_spectrum_of_the_literature():
    x = Kolmogorov(size=48, spinup=0.0).initial((64,))
    assert x.square().sum(dim=1).amax(dim=(1, 2)).sqrt().allclose(torch.tensor(3.0))
    _, w = vorticity(x)
    rows, columns = torch.fft.fftfreq(48, 1 / 48)[:, None], torch.arange(24)
    k = (rows.square() + columns.square()).sqrt()
    # Energies of waves in rings of the plane, against squares of a log-normal density of k over k.
    found = w.abs().square().mean(dim=0) / k.square()
    theory = ((-((4 * exp(0.25) / k).log().square()) / 0.5).exp() / k.square()).square()
    weight = torch.where(columns == 0, 1.0, 2.0)
    rings = [(k - n).abs() < 0.5 for n in range(1, 12)]
    ratio = torch.stack([(weight * found)[ring].sum() / (weight * theory)[ring].sum() for ring in rings])
    assert float((ratio / ratio.mean() - 1).abs().max()) < 0.25, ratio


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size: 8 × 8 points.*up to 2 and 2.*forcing, 4"),
        ({"size": (64, 64, 64)}, "size: one number of points, or those along y and x"),
        ({"size": 64, "resolution": (96, 48)}, "resolution: the grid of the integration must have"),
        ({"reynolds": 0.0}, "reynolds: .* positive and finite"),
        ({"drag": -0.1}, "drag: .* not be negative"),
        ({"wavenumber": 0}, "wavenumber: "),
        ({"dt": 0.0}, "dt: "),
        ({"substeps": 0}, "substeps: "),
        ({"spinup": -1.0}, "spinup: "),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Kolmogorov(**arguments)
