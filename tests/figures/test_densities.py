"""Figures of draws against the reference: densities, corners, parameters."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from posterity.errors import PosterityError
from posterity.figures.corner import corner
from posterity.figures.covariance import covariance
from posterity.figures.drawing.density import density, equal, extent, scale, ticks
from posterity.figures.parameters import parameters
from posterity.figures.reference import reference


def one_case(study, case=0):
    """Twin, posteriors and reference of one case."""
    return (
        study.twin.isel(case=case),
        [posterior.isel(case=case) for posterior in study.posteriors],
        study.reference.isel(case=case),
    )


def test_densities_are_those_of_a_gaussian():
    draws = np.random.default_rng(0).normal(2.0, 0.5, 20000)
    places = np.linspace(1, 3, 9)
    exact = np.exp(-0.5 * ((places - 2) / 0.5) ** 2) / (0.5 * np.sqrt(2 * np.pi))
    # The standard error of the estimate, from its bandwidth, and its bias of h² f'' / 2.
    width = 0.9 * 0.5 * 20000**-0.2
    error = np.sqrt(exact.max() / (2 * np.sqrt(np.pi) * width * 20000))
    assert np.abs(density(draws, places) - exact).max() < 4 * error + 0.5 * width**2 * exact.max() / 0.25


def test_the_scale_of_several_modes_is_that_of_one():
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, 4000)
    two = np.concatenate([one[:2000] - 20, one[2000:] + 20])
    # A standard Gaussian has 0.771 as its shortest interval of 30 %; the shortest of many found is a little shorter.
    assert scale(one) == pytest.approx(1, abs=0.1)
    assert scale(two) < 6
    assert np.std(two) > 15
    assert scale(np.full(5, 3.0)) == 0
    assert equal(np.full(5, 3.0), (0, 1))


def test_axes_hold_the_reference_and_the_truth_and_few_poor_methods():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 1, 500), rng.normal(0, 100, 500)
    low, high = extent([narrow, narrow, narrow, wide], 9.0)
    assert low > -8
    assert 9 < high < 12
    assert extent([np.full(3, np.nan)], np.nan) == (-1, 1)


@pytest.mark.parametrize("ends", [(-1.3, 2.1), (0, 1e-4), (990, 1010), (-0.2, 0.2), (-17.3, -17.1)])
def test_ticks_lie_inside_and_apart(ends):
    places, names = ticks(ends)
    assert places
    assert all(ends[0] < place < ends[1] for place in places)
    assert [float(name.replace("−", "-")) for name in names] == pytest.approx(places)
    assert "−0" not in names


def panels(figure: Figure, shape: tuple[int, int]) -> np.ndarray:
    """The panels of a figure that is made of columns of rows."""
    return np.array(figure.axes, dtype=object).reshape(shape)


@pytest.mark.slow
def test_reference_marks_the_truth_and_names_rows_and_columns(ring):
    twin, posteriors, exact = one_case(ring, 2)
    figure = reference(twin, posteriors, exact, ring.window, [4])
    # Panels were made moment by moment.
    found = panels(figure, (3, len(posteriors)))
    for group, time in zip(found, (0, ring.window // 2, ring.window - 1), strict=True):
        assert group[0].get_title() == "site 4"
        for axes in group:
            assert axes.lines[-1].get_xdata()[0] == pytest.approx(float(twin["state"][time, 0, 4]))
            # The reference's area lies behind one curve.
            assert len(axes.collections) == 1
            assert len(axes.lines) == 2
    assert [axes.get_ylabel() for axes in found[0]] == list(ring.metrics["method"].values)


def test_reference_hatches_times_that_a_method_does_not_cover(many):
    twin, posteriors, exact = one_case(many)
    found = panels(reference(twin, posteriors[:3], exact, many.window, [0]), (3, 3))
    covered = [[bool(axes.lines) for axes in moment] for moment in found]
    assert covered == [[True, True, False], [True, True, False], [True, True, True]]
    assert found[0, 2].patch.get_hatch()


def test_corners_show_sites_and_parameters(ring):
    twin, posteriors, exact = one_case(ring)
    figure = corner(twin, posteriors[1:2], exact, ring.window, [3, 9])
    found = panels(figure, (4, 4))
    names = ["site 3", "site 9", "forcing", "coupling"]
    assert [axes.get_xlabel() for axes in found[-1]] == names
    truth = [*twin["state"].values[ring.window - 1, 0, [3, 9]], *twin["theta"].values]
    for index in range(4):
        assert found[index, index].lines[-1].get_xdata()[0] == pytest.approx(truth[index])
    horizontal = found[3, 1].lines[-1].get_ydata()[0]
    assert horizontal == pytest.approx(truth[3])
    assert not any(found[0, column].axison for column in range(1, 4))


def test_contours_hold_parts_of_all_draws(ring):
    """Of a method twice as wide as the panels, inner contours are as wide as its standard deviation still."""
    twin, _, exact = one_case(ring)
    rng = np.random.default_rng(0)
    state = exact["state"].isel(time=slice(None)).copy(data=rng.normal(0, 1, exact["state"].shape))
    same = exact.assign(state=state).drop_vars(["theta", "parameter"])
    bare = twin.drop_vars(["state", "theta", "parameter"])
    figure = corner(bare, [same.assign_attrs(method="same")], same, ring.window, [0, 8])
    (axes,) = [axes for axes in figure.axes if len(axes.collections) > 1]
    paths = [path.vertices for path in axes.collections[-1].get_paths() if len(path.vertices)]
    radii = sorted(np.abs(vertices).mean() * np.pi / 2 for vertices in paths[-1:])
    # The contour of 39 % of a standard Gaussian in the plane has radius one; smoothing adds an eighth.
    assert radii[0] == pytest.approx(1, abs=0.3)


def test_parameters_show_estimates_against_truth(ring):
    twin, posteriors, exact = one_case(ring, 1)
    figure = parameters(twin, ring.twin, ring.metrics, posteriors, ring.parameters, exact)
    found = panels(figure, (3, 4))
    assert [axes.get_ylabel() for axes in found[:, 0]] == ["4dvar", "ensemble-4dvar", "vi"]
    for row, method in zip(found, ("4dvar", "ensemble-4dvar", "vi"), strict=True):
        for place, name in enumerate(ring.parameters):
            assert row[2 * place].lines[-1].get_xdata()[0] == pytest.approx(float(twin["theta"].sel(parameter=name)))
            points = row[2 * place + 1].containers[0][0]
            np.testing.assert_allclose(points.get_xdata(), ring.twin["theta"].sel(parameter=name))
            own = ring.metrics["parameter_mean"].sel({"method": method, "parameter": name})
            np.testing.assert_allclose(points.get_ydata(), own)


def test_parameters_match_cases_by_their_numbers(ring):
    twin, posteriors, _ = one_case(ring)
    more = ring.metrics.isel(case=[5, 4, 3, 2, 1, 0])
    found = panels(parameters(twin, ring.twin.isel(case=[0, 1]), more, posteriors, ["forcing"]), (3, 2))
    points = found[0, 1].containers[0][0]
    np.testing.assert_allclose(points.get_xdata(), ring.twin["theta"].sel(parameter="forcing", case=[0, 1]))
    own = ring.metrics["parameter_mean"].sel({"method": "4dvar", "parameter": "forcing", "case": [0, 1]})
    np.testing.assert_allclose(points.get_ydata(), own)


@pytest.mark.slow
def test_covariances_stand_beside_that_of_the_reference(ring):
    twin, posteriors, exact = one_case(ring)
    figure = covariance(twin, posteriors[:2], ring.window, exact)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["reference", "prior", "4dvar"]
    np.testing.assert_allclose(images[0].get_array(), np.cov(exact["state"].values[:, 0, 0], rowvar=False))
    assert images[0].get_clim()[1] == pytest.approx(np.quantile(np.abs(np.asarray(images[0].get_array())), 0.99))


def test_figures_of_draws_need_some(ring):
    twin, _, exact = one_case(ring)
    for figure in (reference, corner):
        with pytest.raises(PosterityError, match="no posterior to draw"):
            figure(twin, [], exact, ring.window)
    with pytest.raises(PosterityError, match="no method has draws of parameters"):
        parameters(twin, ring.twin, ring.metrics, [], ring.parameters)
