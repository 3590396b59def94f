"""Pictures of a training. matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError, missing_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "batch_scan",
    "before_and_after",
    "compare_curves",
    "learning_curve",
    "watched_layers",
]

Floats = NDArray[np.float64]

# Okabe and Ito's colours, told apart by colour-blind readers too.
_TRAIN, _VALIDATION, _SCORE, _MARK = "#0072B2", "#D55E00", "#009E73", "#555555"
_CYCLE = (_MARK, _TRAIN, _VALIDATION, _SCORE, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Curves that span more than this factor get a logarithmic axis.
_LOG_SPAN = 10.0
#: Up to this many epochs, each gets a dot.
_DOTS = 25
#: More layers than this get no legend.
_MOST_LAYERS = 8
#: Legends stand above their panel, where no curve runs through them.
_ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.0, 1.0),
    "ncols": 8,
    "frameon": False,
    "fontsize": "small",
    "borderaxespad": 0.2,
    "columnspacing": 1.2,
    "handlelength": 1.6,
}


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
        No epoch has a finite loss, or the file cannot be written.
    """
    x = np.asarray(epoch, dtype=np.float64)
    total, data = _curve(train_loss), _curve(data_loss)
    if total is None:
        raise DataError("there is no epoch with a finite loss to draw.")
    if data is not None and np.allclose(total, data, rtol=0.01, equal_nan=True):
        data = None
    validation, score, norms = map(_curve, (val_loss, val_score, gradient_norms))
    draw: list[Callable[[Axes], None]] = [
        partial(_draw_losses, x=x, total=total, data=data, validation=validation)
    ]
    if score is not None:
        draw.append(partial(_draw_score, x=x, score=score, name=score_name))
    if norms is not None:
        draw.append(partial(_draw_norms, x=x, norms=norms))
    figure, axes = _panels(len(draw)) if ax is None else (_figure_of(ax), [ax])
    for panel, draw_on in zip(axes, draw, strict=False):  # one only where the user gave one
        draw_on(panel)
        _dress(panel, x, best_epoch)
    axes[0].set_title(title, loc="left")
    axes[0].legend(**_ABOVE)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    if path is not None:
        _write(figure, path)
    return figure


def batch_scan(
    batch: ArrayLike,
    speed: ArrayLike,
    seconds: ArrayLike,
    updates: ArrayLike,
    *,
    noise_scale: float | None = None,
    best: int | None = None,
    target: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw samples per second, and seconds and updates to a target, against the batch size.

    Parameters
    ----------
    batch, speed, seconds, updates : array_like of shape (sizes,)
        NaN where something is not known; the lower panel is left out if nothing is.
    noise_scale : float, optional
        In rows; a vertical line where it is finite.
    best : int, optional
        Batch to mark.
    target : str
        What is reached, in words.
    path : path-like, optional
        File to write; its ending chooses the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    DataError
        No speed is known, or the file cannot be written.
    """
    x, rate = np.asarray(batch, dtype=np.float64), _curve(speed)
    if rate is None:
        raise DataError("there is no speed to draw: none was measured.")
    times, steps = _curve(seconds), _curve(updates)
    figure, axes = _panels(1 if times is None else 2)
    _draw_by_batch(axes[0], x, rate, "samples/s", _TRAIN)
    if times is not None and steps is not None:
        _draw_by_batch(axes[1], x, times, f"seconds to {target or 'target'}", _VALIDATION)
        _draw_by_batch(axes[1].twinx(), x, steps, "updates", _SCORE)
    for ax in axes:
        _mark_batches(ax, best, noise_scale)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(**_ABOVE)
    axes[-1].set_xlabel("batch size")
    if path is not None:
        _write(figure, path)
    return figure


def _draw_by_batch(ax: Axes, x: Floats, y: Floats, name: str, color: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    _plot(ax, x, y, color=color)
    _log_scale(ax, np.nanmin(y), np.nanmax(y))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(name, color=color)
    ax.spines["top"].set_visible(False)


def _mark_batches(ax: Axes, best: int | None, noise_scale: float | None) -> None:
    ax.grid(alpha=0.3, linewidth=0.6)
    if best is not None:
        label = f"soonest: {best:,}"
        ax.axvline(best, color=_MARK, linewidth=1.0, linestyle="--", zorder=1, label=label)
    if noise_scale is not None and 0 < noise_scale < math.inf:
        label = f"gradient noise scale: {noise_scale:,.0f}"
        ax.axvline(noise_scale, color="k", linewidth=1.0, linestyle=":", zorder=1, label=label)


def before_and_after(
    rows: Mapping[str, tuple[Mapping[str, ArrayLike], Mapping[str, ArrayLike]]],
    *,
    titles: tuple[str, str] = ("as written", "cured"),
    linear: Collection[str] = (),
    level: tuple[str, float] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw trainings that fail on the left, and the same ones cured on the right.

    Parameters
    ----------
    rows : mapping of str to (before, after)
        What the values are -> two mappings, name of a training -> one value per epoch; each is
        a row of two panels with one scale. Names have one colour all over.
    titles : (str, str)
        Above the columns.
    linear : collection of str
        Rows that never get a logarithmic axis.
    level : (str, float), optional
        A horizontal line in the first row, and its name.
    path : path-like, optional
        File to write; its ending chooses the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    DataError
        A row has nothing to draw, or the file cannot be written.
    """
    names = dict.fromkeys(name for pair in rows.values() for curves in pair for name in curves)
    colours = dict(zip(names, _CYCLE[1:], strict=False))
    figure = _figure(9.0, 1.2 + 1.9 * len(rows))
    grid = figure.subplots(len(rows), 2, sharex=True, sharey="row", squeeze=False)
    for (ylabel, pair), axes in zip(rows.items(), grid, strict=True):
        drawn = [line for ax, c in zip(axes, pair, strict=True) for line in _lines(ax, c, colours)]
        if not drawn:
            raise DataError(f"there is no epoch with a finite {ylabel} to draw.")
        if ylabel not in linear:
            _choose_scale(axes[0], drawn)
        axes[0].set_ylabel(ylabel)
        for ax in axes:
            _dress(ax, np.arange(1.0, max(map(len, drawn)) + 1), None)
    for ax, title in zip(grid[0], titles, strict=True):
        if level is not None:
            ax.axhline(level[1], color=_MARK, linestyle="--", linewidth=1.0, label=level[0])
        ax.set_title(title, loc="left", pad=22.0)
        ax.legend(**_ABOVE)
    for ax in grid[-1]:
        ax.set_xlabel("epoch")
    if path is not None:
        _write(figure, path)
    return figure


def _lines(
    ax: Axes, curves: Mapping[str, ArrayLike], colours: Mapping[str, str]
) -> Iterator[Floats]:
    """Draw the curves that have something to draw, and return them."""
    for name, values in curves.items():
        if (y := _curve(values)) is not None:
            _plot(ax, np.arange(1.0, len(y) + 1), y, color=colours[name], label=name)
            yield y


def _curve(values: ArrayLike | None) -> Floats | None:
    """The values where there is something to draw."""
    if values is None:
        return None
    curve = np.asarray(values, dtype=np.float64)
    return curve if np.isfinite(curve).any() else None


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    figure = _figure(7.0, 2.2 + 1.9 * n)
    heights = [1.5] + [1.0] * (n - 1)
    axes = figure.subplots(n, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def _figure(width: float, height: float) -> Figure:
    """An empty picture, its size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("a learning curve", "matplotlib", "plot") from None
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _figure_of(ax: Axes) -> Figure:
    return ax.get_figure(root=True)  # type: ignore[return-value]


def _draw_losses(
    ax: Axes, x: Floats, total: Floats, data: Floats | None, validation: Floats | None
) -> None:
    label = "training" if data is None else "training, with penalty"
    lines: list[tuple[Floats | None, dict[str, Any]]] = [
        (total, {"color": _TRAIN, "label": label, "linestyle": "-" if data is None else ":"}),
        (data, {"color": _TRAIN, "label": "training"}),
        (validation, {"color": _VALIDATION, "label": "validation"}),
    ]
    shown = [(y, style) for y, style in lines if y is not None]
    for y, style in shown:
        _plot(ax, x, y, **style)
    _choose_scale(ax, [y for y, _ in shown])
    ax.set_ylabel("loss")


def _draw_score(ax: Axes, x: Floats, score: Floats, name: str) -> None:
    _plot(ax, x, score, color=_SCORE)
    if np.nanmin(score) < -1 < np.nanmax(score):  # R2 of a net that has not learned yet
        ax.set_ylim(bottom=-1)
    ax.set_ylabel(f"validation {name}")


def _draw_norms(ax: Axes, x: Floats, norms: Floats) -> None:
    _draw_layers(ax, x, norms, "gradient norm")
    if norms.shape[1] <= _MOST_LAYERS:
        ax.legend(**_ABOVE)


def _draw_layers(ax: Axes, x: Floats, values: Floats, ylabel: str) -> None:
    """One curve per layer, values (epochs, layers)."""
    from matplotlib import colormaps

    layers = values.shape[1]
    shades = colormaps["viridis"](np.linspace(0.0, 0.85, layers))
    for i in range(layers):
        _plot(ax, x, values[:, i], color=shades[i], label=f"layer {i + 1}")
    _choose_scale(ax, [values])
    ax.set_ylabel(ylabel)


def _plot(ax: Axes, x: Floats, y: Floats, **style: Any) -> None:
    marker = "o" if x.size <= _DOTS else ""
    ax.plot(x, y, linewidth=1.8, marker=marker, markersize=3.5, **style)


def _choose_scale(ax: Axes, curves: list[Floats]) -> None:
    values = np.concatenate([c.ravel() for c in curves])
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    if low <= 0 or high <= _LOG_SPAN * low:
        return
    _log_scale(ax, low, high)


def _log_scale(ax: Axes, low: float, high: float) -> None:
    """A logarithmic y axis; few powers of ten get the steps between them labelled too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    if high < 1e3 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _brief(value)))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _brief(value: float) -> str:
    """A tick's number: 20M and 500k, not 2e+07 and 500000."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _dress(ax: Axes, x: Floats, best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    if best_epoch is not None:
        label = f"best: epoch {best_epoch}"
        ax.axvline(best_epoch, color=_MARK, linewidth=1.0, linestyle="--", zorder=1, label=label)
    pad = 0.02 * np.ptp(x) or 0.5
    ax.set_xlim(x.min() - pad, x.max() + pad)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _write(figure: Figure, path: str | os.PathLike[str]) -> None:
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"the picture {os.fspath(path)} cannot be written: {why}.") from error


def compare_curves(
    curves: Mapping[str, ArrayLike],
    ylabel: str,
    *,
    xlabel: str = "epoch",
    step: float = 1.0,
    log_x: bool = False,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw one curve per training, in one panel.

    Parameters
    ----------
    curves : mapping of str to sequence of float
        Name -> one value per epoch; epochs whose value is not finite are left out.
    ylabel, xlabel : str
        What the values are, and what is counted below them.
    step : float
        From one value to the next.
    log_x : bool
        A logarithmic axis, for trainings of very different length.
    path
        As for :func:`learning_curve`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    DataError
        There is nothing to draw, or the file cannot be written.
    """
    drawn = {name: y for name, values in curves.items() if (y := _curve(values)) is not None}
    if not drawn:
        raise DataError("there is no epoch with a finite value to draw.")
    figure, (ax,) = _panels(1)
    for (name, y), colour in zip(drawn.items(), _CYCLE, strict=False):
        _plot(ax, step * np.arange(1.0, len(y) + 1), y, color=colour, label=name)
    _choose_scale(ax, list(drawn.values()))
    _dress(ax, step * np.arange(1.0, max(map(len, drawn.values())) + 1), None)
    if log_x:
        ax.set_xscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, fontsize="small")
    if path is not None:
        _write(figure, path)
    return figure


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
        As for :func:`learning_curve`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    DataError
        There is nothing to draw, or the file cannot be written.
    """
    if not len(epoch):
        raise DataError("there is no epoch to draw.")
    x = np.asarray(epoch, dtype=np.float64)
    figure, axes = _panels(len(panels))
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        _draw_layers(ax, x, values, name)
        _dress(ax, x, None)
    if next(iter(panels.values())).shape[1] <= _MOST_LAYERS:
        axes[0].legend(**_ABOVE)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    if path is not None:
        _write(figure, path)
    return figure
