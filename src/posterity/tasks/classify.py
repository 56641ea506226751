"""``posterity classify``: networks that tell the truth from the draws of a trained estimator."""

from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import xarray as xr

from ..data import SCORES, write
from ..errors import ConfigError, DataError, PosterityError
from ..estimators import Classifier, Learned, ObservationView, Pairs, StateView, TrainingError, View, network_chunks
from ..estimators.classifier import fit, logits
from ..experiment import Experiment
from ..experiment.sections import ClassifierConfig
from ..inference.components import build
from ..inference.devices import cost, on_device
from ..inference.experiments import build_problem
from ..metrics import RATES, attributes, auc, true_positive_rate
from ..problems import Problem, Twin
from .common import log, provenance, seed_everything
from .files.library import library
from .sample import load_estimator

#: The views of a state, one for each classifier.
VIEWS: tuple[type[StateView | ObservationView], ...] = (StateView, ObservationView)


def classify(
    experiment: Experiment,
    method: str,
    weights: Path,
    output: Path,
    device: str = "auto",
    climatology: Path | None = None,
) -> None:
    """Trains networks that tell true states from draws of an estimator, and says how well they do on other windows.

    One sees the states at the windows' ends, the other new observations of them. They learn from new draws of the
    joint, with one draw of the estimator for each, and are judged on further ones: the estimator has learned from the
    states of the training split, and its weights were chosen by those of the validation split.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        weights: The folder that ``train`` wrote.
        output: The file to write, of kind ``classifier``.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.

    Raises:
        ConfigError: If the method is not trained, or the experiment has no classifiers.
        DataError: If the weights are missing or damaged, or too many draws failed.
        PosterityError: If the loss stops being finite.
    """
    settings = experiment.classifier
    if settings is None:
        raise ConfigError(f"'{experiment.name}' has no classifiers: say how to train them, at least 'classifier: {{}}'")
    if method not in experiment.classified():
        raise ConfigError(f"--method: '{method}' is not trained, and only draws of estimators are classified")
    with on_device(device) as chosen:
        start = perf_counter()
        problem = build_problem(experiment, library(experiment, climatology, held_out=True))
        estimator = load_estimator(experiment, method, problem, weights, chosen)
        seed = seed_everything(experiment, "classify", method)
        known = _pairs(estimator, problem.sample((settings.cases,)), method)
        unknown = _pairs(estimator, problem.sample((settings.judged,)), method)
        try:
            found = {view.space: _judged(problem, view(problem), settings, known, unknown) for view in VIEWS}
        except (TrainingError, ValueError) as error:
            raise PosterityError(f"classifier: {error}") from error
        extra = cost(perf_counter() - start, chosen)
    dataset = xr.concat(list(found.values()), dim=xr.Variable("space", np.array(list(found), dtype=object)))
    dataset.attrs = provenance("classify", experiment, method, seed, method, **extra)
    write(dataset, output, "classifier", SCORES)
    for space, one in found.items():
        log.info("%s: AUC %.3f ± %.3f by the %s", output, float(one["auc"]), float(one["auc_std"]), space)


def _pairs(estimator: Learned, twin: Twin, method: str) -> Pairs:
    """The true state at the end of each window, with one draw of it; in random order, without those that failed."""
    end, draws = estimator.problem.window - 1, []
    for chunk in network_chunks(len(twin.x), 1, estimator.shape, twin.x.device):
        drawn = estimator.sample(twin.window.select(chunk), 1)
        draws.append(drawn.x[0, :, end - drawn.steps.start])
    draw = torch.cat(draws)
    both = torch.cat((draw, twin.x[:, end]), dim=1)
    good = both.flatten(1).isfinite().all(dim=1).nonzero().squeeze(1)
    if len(good) < len(draw):
        failed = len(draw) - len(good)
        log.warning("classifier: %d of %d windows, or draws of '%s', failed: left out", failed, len(draw), method)
    if len(good) < 2:
        raise DataError(f"classifier: all draws of '{method}' failed; train it again, with a smaller learning_rate")
    return Pairs(twin.x[:, end], draw, twin.window).take(good[torch.randperm(len(good))])


def _judged(problem: Problem, view: View, settings: ClassifierConfig, known: Pairs, unknown: Pairs) -> xr.Dataset:
    """Trains a classifier, and judges it by other pairs."""
    plan = None if settings.network is None else build("network", settings.network)
    classifier = Classifier(problem, view, plan)
    loss = fit(classifier, known, settings.epochs, settings.batch, settings.learning_rate)
    log.info("classifier by the %s: loss %.4f, of 0.6931 by chance", view.space, loss)
    sides = [side.double().cpu().numpy() for side in logits(classifier, unknown, settings.batch)]
    area, error = auc(*sides)
    variables = {
        "auc": ((), area),
        "auc_std": ((), error),
        "true_positive_rate": ("false_positive_rate", true_positive_rate(*sides)),
    }
    found = {name: (*variable, attributes(name)) for name, variable in variables.items()}
    return xr.Dataset(found, {"false_positive_rate": RATES})
