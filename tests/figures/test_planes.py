"""Figures of states in the plane, and of spectra: what is drawn against what is given."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

from posterity.errors import PosterityError
from posterity.figures.covariance import covariance
from posterity.figures.data import data
from posterity.figures.drawing import style
from posterity.figures.drawing.panels import chosen_rows, moments, row_names
from posterity.figures.fields.animation import animation
from posterity.figures.fields.error_spectrum import error_spectrum
from posterity.figures.fields.maps import maps
from posterity.figures.fields.plane import draw_observed, panel_at, scale_of
from posterity.figures.fields.spectra import spectra
from posterity.figures.hovmoller import hovmoller
from posterity.figures.trajectories import trajectories
from posterity.metrics import quantity

#: The times of the study of the plane that maps show: its start, its window's end and its forecast's end.
MOMENTS = [0, 9, 13]


def one_case(study) -> tuple[xr.Dataset, list[xr.Dataset]]:
    """The first case of the twin and of the draws of each method."""
    return study.twin.isel(case=0), [posterior.isel(case=0) for posterior in study.posteriors]


def titled(figure) -> list[tuple[str, np.ma.MaskedArray]]:
    """The images of a figure row by row, each with the title of its column."""
    found, titles = [], {}
    for axes in figure.axes:
        place = round(axes.get_position().x0, 3)
        titles[place] = axes.get_title() or titles.get(place, "")
        found += [(titles[place], image.get_array()) for image in axes.images]
    return found


def test_maps_show_what_they_are_given(plane) -> None:
    """The vorticity of truth, mean, draws, error and spread of the window's end, where all methods have draws."""
    twin, posteriors = one_case(plane)
    figure = maps(twin, posteriors, plane.window, observes_state=True, times=[MOMENTS[1]])
    shown = titled(figure)
    truth = quantity(twin["state"].isel(time=9))
    assert shown[0][0] == "truth"
    np.testing.assert_allclose(shown[0][1], truth)
    for number, posterior in enumerate(posteriors):
        draws = quantity(posterior["state"].sel(time=twin["time"][9]))
        expected = {
            "mean": draws.mean("sample"),
            "draw 1": draws[0],
            "draw 2": draws[1],
            "mean − truth": draws.mean("sample") - truth,
            "spread": draws.std("sample", ddof=1),
        }
        own = shown[len(shown) - 5 * (len(posteriors) - number) :][:5]
        assert [title for title, _ in own] == list(expected)
        for title, values in own:
            np.testing.assert_allclose(values, expected[title], rtol=1e-10, atol=1e-10)


def test_maps_have_one_scale_for_what_compares_and_hatch_what_is_not_covered(plane) -> None:
    twin, posteriors = one_case(plane)
    twin = twin.assign(observation=twin["observation"].where(False))
    figure = maps(twin, posteriors, plane.window, observes_state=False, times=MOMENTS)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    limits: dict = {}
    for (title, _), image in zip(titled(figure), images, strict=True):
        kind = title if title in ("mean − truth", "spread") else "states"
        limits.setdefault(kind, set()).add((*image.get_clim(), image.get_cmap().name))
    assert {kind: len(each) for kind, each in limits.items()} == {"states": 1, "mean − truth": 1, "spread": 1}
    for kind in ("states", "mean − truth"):
        ((low, high, _),) = limits[kind]
        assert low == -high
    assert next(iter(limits["spread"]))[0] == 0
    # The filter covers the window's end and the forecast, and of the start it has five empty panels.
    assert sum(bool(axes.patch.get_hatch()) for axes in figure.axes if not axes.images) == 5


def test_maps_leave_no_room_for_what_nobody_knows(plane, without_truth) -> None:
    """Of a forecast, without a truth: rows of panels follow each other without a gap of one."""
    figure = maps(*one_case(without_truth(plane)), plane.window, observes_state=True)
    panels = [axes.get_position() for axes in figure.axes if axes.images or axes.patches or axes.patch.get_hatch()]
    rows = sorted({(round(box.y0, 4), round(box.y1, 4)) for box in panels})
    tall = max(above - below for below, above in rows)
    assert all(higher[0] - lower[1] < 0.9 * tall for lower, higher in pairwise(rows))
    assert [text.get_text() for text in figure.texts if "forecast end" in text.get_text()] == ["forecast end\nt = 1.3"]


def test_maps_of_a_channel_show_observations_of_it_in_its_colours(plane) -> None:
    twin, posteriors = one_case(plane)
    coarse = twin["observation"].isel(obs_y=slice(4), obs_x=slice(6)).fillna(0.25)
    twin = twin.drop_vars(["observation", "observation_std"]).assign(observation=coarse)
    figure = maps(twin, posteriors, plane.window, observes_state=True, times=[9], quantity="v")
    truth, first, second = (axes.images[0] for axes in figure.axes[:3])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["truth", "obs. u", "obs. v"]
    np.testing.assert_allclose(truth.get_array(), twin["state"][9, 1])
    np.testing.assert_allclose(first.get_array(), coarse[9, 0])
    assert truth.get_clim() == first.get_clim() == second.get_clim()
    other = maps(twin, posteriors, plane.window, observes_state=True, times=[9])
    assert other.axes[0].images[0].get_clim() != other.axes[1].images[0].get_clim()


def test_observations_stand_where_they_are() -> None:
    """Coarse ones are blocks that fill the plane, few are dots at their sites, and those with places stand there."""
    like = xr.DataArray(
        np.zeros((4, 8)), dims=("y", "x"), coords={"y": np.arange(4), "x": ("x", np.arange(8), {"length": 2.0})}
    )
    dims, scale = ("obs_y", "obs_x"), scale_of([np.array([-1.0, 1.0])])
    axes = panel_at(style.canvas(2), (0, 0, 1, 1))
    draw_observed(axes, xr.DataArray(np.arange(8.0).reshape(2, 4), dims=dims), like, scale)
    assert axes.images[0].get_extent() == [0, 2, 0, 4]
    np.testing.assert_allclose(axes.images[0].get_array(), np.arange(8).reshape(2, 4))
    few = np.full((4, 8), np.nan)
    few[3, 1] = 0.5
    draw_observed(axes, xr.DataArray(few, dims=dims), like, scale)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[1.5 * 2 / 8, 3.5]])
    np.testing.assert_allclose(axes.collections[0].get_array(), [0.5])
    placed = xr.DataArray([[1.0, 2.0]], dims=dims, coords={"obs_y": [2.0], "obs_x": [0.0, 4.5]})
    draw_observed(axes, placed, like, scale)
    np.testing.assert_allclose(axes.collections[1].get_offsets(), [[0.125, 2.5], [1.25, 2.5]])


def test_observations_of_blocks_are_blocks_and_those_of_single_sites_dots() -> None:
    """Both say the sites at which they stand; stations on a line stand in the plane."""
    like = xr.DataArray(np.zeros((4, 8)), dims=("y", "x"), coords={"y": np.arange(4), "x": np.arange(8)})
    scale, numbers = scale_of([np.array([-1.0, 1.0])]), np.arange(32).reshape(4, 8)

    def drawn(sites: np.ndarray, dims: tuple[str, ...]) -> tuple[int, np.ndarray]:
        """The number of images, and the places of dots."""
        axes = panel_at(style.canvas(2), (0, 0, 1, 1))
        values = xr.DataArray(np.ones(sites.shape), dims=dims, coords={"obs_site": (dims, sites)})
        draw_observed(axes, values, like, scale)
        return len(axes.images), np.concatenate([dots.get_offsets() for dots in axes.collections] or [np.empty((0, 2))])

    images, dots = drawn(numbers[1::2, 1::2], ("obs_y", "obs_x"))
    assert (images, len(dots)) == (1, 0)
    images, dots = drawn(numbers[::2, ::4], ("obs_y", "obs_x"))
    assert images == 0
    np.testing.assert_allclose(dots, [[0.5, 0.5], [4.5, 0.5], [0.5, 2.5], [4.5, 2.5]])
    images, dots = drawn(np.array([0, 31]), ("obs_x",))
    np.testing.assert_allclose(dots, [[0.5, 0.5], [7.5, 3.5]])


def test_maps_name_times_and_quantities_that_there_are_not(plane) -> None:
    twin, posteriors = one_case(plane)
    with pytest.raises(PosterityError, match=r"no state 14: there are states 0 to 13; change 'figures\.times'"):
        maps(twin, posteriors, plane.window, observes_state=True, times=[14])
    with pytest.raises(PosterityError, match=r"figures\.quantity: these states have no 'speeed'; did you mean 'speed'"):
        maps(twin, posteriors, plane.window, observes_state=True, quantity="speeed")


def test_scales_are_about_zero_if_values_lie_on_both_sides() -> None:
    both = scale_of([np.array([-1.0, 3.0, np.nan])])
    assert both.cmap is style.SIGNED
    assert both.norm.vmin == -both.norm.vmax
    above = scale_of([np.linspace(1, 3, 1001)])
    assert above.cmap is style.STATE
    assert (above.norm.vmin, above.norm.vmax) == pytest.approx((1.01, 2.99))


def test_an_animation_shows_each_time(plane) -> None:
    twin, posteriors = one_case(plane)
    film = animation(twin, posteriors, plane.window, frames=14)
    assert film.frames == 14
    for frame in (13, 2):
        film.show(frame)
        shown = [axes.images[0].get_array() for axes in film.figure.axes if axes.images]
        rows = [shown[k : k + 4] for k in range(0, 12, 4)]
        for row, posterior in zip(rows, posteriors, strict=True):
            np.testing.assert_allclose(row[0], quantity(twin["state"].isel(time=frame)))
            if not (posterior["time"] == twin["time"][frame]).any():
                assert np.ma.getmaskarray(row[1]).all()
                continue
            draws = quantity(posterior["state"].sel(time=twin["time"][frame]))
            for values, expected in zip(row[1:], (draws.mean("sample"), draws[0], draws[1]), strict=True):
                np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
        said = [text.get_text() for text in film.figure.texts]
        assert f"time (model time units): {0.1 * frame:.3g}{', forecast' * (frame > 9)}" in said


def test_an_animation_has_no_more_frames_than_it_may(plane) -> None:
    film = animation(*one_case(plane), plane.window, frames=5)
    assert film.frames == 5
    film.show(4)
    shown = film.figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, quantity(plane.twin["state"][0, 13]))


def test_spectra_are_means_over_cases(plane) -> None:
    figure = spectra(plane.metrics, plane.window)
    own = plane.metrics.isel(time=9).mean("case").isel(wavenumber=slice(1, 4))
    rows = np.array(figure.axes, dtype=object).reshape(3, 3)
    for panels, method in zip(rows, plane.metrics["method"].values, strict=True):
        for panel, field in zip(panels, ("energy", "enstrophy"), strict=False):
            expected = own.sel({"method": method, "field": field})
            lines = {line.get_color(): line for line in panel.lines if line.get_linestyle() == "-"}
            np.testing.assert_allclose(lines[style.TRUTH].get_ydata(), expected["truth_spectrum"])
            colour = style.looks(plane.metrics["method"].values.tolist())[method].colour
            np.testing.assert_allclose(lines[colour].get_ydata(), expected["spectrum"])
            np.testing.assert_allclose(lines[colour].get_xdata(), [1, 2, 3])
            (dotted,) = (line for line in panel.lines if line.get_linestyle() == ":")
            np.testing.assert_allclose(dotted.get_ydata(), expected["error_spectrum"])
            (band,) = panel.collections
            assert to_rgba(colour)[:3] == tuple(band.get_facecolor()[0][:3])
        ratio = own.sel({"method": method, "field": "energy"})
        np.testing.assert_allclose(panels[2].lines[1].get_ydata(), ratio["spectrum"] / ratio["truth_spectrum"])


def test_spectra_of_a_record_are_means_over_its_times(record) -> None:
    figure = spectra(record.metrics, record.window, record.cycles, record.burn_in)
    expected = record.metrics["spectrum"].isel(field=0, time=slice(100, None)).mean(["time", "case"])
    line = next(line for line in figure.axes[0].lines if line.get_color() != style.TRUTH)
    np.testing.assert_allclose(line.get_ydata(), expected[0, 1:4])


def test_error_spectra_are_ratios_of_means_over_cases(plane) -> None:
    figure = error_spectrum(plane.metrics, plane.window)
    panels = [axes.collections[0] for axes in figure.axes if axes.get_label() != "<colorbar>"]
    means = plane.metrics.mean("case").sel(field="energy").isel(wavenumber=slice(1, 4))
    samples = plane.metrics["samples"].max("case")
    truth = means["error_spectrum"] / means["truth_spectrum"]
    spread = means["error_spectrum"] / ((samples + 1) / samples * means["spread_spectrum"])
    for place, expected in enumerate((truth, spread)):
        for mesh, values in zip(panels[place::2], expected.transpose("method", "wavenumber", "time"), strict=True):
            np.testing.assert_allclose(mesh.get_array().filled(np.nan), values)
    # The filter covers the window's end only.
    assert np.ma.getmaskarray(panels[4].get_array())[:, :9].all()


def test_entries_of_the_plane_are_chosen_by_pairs(plane) -> None:
    state = plane.posteriors[0]["state"]
    names = row_names(state)
    assert [names[row] for row in chosen_rows(state, [(2, 11), (0, 3)], "corner")] == [
        "u (2, 11)", "u (0, 3)", "v (2, 11)", "v (0, 3)",
    ]  # fmt: skip
    assert [names[row] for row in chosen_rows(state, None, "corner")][:3] == ["u (0, 0)", "u (2, 4)", "u (5, 8)"]
    with pytest.raises(PosterityError, match=r"no site 8, 0: the grid has sites \[y, x\] below \[8, 12\]; change"):
        chosen_rows(state, [(8, 0)], "corner")
    with pytest.raises(PosterityError, match=r"no site 5: the grid has sites \[y, x\]"):
        chosen_rows(state, [5], "corner")
    figure = trajectories(*one_case(plane), plane.window, observes_state=True, sites=[(3, 7)])
    truth = next(line for line in figure.axes[1].lines if line.get_color() == style.TRUTH)
    assert figure.axes[1].get_title() == "v (3, 7)"
    np.testing.assert_allclose(truth.get_ydata(), plane.twin["state"][0, :, 1, 3, 7])


def test_hovmoller_shows_the_middle_row(plane) -> None:
    twin, posteriors = one_case(plane)
    figure = hovmoller(twin, plane.metrics, posteriors, plane.window)
    truth = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(truth, twin["state"][:, :, 4].values.reshape(14, 24).T)
    assert figure.get_supylabel() == "site of the row y = 4, 2 channels stacked"


def test_covariances_are_those_with_the_middle_of_the_plane(plane) -> None:
    twin, posteriors = one_case(plane)
    figure = covariance(twin, posteriors, plane.window, quantity="u")
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    draws = posteriors[1]["state"].sel(time=twin["time"][9], channel="u").values
    expected = [[np.cov(draws[:, y, x], draws[:, 4, 6])[0, 1] for x in range(12)] for y in range(8)]
    np.testing.assert_allclose(images[3 + 1], expected, atol=1e-12)


def test_data_in_the_plane_are_maps_of_the_window(plane) -> None:
    twin, _ = one_case(plane)
    figure = data(twin, plane.window, observes_state=True)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_allclose(images[0], twin["background"][0])
    times = [0, 2, 4, 7, 9]
    for image, time in zip(images[1:6], times, strict=True):
        np.testing.assert_allclose(image, twin["state"][time, 0])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
        "background", *(f"t = {0.1 * time:.3g}" for time in times),
    ]  # fmt: skip


def test_data_without_a_truth_have_their_times(plane, without_truth) -> None:
    """Above the first row that has them, which is that of observations."""
    twin, _ = one_case(without_truth(plane))
    figure = data(twin, plane.window, observes_state=True)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["background", *(f"t = {0.1 * time:.3g}" for time in (0, 2, 4, 7, 9))]


def test_sites_of_the_plane_have_short_names(plane) -> None:
    """Six of them stand above a row of panels."""
    state = plane.posteriors[0]["state"]
    state = state.assign_coords(x=np.arange(12) * 2 * np.pi / 12, y=np.arange(8) * 1000.0)
    names = row_names(state)
    assert [names[row] for row in chosen_rows(state, [(2, 11), (0, 3)], "corner")][:2] == [
        "u (2000, 5.76)",
        "u (0, 1.571)",
    ]


def test_windows_of_one_state_have_no_start_beside_their_end(plane) -> None:
    assert list(moments(1, 1)) == ["window end"]
    assert list(moments(3, 1)) == ["window end", "forecast end"]
    twin, posteriors = one_case(plane)
    figure = covariance(twin.isel(time=[0]), [each.isel(time=[0]) for each in posteriors[:1]], 1)
    assert len([axes for axes in figure.axes if axes.images]) == 1


def test_maps_of_covariances_have_no_ticks(plane) -> None:
    figure = covariance(*one_case(plane), plane.window)
    assert not any(axes.get_xticks().size or axes.get_yticks().size for axes in figure.axes if axes.images)
    assert figure.get_supxlabel() == "covariance (dimensionless) of vorticity with that at the middle"
