"""Classifier two-sample tests: ROC curves of networks that tell draws from the truth."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import methods_of, need

#: The label of each space.
SPACES: Mapping[str, str] = {"state": "states", "observation": "observations of them"}

#: The width of a line and a gap in the legend, and the mean one of a character, in inches.
LINE, CHARACTER = 0.55, 0.06


@style.styled
def roc(classifiers: xr.Dataset) -> Figure:
    """Draws the ROC curves of classifiers: the rate of true states found, against that of draws taken for them.

    A classifier sees the window's observations with either the truth or a draw, as states or as observations of them.
    On the diagonal it cannot tell one from the other: it has no evidence against the posterior. The legend gives the
    areas under the curves with their standard errors; 0.5 is the best.

    Args:
        classifiers: ``true_positive_rate(method, space, false_positive_rate)``, ``auc(method, space)`` and
            ``auc_std(method, space)``.

    Returns:
        The figure: a panel for each space.

    Raises:
        PosterityError: If there is no curve to draw.
    """
    need(classifiers, ("auc", "auc_std", "true_positive_rate"), "roc", "give the experiment a classifier")
    known = classifiers["auc"].notnull()
    if not known.any():
        raise PosterityError("figure 'roc': every area is NaN; look at the logs of the classifiers")
    looks = style.looks(methods_of(classifiers))
    classifiers = classifiers.isel(method=np.flatnonzero(known.any("space")))
    methods, spaces = methods_of(classifiers), [str(name) for name in classifiers["space"].values]
    labels = [_label(classifiers.isel(method=index)) for index in range(len(methods))]
    across = max(1, min(len(methods), int(style.WIDTH / (LINE + CHARACTER * max(map(len, labels))))))
    figure = style.canvas(3.2 + 0.15 * -(-len(methods) // across))
    axes = figure.subplots(1, len(spaces), sharex=True, sharey=True, squeeze=False)[0]
    for panel, space in zip(axes, spaces, strict=True):
        _panel(panel, classifiers.sel(space=space), looks, labels)
        panel.set_title(SPACES[space])
    axes[0].set_ylabel("true positive rate (fraction)")
    title = f"area under the curve ± one standard error: {' / '.join(SPACES[space] for space in spaces)}"
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=across, title=title)
    return figure


def _label(classifier: xr.Dataset) -> str:
    """A method's name, with the areas in all spaces."""
    areas = zip(classifier["auc"].values, classifier["auc_std"].values, strict=True)
    return f"{classifier['method'].item()}  " + " / ".join(f"{area:.3f}±{error:.3f}" for area, error in areas)


def _panel(axes: Axes, classifiers: xr.Dataset, looks: Mapping[str, style.Look], labels: list[str]) -> None:
    """Draws the curves of all methods in one space."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.6)
    rates = classifiers["false_positive_rate"].values
    curves = classifiers["true_positive_rate"].transpose("method", "false_positive_rate").values
    for index, (curve, method, label) in enumerate(zip(curves, methods_of(classifiers), labels, strict=True)):
        look, every = looks[method], max(1, len(rates) // 5)
        line = axes.plot(rates, curve, color=look.colour, linestyle=look.line, linewidth=0.9, label=label)[0]
        # Markers of different methods stand at different rates.
        line.set(marker=look.marker, markerfacecolor=look.face, markevery=(3 * index % every, every))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="false positive rate (fraction)")
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
