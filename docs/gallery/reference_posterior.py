"""
What a reference posterior is worth
===================================

A twin has a truth, and methods can be scored by it. But a truth is one draw of the posterior: how far the best method
is from it says how hard the case is, and little of the method. A posterior that is known, with an error of its own,
tells methods apart.
"""

# %%
# Four answers to sixteen windows
# -------------------------------
# Eight sites of Lorenz-96, half of their squares seen, so that signs are hidden and posteriors are bent.

from textwrap import fill

import posterity as ps
from posterity.metrics.judgement.verdict import judge

problem = ps.Problem(
    {"kind": "lorenz96", "options": {"size": 8}},
    window=6,
    operator="quadratic",
    mask={"kind": "random", "options": {"fraction": 0.5}},
    std=4.0,
)
twins = problem.twins(16, seed=3)
methods = {
    "4DVAR": ps.method("4dvar", problem),
    "ensemble 4DVAR": ps.method("ensemble-4dvar", problem),
    "VI, mean field": ps.method("vi", problem, family="mean-field"),
    "VI, full": ps.method("vi", problem, family="full"),
}
posteriors = {name: each.assimilate(twins, samples=100) for name, each in methods.items()}

# %%
# By the truth
# ------------
# Differences in the same windows, against their errors: :func:`~posterity.metrics.judgement.verdict.judge` puts
# methods in one place if a paired test does not tell them apart.

by_truth = judge(ps.comparison(twins, posteriors), problem.window)
for each in by_truth.methods:
    print(f"{each.place}  {each.method:20} {each.score:.3f} ± {each.error:.3f}")
print(fill(by_truth.won, 80))

# %%
# By a reference
# --------------
# Sequential Monte Carlo is exact in the limit; here it starts from the Gaussian of 4DVAR, so that few temperatures
# are enough. A second run of it stands among the methods: how far it is from the first is the floor, since no method
# can be seen to be nearer than that.

smc = ps.method("smc", problem, particles=256, proposal="laplace")
reference = smc.assimilate(twins, samples=100, seed=1)
posteriors["the reference again"] = smc.assimilate(twins, samples=100, seed=2)
scores = ps.comparison(twins, posteriors, reference)
by_reference = judge(scores, problem.window)
for each in by_reference.methods:
    print(f"{each.place}  {each.method:20} {each.score:.3f} ± {each.error:.3f}")
print(fill(by_reference.won, 80))

# %%
# What the truth could not tell
# -----------------------------
# Errors of the mean are those of the case; what a method gets wrong is in spreads and shapes, which a reference shows
# for each case.

table = ps.compare(twins, posteriors, reference)
table[["rmse", "crps", "spread_skill", "mean_error", "c2st"]].round(2)

# %%

shown = {name: posteriors[name] for name in methods}
ps.plot.corner(twins, shown, reference, case=0, sites=[0, 1])

# %%
# A reference has to be paid for, and to be judged itself: ``posterity reference`` makes independent runs, writes how
# far they are apart, and says for which cases they are too far apart to judge by; see :doc:`Monte Carlo
# </methods/montecarlo>`.
