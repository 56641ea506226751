from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

from posterity.data.times import model_times
from posterity.metrics import RATES, evaluate


class Study(NamedTuple):
    """What figures are made from."""

    twin: xr.Dataset
    posteriors: list[xr.Dataset]
    metrics: xr.Dataset
    window: int
    reference: xr.Dataset | None = None
    parameters: tuple[str, ...] = ()
    cycles: int = 1
    burn_in: int = 0
    histories: xr.Dataset | None = None


class Made(NamedTuple):
    """How the draws of a made-up method differ from those of the exact posterior."""

    std: float
    samples: int = 40
    objective: bool = False
    first: int = 0
    estimates: bool = True


def made_twin(rng: np.random.Generator, shape: Mapping[str, int], window: int, names: tuple[str, ...]) -> xr.Dataset:
    """A made-up truth and its observations, a third of which exist."""
    dims = list(shape)
    truth = 0.3 * rng.standard_normal(list(shape.values())).cumsum(axis=dims.index("time"))
    truth += 3 * np.sin(np.linspace(0, 6, truth.shape[-1]))
    observation = truth + 0.5 * rng.standard_normal(truth.shape)
    observation[rng.random(truth.shape) > 0.3] = np.nan
    observation[:, window:] = np.nan
    obs = ["case", "time", *(f"obs_{name}" for name in dims[2:])]
    units = {"units": "1"}
    twin = xr.Dataset(
        {
            "state": (dims, truth, units),
            "background": (["case", *dims[2:]], truth[:, 0] + 1, units),
            "background_std": (["case", *dims[2:]], np.ones_like(truth[:, 0]), units),
            "observation": (obs, observation, units),
            "observation_std": (obs, np.full_like(truth, 0.5), units),
        },
        {
            "case": np.arange(shape["case"]),
            "time": model_times(0.1, range(shape["time"]), shape["time"]),
            "channel": list("uvh" if "y" in shape else "xyz")[: shape["channel"]],
        },
    )
    for axis in {"y", "x"} & set(shape):
        twin = twin.assign_coords({axis: (axis, np.arange(shape[axis]), {"length": 2 * np.pi})})
    if names:
        theta = rng.standard_normal((shape["case"], len(names)))
        twin = twin.assign_coords(parameter=list(names)).assign(theta=(("case", "parameter"), theta))
    return twin


def made_posterior(rng: np.random.Generator, twin: xr.Dataset, name: str, made: Made) -> xr.Dataset:
    """Draws about the truth, as far off it as the exact posterior would be, with a spread of the method's own."""
    part = twin.isel(time=slice(made.first, None))

    def draws(truth: xr.DataArray, error: float) -> tuple:
        """Draws about a mean that all methods share, as they share the observations."""
        mean = truth.values + error * np.random.default_rng(7).standard_normal(truth.shape)
        noise = made.std * error * rng.standard_normal((truth.shape[0], made.samples, *truth.shape[1:]))
        return ("case", "sample", *truth.dims[1:]), mean[:, None] + noise, {"units": "1"}

    dataset = xr.Dataset({"state": draws(part["state"], 0.4)}, attrs={"method": name})
    if "theta" in twin and made.estimates:
        dataset["theta"] = draws(part["theta"], 0.5)
    dataset["log_likelihood"] = (("case", "sample"), rng.standard_normal((twin.sizes["case"], made.samples)))
    return dataset.assign_coords(part.drop_vars(["parameter"] * ("theta" not in dataset), errors="ignore").coords)


def scored(rng: np.random.Generator, twin: xr.Dataset, posterior: xr.Dataset, made: Made, extra: bool) -> xr.Dataset:
    """The scores of a method, with made-up costs and distances to a reference."""
    found = evaluate(twin, posterior, time=-1).reindex(time=twin["time"])
    cases = twin.sizes["case"]
    if made.estimates:
        found["log_score"] = ("case", rng.normal(10, 1, cases), {"units": "nat"})
        found["hpd_rank"] = ("case", rng.random(cases))
    found["info_seconds"] = ("case", rng.uniform(0.5, 2, cases) * 10.0 ** rng.integers(-3, 2))
    if made.objective:
        curves = 30 * np.exp(-np.arange(25) / 5) + rng.uniform(3, 5, (cases, 1))
        found = found.assign_coords(iteration=np.arange(25)).assign(info_objective=(("case", "iteration"), curves))
    if extra:
        distance = 0.1 + rng.random((cases, twin.sizes["time"]))
        units = {"units": "standard deviations of the reference"}
        found["sliced_wasserstein"] = (("case", "time"), distance, units)
        found["info_model_steps"] = found["info_gradients"] = 1e3 * found["info_seconds"]
        areas = rng.uniform(0.5, 0.9, 2)
        found = found.assign_coords(space=["state", "observation"], false_positive_rate=RATES)
        found["auc"], found["auc_std"] = ("space", areas), ("space", np.array([0.01, 0.02]))
        curves = RATES ** (1 / areas[:, None] - 1)
        found["true_positive_rate"] = (("space", "false_positive_rate"), curves)
        found["sliced_wasserstein_floor"] = (("case", "time"), np.full_like(distance, 0.08), units)
    return found


def made_histories(rng: np.random.Generator, methods: Mapping[str, Made]) -> xr.Dataset:
    """Losses that fall, of two trainings of each method; the second one is shorter."""
    groups, epoch = [name for name in methods for _ in range(2)], np.arange(1, 31)
    falling = rng.normal(0, 5, (len(groups), 1)) + 20 * np.exp(-epoch / 5)
    falling[1::2, 20:] = np.nan
    dims = ("method", "epoch")
    losses = {name: (dims, falling + rng.normal(0, 0.1, falling.shape)) for name in ("train_loss", "valid_loss")}
    return xr.Dataset(
        {**losses, "seconds": (dims, np.where(np.isfinite(falling), 1.0, np.nan))},
        {"method": [f"{name} ({i % 2})" for i, name in enumerate(groups)], "group": ("method", groups), "epoch": epoch},
    )


def study(
    shape: Mapping[str, int], methods: Mapping[str, Made], window: int, names: tuple[str, ...] = (), cycles: int = 1
) -> Study:
    """Made-up draws of a few methods and, of a single window with parameters, of a reference."""
    rng = np.random.default_rng(1)
    twin = made_twin(rng, shape, window, names)
    posteriors = [made_posterior(rng, twin, name, made) for name, made in methods.items()]
    extra = bool(names)
    metrics = xr.concat(
        [scored(rng, twin, own, made, extra) for own, made in zip(posteriors, methods.values(), strict=True)],
        dim=xr.DataArray(list(methods), dims="method", name="method"),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
    )
    reference = made_posterior(rng, twin, "reference", Made(1.0, samples=400)) if extra else None
    histories = made_histories(rng, methods)
    return Study(twin, posteriors, metrics, window, reference, names, cycles, cycles // 5, histories)


@pytest.fixture(scope="session")
def ring() -> Study:
    """Observations of a third of the state itself, two parameters, a reference, and four methods."""
    methods = {
        "prior": Made(3.0, estimates=False),
        "4dvar": Made(0.4, samples=150, objective=True),
        "ensemble-4dvar": Made(1.1),
        "vi": Made(0.9, samples=150, objective=True),
    }
    return study({"case": 6, "time": 20, "channel": 1, "x": 16}, methods, 10, ("forcing", "coupling"))


@pytest.fixture(scope="session")
def point() -> Study:
    """No grid, no forecast, neither parameters nor a reference."""
    return study({"case": 4, "time": 20, "channel": 3}, {"prior": Made(3.0), "4dvar": Made(0.5, objective=True)}, 20)


@pytest.fixture(scope="session")
def many() -> Study:
    """So many methods that every figure wraps; some cover the end of the window only, some have one draw's worth."""
    kinds = [
        Made(3.0, objective=True),
        Made(0.4, samples=120),
        Made(1.1, first=9),
        Made(0.0, objective=True),
        Made(1.0, estimates=False),
    ]
    methods = {f"method-{i}": kinds[i % len(kinds)] for i in range(16)}
    return study({"case": 5, "time": 16, "channel": 1, "x": 12}, methods, 10, ("forcing", "coupling"))


@pytest.fixture(scope="session")
def plane() -> Study:
    """Velocities in the plane, a third of them observed, with a reference; a method covers the window's end only."""
    methods = {
        "prior": Made(3.0, estimates=False),
        "4dvar": Made(0.4, samples=12),
        "letkf": Made(1.1, first=9, samples=12),
    }
    return study({"case": 3, "time": 14, "channel": 2, "y": 8, "x": 12}, methods, 10, ("forcing",))


@pytest.fixture(scope="session")
def crowded() -> Study:
    """So many methods in the plane that maps of them fill a page, of three channels."""
    methods = {f"method-{i}": Made(1.0, samples=3, first=i % 2) for i in range(15)}
    return study({"case": 2, "time": 6, "channel": 3, "y": 6, "x": 6}, methods, 4)


@pytest.fixture(scope="session")
def record() -> Study:
    """A cycling record of hundreds of windows."""
    methods = {f"filter-{i}": Made(0.6 + 0.2 * i, samples=12) for i in range(6)}
    return study({"case": 2, "time": 500, "channel": 1, "x": 8}, methods, 500, cycles=500)


@pytest.fixture(scope="session")
def without_truth() -> Callable[[Study], Study]:
    """Takes the truth away, and all that needs it."""

    def take(whole: Study) -> Study:
        """The study without truth."""
        scores = ["rmse", "crps", "rank_histogram", "coverage", "parameter_rank", "hpd_rank", "tarp_rank"]
        scores += ["truth_spectrum", "error_spectrum"]
        twin = whole.twin.drop_vars(["state", "theta"], errors="ignore")
        return whole._replace(twin=twin, metrics=whole.metrics.drop_vars(scores, errors="ignore"))

    return take
