"""
4DVAR and EnKF against score models on your own data
====================================================

Eight stations on a circle of latitude report every six hours, when they do. What was the state at all of them, and
what will it be? Two methods of data assimilation and two score models answer, and twins say which of them to believe.
"""

# %%
# The data
# --------
# A table: times, and a column for each station, empty where there was no report. Yours comes from ``pd.read_csv``;
# this one comes from the model itself, so that this page needs no file.

import numpy as np
import pandas as pd
import xarray as xr

import posterity as ps

problem = ps.Problem(
    {"kind": "lorenz96", "options": {"size": 8}},
    window=8,
    forecast=4,
    mask={"kind": "random", "options": {"fraction": 0.6}},
    std=1.0,
    background_std=1.0,
)
source = problem.twins(1, seed=7)
table = pd.DataFrame(
    source["observation"].values[0, :8, 0],
    index=pd.date_range("2026-03-01", periods=8, freq="6h", name="time"),
    columns=[f"station {number}" for number in range(1, 9)],
)
table.round(1)

# %%
# ``problem`` is what is assumed of them: the model, eight times to assimilate and four to forecast, an error of one
# unit in each report, and a first guess of the state at the first time with an error as large. With names for its
# axes the table is a dataset that every method takes:

seen = ("case", "time", "obs_channel", "obs_x")
mine = xr.Dataset(
    {
        "observation": (seen, table.values[None, :, None]),
        "observation_std": (seen, np.ones((1, 8, 1, 8))),
        "background": source["background"],
        "background_std": source["background_std"],
    },
    {"time": table.index.values},
)

# %%
# Two methods that solve for each window
# --------------------------------------

methods = {
    "4DVAR": ps.method("4dvar", problem),
    "EnKF": ps.method("enkf", problem, members=100),
}

# %%
# Two score models
# ----------------
# ``nse`` learns the posterior of windows like these, what observations say included, in the coordinates of a few
# Gauss–Newton iterations of each. ``sda`` learns five states in a row and never sees an observation: these guide its
# draws, so that other stations or instruments need no new training. Both are trained here for seconds.

small = {"kind": "mlp", "options": {"hidden": [64, 64]}}
learned = ps.method("nse", problem, frame="laplace", network=small)
methods["score, in a frame"] = learned.fit(cases=384, epochs=2, batch=128)
guided = ps.method(
    "sda",
    problem,
    times=6,
    network={"kind": "residual-mlp", "options": {"width": 128}},
    sampler={"kind": "predictor-corrector", "options": {"steps": 32}},
    guidance={"kind": "moment-matching", "options": {"iterations": 4}},
)
methods["score, guided"] = guided.fit(cases=2048, epochs=8, batch=64)

# %%
# Their answers
# -------------
# Dates and values as they came. Bands hold 90 % of the draws; what stands behind the dashed line is forecast.

posteriors = {name: each.assimilate(mine, samples=40) for name, each in methods.items()}
ps.plot.trajectories(mine, posteriors, sites=[2, 5])

# %%
# Which of them to believe
# ------------------------
# Your data have no truth, but twins of the same problem do, and a posterior of them that is known: importance
# sampling is exact as long as its weights are even. ``c2st`` is the share of draws that a classifier tells from it,
# 0.5 at best.

twins = problem.twins(4, seed=1)
reference = ps.method("importance", problem).assimilate(twins, samples=40)
draws = {name: each.assimilate(twins, samples=40) for name, each in methods.items()}
judged = ps.compare(twins, draws, reference)
judged[["rmse", "spread_skill", "coverage", "mean_error", "c2st"]].round(2)

# %%
# 4DVAR and the score model that starts from its iterations are as near to the posterior as such few draws can tell;
# the filter, which is linear in what it sees, comes next. The guided score has learned the system from examples
# alone, in seconds: it is not wrong about how much it knows, and knows less. :doc:`Which method when </which_method>`
# has what minutes and hours give.

ps.plot.hovmoller(twins, draws, case=0)
