import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import Normalize, to_rgb

from posterity.figures.drawing import style


def test_methods_can_be_told_apart():
    looks = style.looks([str(i) for i in range(42)])
    assert len({(look.colour, look.marker) for look in looks.values()}) == 42


def test_a_method_looks_the_same_whatever_follows_it():
    assert style.looks(["a", "b"])["b"] == style.looks(["a", "b", "c"])["b"]


def test_neighbouring_colours_differ_in_lightness_or_clearly_in_hue():
    # Colours that only differ in red against green would be one colour to many readers.
    colours = [np.array(to_rgb(look.colour)) for look in style.looks([str(i) for i in range(6)]).values()]
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = [deuteranopia @ colour**2.2 for colour in colours]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 0.1


@pytest.mark.parametrize(
    ("units", "power", "label"),
    [("1", 1, "q (dimensionless)"), ("1", 2, "q (dimensionless)"), ("m/s", 1, "q (m/s)"), ("m/s", 2, "q ((m/s)$^2$)")],
)
def test_quantity(units, power, label):
    assert style.quantity("q", xr.DataArray(0, attrs={"units": units}), power) == label


def test_quantity_says_when_units_are_unknown():
    assert style.quantity("q", xr.DataArray(0), 2) == "q (no units given)"


def test_time_label():
    assert style.time_label(xr.Dataset({"a": ("time", [1.0])})) == "time (steps)"
    assert style.time_label(xr.Dataset(coords={"time": ("time", [1.0], {"units": "days"})})) == "time (days)"


def test_limit_is_that_of_the_middle_method():
    good, poor = np.linspace(-1, 1, 1001), np.full(1001, 50.0)
    assert style.limit([good, 2 * good, poor]) == pytest.approx(2 * 0.99, rel=0.01)
    assert style.limit([np.full(3, np.nan)]) == 1
    assert style.limit([np.zeros(3)]) == 1


def test_symmetric_scales_are():
    norm = style.symmetric([np.array([-1.0, 3.0, np.nan])])
    assert norm.vmin == -norm.vmax
    assert norm.vmax == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(("low", "high", "arrows"), [(0, 1, "neither"), (-1, 1, "min"), (0, 2, "max"), (-1, 2, "both")])
def test_extend(low, high, arrows):
    assert style.extend([np.array([low, np.nan]), np.array([high])], Normalize(0, 1)) == arrows


def test_context_leaves_no_trace():
    before = dict(mpl.rcParams)
    with style.context():
        assert mpl.rcParams["svg.fonttype"] == "path"
    assert dict(mpl.rcParams) == before
