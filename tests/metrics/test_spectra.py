"""Quantities of states on periodic grids and their spectra: waves of which all is known, and Parseval's identity."""

from collections.abc import Sequence

import numpy as np
import pytest
import xarray as xr

from posterity.errors import PosterityError
from posterity.metrics import derivative, divergence, evaluate, length, quantities, quantity, resolved, spectrum

#: Grids with even, odd and unequal axes, and their lengths.
GRIDS = [((8, 8), (2 * np.pi, 2 * np.pi)), ((6, 9), (3.0, 5.0)), ((7, 5), (1.0, 1.0)), ((12, 4), (2.0, 7.0))]


def on_grid(values: np.ndarray, lengths: Sequence[float], channels: Sequence[str]) -> xr.DataArray:
    """States ``(case, channel, *grid)`` on a domain of some lengths."""
    axes = ("y", "x")[-len(lengths) :]
    sites = {
        name: (name, np.arange(size), {"length": extent})
        for name, size, extent in zip(axes, values.shape[-len(lengths) :], lengths, strict=True)
    }
    return xr.DataArray(values, dims=("case", "channel", *axes), coords={"channel": list(channels), **sites})


def noise(sizes: Sequence[int], channels: int = 2, cases: int = 3) -> np.ndarray:
    """White noise about one."""
    return 1 + np.random.default_rng(0).standard_normal((cases, channels, *sizes))


@pytest.mark.parametrize(("sizes", "lengths"), GRIDS)
def test_energy_and_enstrophy_add_up_to_those_of_the_field(sizes, lengths) -> None:
    state = on_grid(noise(sizes, 3), lengths, ("u", "v", "h"))
    found = spectrum(state).sum("wavenumber")
    assert found["field"].values.tolist() == ["energy", "enstrophy", "h"]
    u, v, h = state.transpose("channel", ...)
    grid = ["y", "x"]
    np.testing.assert_allclose(found.sel(field="energy"), 0.5 * (u**2 + v**2).mean(grid), rtol=1e-12)
    np.testing.assert_allclose(found.sel(field="enstrophy"), 0.5 * (quantity(state) ** 2).mean(grid), rtol=1e-12)
    np.testing.assert_allclose(found.sel(field="h"), (h**2).mean(grid), rtol=1e-12)


@pytest.mark.parametrize("size", [16, 15])
def test_on_a_ring_it_is_the_power_of_each_wave(size) -> None:
    state = on_grid(noise((size,), 2), (size,), ("u", "v"))
    found = spectrum(state)
    assert found["field"].values.tolist() == ["u", "v"]
    assert found.sizes["wavenumber"] == size // 2 + 1
    # The highest wave of an even number of sites has one phase only.
    assert resolved({"x": size}, {"x": float(size)}) == 8
    np.testing.assert_allclose(found.sum("wavenumber"), (state**2).mean("x"), rtol=1e-12)
    power = np.abs(np.fft.fft(state.values)[..., 3] / size) ** 2
    np.testing.assert_allclose(found.isel(wavenumber=3), 2 * power, rtol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "lengths", "wave", "shell"),
    [
        ((8, 8), (1.0, 1.0), (0, 3), 3),
        ((8, 8), (1.0, 1.0), (3, 0), 3),
        ((8, 8), (1.0, 1.0), (-2, 2), 3),  # 2.83
        ((9, 16), (1.0, 1.0), (4, 7), 8),  # 8.06
        ((8, 16), (0.5, 1.0), (2, 1), 4),  # two waves on half the length: 4 and 1, 4.12
        ((8, 8), (1.0, 1.0), (4, 4), 6),  # the corner, 5.66
    ],
)
def test_a_wave_falls_into_its_shell(sizes, lengths, wave, shell) -> None:
    y, x = np.meshgrid(*(np.arange(size) / size for size in sizes), indexing="ij")
    values = np.cos(2 * np.pi * (wave[0] * y + wave[1] * x))
    found = spectrum(on_grid(values[None, None], lengths, ("h",)))[0, 0]
    expected = np.zeros(found.size)
    expected[shell] = (values**2).mean()
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_shells_are_whole_up_to_the_highest_wave_of_the_coarsest_axis() -> None:
    assert resolved({"y": 8, "x": 8}, {"y": 1.0, "x": 1.0}) == 4
    assert resolved({"y": 9, "x": 16}, {"y": 1.0, "x": 1.0}) == 5
    assert resolved({"y": 8, "x": 16}, {"y": 0.5, "x": 1.0}) == 7


def test_vorticity_of_a_vortex_and_its_sign() -> None:
    """Of u = −sin y, v = sin x, the vorticity is cos x + cos y; grid and lengths differ along both axes."""
    y, x = np.meshgrid(np.arange(8) * 3.0 / 8, np.arange(10) * 5.0 / 10, indexing="ij")
    ky, kx = 2 * np.pi / 3.0, 2 * np.pi / 5.0
    state = on_grid(np.stack([-np.sin(ky * y), np.sin(kx * x)])[None], (3.0, 5.0), ("u", "v"))
    state.attrs["units"] = "m/s"
    found = quantity(state)
    np.testing.assert_allclose(found[0], ky * np.cos(ky * y) + kx * np.cos(kx * x), atol=1e-12)
    assert (found.name, found.attrs["units"]) == ("vorticity", "m/s per unit of length")
    state["x"].attrs["units"] = "m"
    assert quantity(state).attrs["units"] == "m/s / m"


def test_quantities_follow_the_names_of_channels() -> None:
    layers = on_grid(noise((4, 6), 5), (1.0, 1.0), ("u1", "v1", "u2", "v2", "h"))
    assert quantities(layers) == ["vorticity1", "vorticity2", "speed1", "speed2", "u1", "v1", "u2", "v2", "h"]
    second = layers.isel(channel=[2, 3]).assign_coords(channel=["u", "v"])
    xr.testing.assert_allclose(quantity(layers, "vorticity2"), quantity(second).rename("vorticity2"))
    np.testing.assert_allclose(quantity(layers, "speed2"), np.hypot(layers[:, 2], layers[:, 3]))
    xr.testing.assert_equal(quantity(layers, "h"), layers.isel(channel=4, drop=True).rename("h"))
    assert quantities(on_grid(noise((4, 6), 2), (1.0, 1.0), ("h", "v"))) == ["h", "v"]
    assert quantity(on_grid(noise((4,), 2), (1.0,), ("u", "v"))).name == "u"
    with pytest.raises(PosterityError, match=r"figures\.quantity: .* 'vortisity1'; did you mean 'vorticity1'"):
        quantity(layers, "vortisity1")


def test_lengths_are_said_or_follow_from_the_places() -> None:
    field = xr.DataArray(np.zeros((4, 5)), dims=("y", "x"))
    assert (length(field, "y"), length(field, "x")) == (4, 5)
    assert length(field.assign_coords(x=[10.0, 12.0, 14.0, 16.0, 18.0]), "x") == 10
    assert length(field.assign_coords(x=list("abcde")), "x") == 5
    assert length(field.assign_coords(x=("x", np.arange(5), {"length": 2.5})), "x") == 2.5


def test_derivatives_are_lazy_and_keep_the_order_of_dimensions() -> None:
    field = on_grid(noise((6, 9)), (1.0, 2.0), ("u", "v"))
    for axis in ("y", "x"):
        found = derivative(field.chunk(y=2, x=3), axis)
        assert found.chunks is not None
        assert found.dims == field.dims
        xr.testing.assert_allclose(found.compute(), derivative(field, axis))


def studied(ensemble, **changes: float) -> tuple[xr.Dataset, xr.Dataset]:
    """A twin and draws of velocities about its truth."""
    state, truth = ensemble(grid=(6, 7), **changes)
    names = {"channel": ["u", "v"]}
    twin = xr.Dataset({"state": truth, "observation": truth.rename(channel="obs_channel", y="obs_y", x="obs_x")})
    twin["observation_std"] = xr.ones_like(twin["observation"])
    return twin, xr.Dataset({"state": state.assign_coords(names)})


def test_the_spectra_of_error_and_spread_add_up_to_rmse_and_spread(ensemble) -> None:
    twin, posterior = studied(ensemble, samples=7, cases=3)
    found = evaluate(twin, posterior)
    energy = found.sel(field="energy").sum("wavenumber")
    np.testing.assert_allclose(energy["error_spectrum"], found["rmse"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(energy["spread_spectrum"], found["spread"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(energy["truth_spectrum"], (twin["state"] ** 2).mean(["channel", "y", "x"]), rtol=1e-12)
    each = spectrum(posterior["state"])
    np.testing.assert_allclose(found["spectrum"], each.mean("sample"), rtol=1e-12)
    np.testing.assert_allclose(found["spectrum_quantile"].isel(quantile=1), each.quantile(0.95, "sample"), rtol=1e-12)
    assert found["spectrum"].dims == ("case", "time", "field", "wavenumber")


def test_of_a_calibrated_ensemble_spread_and_error_agree_at_every_wave(ensemble) -> None:
    found = evaluate(*studied(ensemble, samples=20, cases=400))
    ratio = (21 / 20 * found["spread_spectrum"] / found["error_spectrum"].mean(["case", "time"])).mean(["case", "time"])
    # Shells have two waves at least, so that 800 states leave errors of some four per cent.
    np.testing.assert_allclose(ratio.isel(wavenumber=slice(1, None)), 1, atol=0.1)


def test_spectra_of_a_reference_of_one_draw_and_without_a_grid(ensemble) -> None:
    twin, posterior = studied(ensemble, samples=6, cases=2)
    found = evaluate(twin, posterior, posterior.assign_coords(run=("sample", np.arange(6) // 3)))
    xr.testing.assert_allclose(found["reference_spectrum"], found["spectrum"])
    alone = evaluate(twin, posterior.isel(sample=[0]))
    assert alone["spread_spectrum"].isnull().all()
    xr.testing.assert_allclose(alone["spectrum"], alone["spectrum_quantile"].isel(quantile=0, drop=True))
    flat = {"y": 0, "x": 0, "obs_y": 0, "obs_x": 0}
    bare = evaluate(twin.isel(flat, drop=True), posterior.isel({"y": 0, "x": 0}, drop=True))
    assert not [name for name in bare if "spectrum" in str(name)]


def test_a_missing_draw_takes_the_spectra_of_its_case_alone(ensemble) -> None:
    twin, posterior = studied(ensemble, samples=4, cases=3)
    posterior["state"][1, 2] = np.nan
    found = evaluate(twin, posterior)
    for name in ("spectrum", "spectrum_quantile", "spread_spectrum", "error_spectrum"):
        assert found[name].isel(case=1).isnull().all()
        assert found[name].isel(case=[0, 2]).notnull().all()


def test_the_divergence_of_a_flow_is_between_none_and_all_of_its_gradient() -> None:
    """Of a stream function there is none, of a potential it is all, and squares of both add up."""
    y, x = (2 * np.pi * np.arange(size) / size for size in (8, 12))
    around = np.stack(np.broadcast_arrays(-2 * np.cos(2 * y)[:, None], np.cos(x)[None]))
    along = np.stack(np.broadcast_arrays(np.cos(x)[None], -2 * np.sin(2 * y)[:, None]))
    coords = {"channel": ["u", "v"], "y": ("y", y, {"length": 2 * np.pi}), "x": ("x", x, {"length": 2 * np.pi})}
    flows = np.stack((around, along, around + along))
    found = divergence(xr.DataArray(flows, dims=("case", "channel", "y", "x"), coords=coords))
    np.testing.assert_allclose(found, [0, 1, 0.5**0.5], atol=1e-12)
