"""Times of files: how they become steps of the model, and what has no meaning."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from posterity import data
from posterity.data.times import Clock, Lengths, on_steps, placed, readable
from posterity.errors import DataError

SEEN = ("case", "time", "obs_channel", "obs_x")
DT = 0.05
FILE = "my.nc"
HOURS = {"units": "hours since 2020-01-01"}


def own(times: int, seed: int = 0, **coords: object) -> xr.Dataset:
    """Observations of two cases at three sites, some missing."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((2, times, 1, 3))
    y[rng.random(y.shape) < 0.3] = np.nan
    std = rng.uniform(0.5, 2.0, y.shape)
    return xr.Dataset({"observation": (SEEN, y), "observation_std": (SEEN, std)}, coords)


def at(values: object, attributes: dict | None = None) -> tuple:
    """A coordinate ``time``."""
    return ("time", np.asarray(values), attributes or {})


def put(dataset: xr.Dataset, window: int = 4, cycles: int = 1, forecast: int = 0, unit=None, tolerance=0.25):
    """Puts a file on the steps of the model."""
    return placed(dataset, Lengths(window, cycles, forecast), DT, unit, tolerance, FILE)


def same(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Holds the observations of two datasets against each other."""
    for name in ("observation", "observation_std"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_without_times_each_is_a_step_in_model_time() -> None:
    twin = own(4)
    found = put(twin, forecast=2)
    np.testing.assert_allclose(found["time"], DT * np.arange(6))
    same(found.isel(time=slice(4)), twin)
    assert found["observation"].isel(time=slice(4, None)).isnull().all()


@pytest.mark.parametrize(
    ("times", "attributes", "unit", "step"),
    [
        ([0.0, 0.05, 0.1, 0.15], {"units": "model time units"}, None, DT),
        ([3.0, 3.05, 3.1, 3.15], {}, None, DT),
        ([0, 1, 2, 3], {}, None, 1.0),
        ([0, 6, 12, 18], HOURS, None, 6.0),
        ([0, 6, 12, 18], HOURS, "5 days", 6.0),
        ([0, 6, 12, 18], HOURS, 120, 6.0),
        ([0, 360, 720, 1080], {"units": "minutes since 1970-01-01 00:00"}, "5 days", 360.0),
        (1.6e9 + 21600.0 * np.arange(4), {"units": "seconds since 1970-01-01"}, "120 hours", 21600.0),
    ],
)
def test_times_keep_their_units_and_go_on_behind_the_window(times, attributes, unit, step) -> None:
    twin = own(4, time=at(times, attributes))
    found = put(twin, forecast=2, unit=unit)
    first = float(np.min(times))
    np.testing.assert_allclose(found["time"], first + step * np.arange(6), rtol=1e-12)
    assert attributes.items() <= found["time"].attrs.items()
    assert Clock.of(found) == pytest.approx((first, step, 6))
    same(found.isel(time=slice(4)), twin)


@pytest.mark.parametrize(
    ("times", "units", "unit"),
    [
        ([2.0, 2.05, 2.15], "ms", None),
        ([2.0, 2.05, 2.15], "ms", "1 s"),
        ([0.002, 0.00205, 0.00215], "s", None),
        ([2000, 2050, 2150], "microseconds since 2020-01-01", None),
    ],
)
def test_a_model_with_a_clock_says_what_times_of_files_are(times, units, unit) -> None:
    """Between the last two a state is not observed, which even times alone could not tell."""
    twin = own(3, time=at(times, {"units": units}))
    found = placed(twin, Lengths(4, 1, 0), DT, unit, 0.25, FILE, "ms")
    same(found.isel(time=[0, 1, 3]), twin)
    np.testing.assert_allclose(found["time"][:2], times[:2])
    assert placed(own(4), Lengths(4, 1, 0), DT, unit, 0.25, FILE, "ms")["time"].attrs["units"] == "ms"


def test_datetimes_on_disk_come_back_as_they_were(tmp_path) -> None:
    dates = pd.date_range("2020-02-28", periods=4, freq="6h")
    own(4, time=dates).to_netcdf(tmp_path / FILE)
    found = put(data.read(tmp_path / FILE, "twin"), forecast=2, unit="5 days")
    found.drop_attrs(deep=False).to_netcdf(tmp_path / "back.nc")
    with xr.open_dataset(tmp_path / "back.nc") as back:
        assert list(pd.DatetimeIndex(back["time"].values).round("s")) == list(
            pd.date_range("2020-02-28", periods=6, freq="6h")
        )


def test_times_are_sorted() -> None:
    twin = own(4, time=at([0, 6, 12, 18], HOURS))
    xr.testing.assert_identical(put(twin.isel(time=[2, 0, 3, 1])), put(twin))


def test_gaps_are_steps_without_observations_and_times_are_rounded() -> None:
    twin = own(3, time=at([0, 12.9, 17.2], HOURS))
    found = put(twin, window=5, unit="5 days")
    np.testing.assert_allclose(found["time"], 6.0 * np.arange(5))
    assert found["observation"].isel(time=[1, 4]).isnull().all()
    same(found.isel(time=[0, 2, 3]), twin)


def test_reports_of_one_step_are_joined_by_their_precisions() -> None:
    """The sum of squares of all reports is, up to a constant, that of the joined one: so is the posterior's."""
    twin = own(6, time=at([0, 1, 6, 12, 18, 17], HOURS))
    found = put(twin, unit="5 days")
    assert found.sizes["time"] == 4
    steps = [0, 0, 1, 2, 3, 3]

    def misfit(state: np.ndarray) -> np.ndarray:
        """Half the sum of squares of all reports, for each case."""
        terms = 0.5 * ((twin["observation"] - state[steps]) / twin["observation_std"]) ** 2
        return terms.sum(SEEN[1:]).to_numpy()

    def joined(state: np.ndarray) -> np.ndarray:
        """The same of the joined ones."""
        return (0.5 * ((found["observation"] - state) / found["observation_std"]) ** 2).sum(SEEN[1:]).to_numpy()

    one, other = np.random.default_rng(1).standard_normal((2, 4, 1, 3))
    np.testing.assert_allclose(misfit(one) - misfit(other), joined(one) - joined(other), rtol=1e-10)
    observed = twin["observation"].notnull().to_numpy()
    any_report = np.stack([observed[:, [i for i in range(6) if steps[i] == k]].any(axis=1) for k in range(4)], axis=1)
    np.testing.assert_array_equal(found["observation"].notnull(), any_report)


@pytest.mark.parametrize(("count", "cycles", "found"), [(12, 1, 12), (12, 5, 12), (401 * 4, 1, 1604), (4, 5, 4)])
def test_the_file_says_how_long_a_record_is(count, cycles, found) -> None:
    assert put(own(count), cycles=cycles).sizes["time"] == found
    hours = at(6 * np.arange(count)[:-1], HOURS)
    assert put(own(count - 1, time=hours), cycles=cycles, unit="5 days").sizes["time"] == found


@pytest.mark.parametrize(
    ("times", "attributes", "unit", "message"),
    [
        (["a", "b", "c", "d"], {}, None, r"'time' holds text \('a', …\), and no times; write numbers with 'units'"),
        ([0.0, np.nan, 1.0, 1.5], {}, None, r"'time' is missing \(NaN\) at 1 of 4 places, first at index 1"),
        ([0, 6, 9, 18.5], HOURS, None, r"'time' \(hours since .*\) is not evenly spaced: 3 to 9.5 .*time_unit"),
        ([0, 6, 15, 18], HOURS, "5 days", r"between the states .* at 1 of 4 places, first at 15: .* 6 hours apart"),
        (
            [0, 6, 12, 36],
            HOURS,
            "5 days",
            r"7 times of the model, from its first to its last; the experiment assimilates 4",
        ),
        ([0, 6, 12, 18], {}, "5 days", r"'time' has the units 'none', and 'time_unit' .* is 5 days; give"),
        ([0, 6, 12, 18], {"units": "furlongs"}, "5 days", r"has the units 'furlongs'"),
    ],
)
def test_times_without_a_meaning_are_refused(times, attributes, unit, message) -> None:
    with pytest.raises(DataError, match=rf"^{FILE}: .*{message}"):
        put(own(4, time=at(times, attributes)), forecast=1, unit=unit)


def test_one_time_needs_the_unit_of_a_forecast() -> None:
    one = own(1, time=at([7.0], HOURS))
    with pytest.raises(DataError, match="one 'time' alone does not say how far states are apart"):
        put(one, window=1, forecast=2)
    assert list(put(one, window=1, forecast=2, unit="5 days")["time"]) == [7, 13, 19]
    assert list(put(one, window=1)["time"]) == [7]


def test_times_of_each_case_are_refused() -> None:
    with pytest.raises(DataError, match=r"'time' has dimensions \(case, time\); all cases share one axis of times"):
        put(own(4, time=(("case", "time"), np.zeros((2, 4)))))


def test_copies_of_a_report_are_refused() -> None:
    twin = own(4, time=at([0, 6, 12, 18], HOURS))
    twice = twin.isel(time=[0, 1, 1, 2, 3])
    with pytest.raises(DataError, match="'time' 6 stands more than once with the same observations"):
        put(twice, unit="5 days")


def test_bad_standard_deviations_are_not_hidden_by_joining() -> None:
    twin = own(5, time=at([0, 1, 6, 12, 18], HOURS))
    twin["observation"][0, 1] = 1.0
    twin["observation_std"][0, 1] = -1.0
    with pytest.raises(DataError, match="'observation_std' must be positive and finite wherever"):
        put(twin, unit="5 days")


def test_a_truth_needs_each_state() -> None:
    twin = own(3, time=at([0, 12, 18], HOURS))
    twin["state"] = (("case", "time", "channel", "x"), np.zeros((2, 3, 1, 3)))
    with pytest.raises(DataError, match="'state' needs one state at each time of the model"):
        put(twin, unit="5 days")


def test_draws_tell_where_the_observations_belong() -> None:
    twin = own(3, time=at([12, 0, 18], HOURS))
    placed_once = put(twin, unit="5 days")
    clock = Clock.of(placed_once)
    assert clock is not None
    xr.testing.assert_identical(on_steps(twin, clock, 0.25, FILE), placed_once)
    with pytest.raises(DataError, match="'time' 48 is not among the 4 states of the record"):
        on_steps(own(1, time=at([48], HOURS)), clock, 0.25, FILE)


def test_a_file_of_the_package_that_was_cut_keeps_its_first_state() -> None:
    whole = put(own(4, time=at(DT * np.arange(4), {"units": "model time units"})))
    cut = put(whole.isel(time=slice(1, None)))
    same(cut.isel(time=slice(1, None)), whole.isel(time=slice(1, None)))
    assert cut["observation"].isel(time=0).isnull().all()


def test_figures_count_from_the_first_state() -> None:
    late = at(1.6e9 + 0.5 * np.arange(4), {"units": "seconds since 1970-01-01"})
    found = readable(put(own(4, time=late)))
    np.testing.assert_allclose(found["time"], [0, 0.5, 1, 1.5])
    assert found["time"].attrs["units"] == "seconds since 2020-09-13 12:26:40"
    plain = put(own(4))
    xr.testing.assert_identical(readable(plain), plain)
