"""Pictures of how good predictions are: confusion matrix, calibration, predicted over true."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.errors import DataError
from nbmlp.plots.panels import MARK, TRAIN, VALIDATION, Floats, figure_of, new_figure, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "calibration_curve", "confusion_matrix", "evaluation", "importances", "of_classes",
    "predicted_values",
]  # fmt: skip

#: Characters of a name that are shown.
_LONGEST = 24
#: More classes than this have no room for their counts; more than that, none for all names.
_MOST_COUNTS, _MOST_NAMES = 30, 60
#: Bars that are drawn; the least important columns are left out.
_MOST_BARS = 40
#: Points of a scatter; more are black anyway.
_MOST_POINTS = 5000
_LARGEST = 14.0
#: Names are shown as they are: a dollar sign begins no formula.
_AS_IT_IS: dict[str, Any] = {"parse_math": False}


def _shown(name: object, longest: int = _LONGEST) -> str:
    """A name on one line that fits beside a picture."""
    text = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def confusion_matrix(
    matrix: ArrayLike,
    labels: Sequence[object],
    *,
    path: str | os.PathLike[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw rows by true class and predicted class; shades are shares of the true class.

    Parameters
    ----------
    matrix : array_like of shape (k, k)
        Of :func:`nbmlp.metrics.confusion_matrix`.
    labels : sequence of length k
        Any names; long ones are cut.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    ax : matplotlib.axes.Axes, optional
        Draw there.
    """
    counts = np.asarray(matrix, np.float64)
    names = [_shown(label) for label in labels]
    if counts.shape != (len(names), len(names)) or not names:
        raise DataError(f"a matrix of shape {counts.shape} does not go with {len(names)} labels.")
    if ax is None:
        ax = new_figure(*_size_of_matrix(names)).subplots()
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(names) <= _MOST_COUNTS:
        _write_counts(ax, counts, share)
    step = -(-len(names) // _MOST_NAMES)
    places = np.arange(0, len(names), step)
    size = _cell(names) * 72 * 0.62 * step
    font: dict[str, Any] = {"fontsize": float(np.clip(size, 4.0, 9.0)), **_AS_IT_IS}
    few = [names[i] for i in places]
    level = max(map(len, few)) <= max(2, 14 // len(names))
    ax.set_xticks(places, few, rotation=0 if level else 90, **font)
    ax.set_yticks(places, few, **font)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    return saved(figure_of(ax), path)


def _cell(names: Sequence[str]) -> float:
    """Side of a cell, in inches."""
    return min(0.5, max(0.26, 3.0 / len(names)), (_LARGEST - 2.5) / len(names))


def _size_of_matrix(names: Sequence[str]) -> tuple[float, float]:
    side = 0.9 + _cell(names) * len(names) + 0.075 * max(map(len, names))
    return max(side, 3.4), max(side, 3.2)


def _write_counts(ax: Axes, counts: Floats, share: Floats) -> None:
    texts = [[f"{count:.4g}" if count % 1 else f"{count:.0f}" for count in row] for row in counts]
    longest = max(len(text) for row in texts for text in row)
    size = float(np.clip(_cell([""] * len(counts)) * 72 * 1.35 / max(longest, 2), 3.0, 10.0))
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            if counts[i, j]:
                color = "white" if share[i, j] > 0.55 else "#333333"
                ax.text(j, i, text, ha="center", va="center", fontsize=size, color=color)


def calibration_curve(
    points: ArrayLike,
    *,
    name: str = "the predicted class",
    path: str | os.PathLike[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw how often what is predicted comes true, over the probability that it is given.

    Parameters
    ----------
    points : array_like of shape (parts, 3)
        Of :func:`nbmlp.metrics.calibration`.
    name : str
        Whose probability it is.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    ax : matplotlib.axes.Axes, optional
        Draw there.
    """
    rows = np.asarray(points, np.float64).reshape(-1, 3)
    if not len(rows):
        raise DataError("there is no probability to draw.")
    if ax is None:
        ax = new_figure(4.8, 4.4).subplots()
    ax.plot([0, 1], [0, 1], color=MARK, linewidth=1.0, linestyle="--", zorder=1)
    sizes = 12.0 + 180.0 * rows[:, 2] / rows[:, 2].sum()
    ax.plot(rows[:, 0], rows[:, 1], color=TRAIN, linewidth=1.4, zorder=2)
    ax.scatter(rows[:, 0], rows[:, 1], s=sizes, color=TRAIN, zorder=3)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.set_aspect("equal")
    ax.set_xlabel(f"probability of {_shown(name)}", **_AS_IT_IS)
    ax.set_ylabel("share that came true (larger dots: more rows)")
    _light_grid(ax)
    return saved(figure_of(ax), path)


def of_classes(
    matrix: ArrayLike,
    labels: Sequence[object],
    points: ArrayLike | None,
    name: str = "the predicted class",
    *,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the confusion matrix, and the calibration beside it.

    Parameters
    ----------
    matrix, labels
        Of :func:`confusion_matrix`.
    points, name
        Of :func:`calibration_curve`; None where there are no probabilities.
    title : str
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    names = [_shown(label) for label in labels]
    width, height = _size_of_matrix(names)
    if points is None:
        figure = new_figure(width, height)
        first = figure.subplots()
    else:
        figure = new_figure(width + 4.6, max(height, 4.4))
        first, second = figure.subplots(1, 2, width_ratios=[width, 4.6])
        calibration_curve(points, name=name, ax=second)
    confusion_matrix(matrix, labels, ax=first)
    if title:
        figure.suptitle(_shown(title, 2 * _LONGEST), fontsize="medium", **_AS_IT_IS)
    return saved(figure, path)


def evaluation(
    shown: tuple[Any, ...],
    *,
    names: Sequence[object] = (),
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw what there is to see of predictions.

    Parameters
    ----------
    shown : (matrix, labels, points, name) or (true, predicted)
        Of :func:`of_classes`, or of :func:`predicted_values`.
    names, title, path
        Of :func:`predicted_values`.
    """
    if len(shown) == 4:
        return of_classes(*shown, title=title, path=path)
    return predicted_values(*shown, names=names, title=title, path=path)


def predicted_values(
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    names: Sequence[object] = (),
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw predicted over true numbers; the nearer to the diagonal, the better.

    Parameters
    ----------
    true, predicted : array_like of shape (n,) or (n, targets)
        The first nine targets get a panel each.
    names : sequence, optional
        Of the targets.
    title : str
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    y, z = (np.asarray(v, np.float64).reshape(len(np.asarray(v)), -1) for v in (true, predicted))
    if y.shape != z.shape or not y.size:
        raise DataError(f"predictions of shape {z.shape} do not go with targets of {y.shape}.")
    panels = min(y.shape[1], 9)
    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = new_figure(0.6 + 3.8 * columns, 0.4 + 3.6 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    few = np.linspace(0, len(y) - 1, min(len(y), _MOST_POINTS)).astype(np.intp)
    for j, ax in enumerate(axes):
        if j >= panels:
            ax.set_visible(False)
            continue
        _scatter(ax, y[few, j], z[few, j])
        if j < len(names):
            ax.set_title(_shown(names[j]), loc="left", fontsize="medium", **_AS_IT_IS)
    if title:
        figure.suptitle(_shown(title, 2 * _LONGEST), fontsize="medium", **_AS_IT_IS)
    return saved(figure, path)


def _scatter(ax: Axes, true: Floats, predicted: Floats) -> None:
    ends = [float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))]
    ax.plot(ends, ends, color=MARK, linewidth=1.0, linestyle="--", zorder=1)
    alpha = float(np.clip(300.0 / len(true), 0.15, 0.8))
    ax.scatter(true, predicted, s=9, color=TRAIN, alpha=alpha, linewidths=0, zorder=2)
    ax.set_xlabel("true")
    ax.set_ylabel("predicted")
    _light_grid(ax)


def importances(
    names: Sequence[object],
    mean: ArrayLike,
    deviation: ArrayLike,
    *,
    score: str = "score",
    path: str | os.PathLike[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw how much worse a score gets without each column, the worst first.

    Parameters
    ----------
    names : sequence
        Of the columns; long ones are cut.
    mean, deviation : array_like of shape (columns,)
    score : str
        What gets worse.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    ax : matplotlib.axes.Axes, optional
        Draw there.
    """
    lost, spread = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
    if not len(lost):
        raise DataError("there is no column to draw.")
    order = np.argsort(-lost, kind="stable")[:_MOST_BARS]
    if ax is None:
        ax = new_figure(6.4, 1.1 + 0.24 * len(order)).subplots()
    y = np.arange(len(order))
    colors = [TRAIN if lost[i] >= 0 else VALIDATION for i in order]
    ax.barh(y, lost[order], xerr=spread[order], color=colors, height=0.7,
            error_kw={"ecolor": MARK, "elinewidth": 1.0, "capsize": 2.0})  # fmt: skip
    ax.set_yticks(y, [_shown(names[i]) for i in order], fontsize=8.0, **_AS_IT_IS)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.axvline(0.0, color=MARK, linewidth=0.8)
    left_out = f"; {len(lost) - len(order)} more columns matter less" * (len(lost) > len(order))
    ax.set_xlabel(f"{score} lost when the column is shuffled{left_out}")
    _light_grid(ax)
    ax.grid(visible=False, axis="y")
    return saved(figure_of(ax), path)


def _light_grid(ax: Axes) -> None:
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
