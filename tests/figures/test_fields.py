"""Figures of fields: data, Hovmöller diagrams, covariances."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from posterity.errors import PosterityError
from posterity.figures.covariance import covariance
from posterity.figures.data import data
from posterity.figures.drawing.panels import edges
from posterity.figures.hovmoller import hovmoller


def meshes(figure):
    """The fields of a figure, row by row, with colour bars left out."""
    found = [[c for c in axes.collections if isinstance(c, QuadMesh)] for axes in figure.axes if axes.axison]
    return [
        mesh[0]
        for axes, mesh in zip([a for a in figure.axes if a.axison], found, strict=True)
        if mesh and axes.get_label() != "<colorbar>"
    ]


def test_edges():
    np.testing.assert_allclose(edges(np.array([0.0, 1.0, 3.0])), [-0.5, 0.5, 2.0, 4.0])
    np.testing.assert_allclose(edges(np.array([2.0])), [1.5, 2.5])


def test_data_hides_what_is_not_observed(ring):
    one = ring.twin.isel(case=0)
    truth, observed = meshes(data(one, ring.window, observes_state=True))
    missing = np.isnan(one["observation"].values[:, 0].T)
    assert missing[:, : ring.window].any()
    np.testing.assert_array_equal(np.ma.getmaskarray(observed.get_array()), missing)
    np.testing.assert_allclose(truth.get_array(), one["state"].values[:, 0].T)


def test_data_shares_colours_only_if_the_state_is_observed(ring, point):
    truth, observed = meshes(data(ring.twin.isel(case=0), ring.window, observes_state=True))
    assert truth.get_clim() == observed.get_clim()
    truth, observed = meshes(data(point.twin.isel(case=0), point.window, observes_state=False))
    assert observed.get_clim()[1] == pytest.approx(float(point.twin["observation"][0].max()))
    assert truth.get_clim()[1] == pytest.approx(float(point.twin["state"][0].max()))


def test_the_end_of_the_window_is_marked_if_there_is_a_forecast(ring, point):
    panel = data(ring.twin.isel(case=0), ring.window, observes_state=True).axes[1]
    time = ring.twin["time"].values
    expected = 0.5 * (time[ring.window - 1] + time[ring.window])
    assert panel.lines[-1].get_xdata()[0] == pytest.approx(expected)
    assert not data(point.twin.isel(case=0), point.window, observes_state=False).axes[1].lines


def drawn(study, case=0):
    """The case of the posterior of each method."""
    return [posterior.isel(case=case) for posterior in study.posteriors]


def test_hovmoller_shows_mean_draw_error_and_std(ring):
    case, count = 2, ring.metrics.sizes["method"]
    one = ring.twin.isel(case=case)
    found = meshes(hovmoller(one, ring.metrics, drawn(ring, case), ring.window))
    truth, panels = found[0], np.array(found[1:], dtype=object).reshape(count, 4)
    np.testing.assert_allclose(truth.get_array(), one["state"].values[:, 0].T)
    for index, (mean, draw, error, std) in enumerate(panels):
        own = ring.metrics.isel(method=index, case=case)
        np.testing.assert_allclose(mean.get_array(), own["mean"].values[:, 0].T)
        first = ring.posteriors[index]["state"].isel(case=case, sample=0)
        np.testing.assert_allclose(draw.get_array(), first.values[:, 0].T)
        np.testing.assert_allclose(error.get_array(), (own["mean"] - one["state"]).values[:, 0].T, atol=1e-12)
        np.testing.assert_allclose(std.get_array(), own["std"].values[:, 0].T)
    for column in panels.T:
        assert len({mesh.get_clim() for mesh in column}) == 1
    assert panels[0, 0].get_clim() == panels[0, 1].get_clim() == truth.get_clim()
    low, high = panels[0, 2].get_clim()
    assert low == -high
    assert panels[0, 3].get_clim()[0] == 0


def test_hovmoller_of_methods_that_cover_the_end_of_the_window_only(many):
    """Their columns are empty before it, and where a method has no draws at hand, so is that of its draw."""
    late = many.metrics.isel(method=[2, 7])
    found = meshes(hovmoller(many.twin.isel(case=0), late, drawn(many)[2:3], many.window))
    panels = np.array(found[1:], dtype=object).reshape(2, 4)
    for mesh in panels[:, [0, 2, 3]].flat:
        assert np.ma.getmaskarray(mesh.get_array())[:, :9].all()
        assert not np.ma.getmaskarray(mesh.get_array())[:, 9:].any()
    assert np.ma.getmaskarray(panels[0, 1].get_array()).sum() == 9 * 12
    assert np.ma.getmaskarray(panels[1, 1].get_array()).all()


def test_hovmoller_of_one_time_has_one_tick(many):
    one = many.twin.isel(case=0, time=[9])
    posteriors = [posterior.sel(time=one["time"]) for posterior in drawn(many)[:3]]
    figure = hovmoller(one, many.metrics.isel(method=slice(3), time=[9]), posteriors, 1)
    assert figure.axes[0].get_xticks().tolist() == one["time"].values.tolist()


def test_hovmoller_without_truth_has_no_error(ring, without_truth):
    study = without_truth(ring)
    found = meshes(hovmoller(study.twin.isel(case=0), study.metrics, drawn(study), study.window))
    assert len(found) == 3 * study.metrics.sizes["method"]


def test_hovmoller_names_a_missing_case(ring):
    with pytest.raises(PosterityError, match=r"no case 0.*figures\.case"):
        hovmoller(ring.twin.isel(case=0), ring.metrics.isel(case=slice(1, None)), drawn(ring), ring.window)


def test_covariances_are_those_of_the_draws(ring):
    posteriors = [posterior.isel(case=1) for posterior in ring.posteriors]
    figure = covariance(ring.twin.isel(case=1), posteriors, ring.window)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    panels = np.array(images, dtype=object).reshape(3, len(posteriors))
    for row, time in zip(panels, (0, ring.window - 1, ring.twin.sizes["time"] - 1), strict=True):
        for image, posterior in zip(row, posteriors, strict=True):
            expected = np.cov(posterior["state"].values[:, time, 0], rowvar=False)
            np.testing.assert_allclose(image.get_array(), expected)
        assert len({image.get_clim() for image in row}) == 1
        assert row[0].get_clim()[0] == -row[0].get_clim()[1]
    assert len({row[0].get_clim() for row in panels}) == 3


def test_covariance_leaves_out_times_without_draws(ring):
    posteriors = [posterior.isel(case=0) for posterior in ring.posteriors[:2]]
    posteriors[1] = posteriors[1].isel(time=[0])
    figure = covariance(ring.twin.isel(case=0), posteriors, ring.window)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [bool(np.ma.getmaskarray(image.get_array()).all()) for image in images] == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]


def test_covariance_needs_draws(ring):
    with pytest.raises(PosterityError, match="no posterior"):
        covariance(ring.twin.isel(case=0), [], ring.window)
