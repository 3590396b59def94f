"""Pictures of one training: its learning curve, and what its layers were like."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.errors import DataError
from nbmlp.plots.panels import (
    ABOVE,
    MARK,
    MOST_LAYERS,
    SCORE,
    TRAIN,
    VALIDATION,
    Floats,
    as_curve,
    choose_scale,
    draw_curve,
    draw_layers,
    dress_axes,
    figure_of,
    saved,
    stacked_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_of_nets", "learning_curve", "watched_layers"]


#: Nets of an ensemble: the best one, others that count in it, and the rest.
_STRONGEST: dict[str, Any] = {"color": VALIDATION, "linewidth": 2.4, "marker": "", "label": "best"}
_STRONG: dict[str, Any] = {
    "color": TRAIN, "linewidth": 1.3, "marker": "", "label": "in the ensemble",
}  # fmt: skip
_FAINT: dict[str, Any] = {
    "color": MARK, "linewidth": 0.7, "alpha": 0.6, "marker": "", "label": "others",
}  # fmt: skip


def learning_curve(
    epoch: ArrayLike,
    train_loss: ArrayLike,
    *,
    data_loss: ArrayLike | None = None,
    val_loss: ArrayLike | None = None,
    val_score: ArrayLike | None = None,
    gradient_norms: ArrayLike | None = None,
    best_epoch: int | None = None,
    score_name: str = "score",
    title: str = "",
    path: str | os.PathLike[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw losses, validation score and gradient norms over the epochs, one panel each.

    Parameters
    ----------
    epoch : array_like of shape (epochs,)
    train_loss : array_like of shape (epochs,)
        Data part and penalty together.
    data_loss : array_like of shape (epochs,), optional
        The data part alone; drawn where the penalty is more than 1 % of the loss.
    val_loss, val_score : array_like of shape (epochs,), optional
        Left out when None or all NaN.
    gradient_norms : array_like of shape (epochs, layers), optional
        Left out likewise.
    best_epoch : int, optional
        Epoch to mark.
    score_name : str
        What the score is, e.g. ``"accuracy"``.
    title : str
        Above the first panel.
    path : path-like, optional
        File to write; its ending chooses the format (png, pdf, svg, ...).
    ax : matplotlib.axes.Axes, optional
        Draw the losses there, and nothing else.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot: nothing stays open and no display is needed.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    DataError
        There is nothing finite to draw, or the file cannot be written.
    """
    x = np.asarray(epoch, dtype=np.float64)
    total, data = as_curve(train_loss), as_curve(data_loss)
    if total is None:
        raise DataError("there is no epoch with a finite loss to draw.")
    if data is not None and np.allclose(total, data, rtol=0.01, equal_nan=True):
        data = None
    validation, score, norms = map(as_curve, (val_loss, val_score, gradient_norms))
    draw: list[Callable[[Axes], None]] = [
        partial(_draw_losses, x=x, total=total, data=data, validation=validation)
    ]
    if score is not None:
        draw.append(partial(_draw_score, x=x, score=score, name=score_name))
    if norms is not None:
        draw.append(partial(_draw_norms, x=x, norms=norms))
    figure, axes = stacked_panels(len(draw)) if ax is None else (figure_of(ax), [ax])
    for panel, draw_on in zip(axes, draw, strict=False):  # one only where the user gave one
        draw_on(panel)
        dress_axes(panel, x, best_epoch)
    axes[0].set_title(title, loc="left")
    axes[0].legend(**ABOVE)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    return saved(figure, path)


def curves_of_nets(
    curves: Mapping[int, tuple[ArrayLike, ArrayLike]],
    score_name: str = "score",
    *,
    best: tuple[int | None, int | None] | None = None,
    chosen: Collection[int] = (),
    title: str = "",
    path: str | os.PathLike[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the validation score of each net of an ensemble over its own epochs.

    Parameters
    ----------
    curves : mapping of int to (epoch, score)
        Numbers of nets -> two array_like of shape (epochs,).
    score_name : str
        What the score is, e.g. ``"log_loss"``.
    best : (int, int), optional
        The net with the best score, and the epoch in which it had it.
    chosen : collection of int
        Nets that count in the ensemble: drawn stronger than the others.
    title, path, ax
        As for :func:`learning_curve`; so is what is returned and raised.
    """
    x = np.concatenate([np.asarray(epoch, dtype=np.float64) for epoch, _ in curves.values()])
    shown = {net: y for net, (_, score) in curves.items() if (y := as_curve(score)) is not None}
    if not shown:
        raise DataError("there is no epoch with a finite score to draw.")
    net, epoch = best or (None, None)
    figure, (panel, *_) = stacked_panels(1) if ax is None else (figure_of(ax), [ax])
    labels: set[str] = set()
    # What is to be seen best is drawn last.
    for number in sorted(shown, key=lambda one: (one == net, one in chosen)):
        style = _STRONGEST if number == net else _STRONG if number in chosen else _FAINT
        label = f"net {number}, the best" if number == net else style["label"]
        once = label if label not in labels else None
        labels.add(label)
        own = np.asarray(curves[number][0], dtype=np.float64)
        draw_curve(panel, own, shown[number], **style | {"label": once})
    choose_scale(panel, list(shown.values()))
    dress_axes(panel, x, epoch)
    panel.set_ylabel(f"validation {score_name}")
    panel.set_xlabel("epoch of a net")
    panel.set_title(title, loc="left")
    panel.legend(**ABOVE)
    return saved(figure, path)


def watched_layers(
    epoch: Sequence[int],
    panels: Mapping[str, Floats],
    *,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw one panel per quantity, one curve per layer.

    Parameters
    ----------
    epoch : sequence of int
    panels : mapping of str to ndarray (epochs, layers)
        What is drawn -> its values.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    if not len(epoch):
        raise DataError("there is no epoch to draw.")
    x = np.asarray(epoch, dtype=np.float64)
    figure, axes = stacked_panels(len(panels))
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        draw_layers(ax, x, values, name)
        dress_axes(ax, x, None)
    if next(iter(panels.values())).shape[1] <= MOST_LAYERS:
        axes[0].legend(**ABOVE)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    return saved(figure, path)


def _draw_losses(
    ax: Axes, x: Floats, total: Floats, data: Floats | None, validation: Floats | None
) -> None:
    label = "training" if data is None else "training, with penalty"
    lines: list[tuple[Floats | None, dict[str, Any]]] = [
        (total, {"color": TRAIN, "label": label, "linestyle": "-" if data is None else ":"}),
        (data, {"color": TRAIN, "label": "training"}),
        (validation, {"color": VALIDATION, "label": "validation"}),
    ]
    shown = [(y, style) for y, style in lines if y is not None]
    for y, style in shown:
        draw_curve(ax, x, y, **style)
    choose_scale(ax, [y for y, _ in shown])
    ax.set_ylabel("loss")


def _draw_score(ax: Axes, x: Floats, score: Floats, name: str) -> None:
    draw_curve(ax, x, score, color=SCORE)
    if np.nanmin(score) < -1 < np.nanmax(score):  # R2 of a net that has not learned yet
        ax.set_ylim(bottom=-1)
    ax.set_ylabel(f"validation {name}")


def _draw_norms(ax: Axes, x: Floats, norms: Floats) -> None:
    draw_layers(ax, x, norms, "gradient norm")
    if norms.shape[1] <= MOST_LAYERS:
        ax.legend(**ABOVE)
