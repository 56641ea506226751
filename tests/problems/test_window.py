"""Windows that do not fit their problem are refused, where they enter, by the name of what is wrong."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from posterity.baselines import ETKF, FourDVar, VariationalInference
from posterity.baselines.variational.families import Full
from posterity.estimators.continuous import NeuralScore
from posterity.estimators.npe import NeuralPosterior
from posterity.problems import (
    Composed,
    GaussianStations,
    Identity,
    Normal,
    Observation,
    Pointwise,
    Problem,
    Quadratic,
    RandomMask,
    Window,
)
from posterity.systems import LinearAdvection
from posterity.tensors import Constant

PROBLEM = Problem(LinearAdvection(size=4), Observation(Identity((1, 4)), std=(0.5, 1.0)), window=3)


@pytest.fixture
def window() -> Window:
    return PROBLEM.sample((2,)).window


def spoilt(field, value):
    """Changes one entry of a field, of the second case."""

    def change(window: Window) -> Window:
        tensor = getattr(window, field).clone()
        tensor.view(2, -1)[1, 0] = value
        return window._replace(**{field: tensor})

    return change


def replaced(field, function):
    """Changes a field as a whole."""
    return lambda window: window._replace(**{field: function(getattr(window, field))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("y", lambda y: y[:, :2]), r"y: has shape \(2, 2, 1, 4\), but \(3, 1, 4\) of each case is needed"),
        (replaced("y", lambda y: y[0]), r"std: has shape \(2, 3, 1, 4\).*batch dimensions of y, \(\): \(3, 1, 4\)"),
        (replaced("std", lambda std: std[..., :1]), r"std: has shape \(2, 3, 1, 1\)"),
        (replaced("background", lambda x: x[:, 0]), r"background: has shape \(2, 4\), but \(1, 4\)"),
        (replaced("background_std", lambda x: x[:1]), r"background_std: has shape \(1, 1, 4\)"),
        (replaced("start", lambda start: start[:1]), r"start: has shape \(1,\), but \(\) of each case"),
        (replaced("y", lambda y: y.long()), "y: needs floating-point numbers, .* not torch.int64"),
        (replaced("std", lambda std: std.float()), "std: is torch.float32 on cpu, but y is torch.float64 on cpu"),
        (replaced("background", lambda x: x.to("meta")), "background: is torch.float64 on meta, but y is"),
        (spoilt("y", torch.inf), r"y: is infinite at \(1, 0, 0, 0\)"),
        (spoilt("background", -torch.inf), r"background: is infinite at \(1, 0, 0\)"),
        (spoilt("std", 0.0), r"std: standard deviations must be positive and finite .* not 0.0 at \(1, 0, 0, 0\)"),
        (spoilt("std", torch.nan), r"std: standard deviations .* not nan at \(1, 0, 0, 0\)"),
        (spoilt("background_std", -1.0), r"background_std: standard deviations .* not -1.0 at \(1, 0, 0\)"),
        (spoilt("background", torch.nan), r"background: is there at \(1, 0, 1\), and missing elsewhere in that case"),
    ],
)
@pytest.mark.parametrize("method", [FourDVar, ETKF])
def test_what_is_wrong_is_named(method, change, message, window):
    with pytest.raises(ValueError, match=message):
        method(PROBLEM).sample(change(window), 2)


def test_what_is_missing_needs_no_standard_deviation(window):
    """Whatever stands there: a blind window is that of the prior."""
    blind = window._replace(y=torch.full_like(window.y, torch.nan), std=torch.zeros_like(window.std))
    assert FourDVar(PROBLEM).sample(blind, 2).x.isfinite().all()
    lost = torch.full_like(window.background, torch.nan)
    assert ETKF(PROBLEM).sample(window._replace(background=lost, background_std=lost), 2).x.isfinite().all()


def test_whole_numbers_may_say_when_windows_start(window):
    assert FourDVar(PROBLEM).sample(window._replace(start=torch.zeros(2, dtype=torch.int)), 2).x.isfinite().all()


def test_windows_of_numpy_in_double_precision():
    """What a notebook does first, with torch's own defaults."""
    r = np.random.default_rng(0)
    arrays = (r.standard_normal((2, 3, 1, 4)), np.ones((2, 3, 1, 4)), r.standard_normal((2, 1, 4)), np.ones((2, 1, 4)))
    torch.set_default_dtype(torch.float32)
    try:
        drawn = FourDVar(PROBLEM).sample(Window(*(torch.from_numpy(a) for a in (*arrays, np.zeros(2)))), 3)
    finally:
        torch.set_default_dtype(torch.float64)
    assert drawn.x.dtype == torch.float64


OPERATORS = (Quadratic((1, 4)), Pointwise((1, 4), "atan"), GaussianStations((1, 4), kernel=1, stride=1))


def test_problems_equal_their_pickles():
    observation = Observation(Composed((1, 4), OPERATORS), std=(0.5, 1.0), masks=[RandomMask(0.5)])
    problem = Problem(
        LinearAdvection(size=4), observation, 3, model_error=[0.1], parameters={"damping": Normal(0.1, 0.01)}
    )
    problem.sample((2,))
    copy = pickle.loads(pickle.dumps(problem))
    assert copy == problem
    assert hash(copy) == hash(problem)
    assert len({problem, copy, replace(problem, window=4)}) == 2
    other = replace(problem, observation=replace(observation, operator=Identity((1, 4))))
    assert other != problem


def test_operators_differ_by_their_options():
    assert GaussianStations((1, 8), positions=(0, 4)) == GaussianStations((1, 8), positions=[0, 4])
    assert GaussianStations((1, 8), positions=(0, 4)) != GaussianStations((1, 8), positions=(0, 5))
    assert GaussianStations((1, 8), width=0.8) != GaussianStations((1, 8), width=0.9)
    assert Identity((1, 4)) != Quadratic((1, 4))


def test_a_number_stands_for_an_interval():
    observation = Observation(Identity((1, 4)), std=0.5)
    assert observation == Observation(Identity((1, 4)), std=(0.5, 0.5))
    problem = Problem(LinearAdvection(size=4), observation, 3, background_std=2)
    assert problem.background_std == (2.0, 2.0)
    assert (problem.sample((3,)).window.std == 0.5).all()
    for wrong in (-1.0, (2.0, 1.0)):
        with pytest.raises(ValueError, match="std: needs 0 < low <= high"):
            Observation(Identity((1, 4)), std=wrong)


def test_options_by_name_are_refused_in_words():
    with pytest.raises(TypeError, match=r"family: must be of class Family, such as Full\(\), not 'full'"):
        VariationalInference(PROBLEM, family="full")
    assert VariationalInference(PROBLEM, family=Full()).sample(PROBLEM.sample((1,)).window, 2).x.isfinite().all()
    with pytest.raises(TypeError, match=r"schedule: must be of class Schedule, such as EDM\(\), not 'edm'"):
        NeuralScore(PROBLEM, schedule="edm")
    with pytest.raises(TypeError, match=r"network: must be of class Network, such as MLP\(\), not 'mlp'"):
        NeuralPosterior(PROBLEM, network="mlp")


def test_constants_are_copied_once():
    constant = Constant(torch.ones(3, dtype=torch.float64))
    x = torch.zeros(2, dtype=torch.float32)
    with torch.inference_mode():
        copy = constant.like(x)
    assert copy is constant.like(x)
    assert copy.dtype == torch.float32
    assert not copy.is_inference()
    assert constant == pickle.loads(pickle.dumps(constant))
