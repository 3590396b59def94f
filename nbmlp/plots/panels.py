"""Axes, scales, colours and files: what all pictures share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError, missing_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "ABOVE", "CYCLE", "DOTS", "MARK", "MOST_LAYERS", "SCORE", "TRAIN", "VALIDATION", "Floats",
    "as_curve", "choose_scale", "draw_curve", "draw_layers", "dress_axes", "figure_of", "log_axis",
    "new_figure", "saved", "stacked_panels",
]  # fmt: skip

Floats = NDArray[np.float64]

# Okabe and Ito's colours, told apart by colour-blind readers too.
TRAIN, VALIDATION, SCORE, MARK = "#0072B2", "#D55E00", "#009E73", "#555555"
CYCLE = (MARK, TRAIN, VALIDATION, SCORE, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Curves that span more than this factor get a logarithmic axis.
LOG_SPAN = 10.0
#: Up to this many epochs, each gets a dot.
DOTS = 25
#: More layers than this get no legend.
MOST_LAYERS = 8
#: Legends stand above their panel, where no curve runs through them.
ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.0, 1.0),
    "ncols": 8,
    "frameon": False,
    "fontsize": "small",
    "borderaxespad": 0.2,
    "columnspacing": 1.2,
    "handlelength": 1.6,
}


def as_curve(values: ArrayLike | None) -> Floats | None:
    """The values where there is something to draw."""
    if values is None:
        return None
    curve = np.asarray(values, dtype=np.float64)
    return curve if np.isfinite(curve).any() else None


def stacked_panels(n: int) -> tuple[Figure, list[Axes]]:
    """Panels one above the other over the same axis, the first the highest."""
    figure = new_figure(7.0, 2.2 + 1.9 * n)
    heights = [1.5] + [1.0] * (n - 1)
    axes = figure.subplots(n, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def new_figure(width: float, height: float) -> Figure:
    """An empty picture, its size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("a picture", "matplotlib", "plot") from None
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to."""
    return ax.get_figure(root=True)  # type: ignore[return-value]


def draw_layers(ax: Axes, x: Floats, values: Floats, ylabel: str) -> None:
    """One curve per layer, values (epochs, layers)."""
    from matplotlib import colormaps

    layers = values.shape[1]
    shades = colormaps["viridis"](np.linspace(0.0, 0.85, layers))
    for i in range(layers):
        draw_curve(ax, x, values[:, i], color=shades[i], label=f"layer {i + 1}")
    choose_scale(ax, [values])
    ax.set_ylabel(ylabel)


def draw_curve(ax: Axes, x: Floats, y: Floats, **style: Any) -> None:
    """One line, with dots where there are few points."""
    marker = "o" if x.size <= DOTS else ""
    usual: dict[str, Any] = {"linewidth": 1.8, "marker": marker, "markersize": 3.5}
    ax.plot(x, y, **usual | style)


def choose_scale(ax: Axes, curves: list[Floats]) -> None:
    """A logarithmic axis where curves span more than a factor of ten."""
    values = np.concatenate([c.ravel() for c in curves])
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    if low <= 0 or high <= LOG_SPAN * low:
        return
    log_axis(ax.yaxis, low, high)


def log_axis(axis: Axis, low: float, high: float) -> None:
    """A logarithmic axis; few powers of ten get the steps between them labelled too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    scale = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
    scale("log")
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: brief_number(value)))
        axis.set_minor_formatter(NullFormatter())


def brief_number(value: float) -> str:
    """A tick's number: 20M and 500k, not 2e+07 and 500000."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def dress_axes(ax: Axes, x: Floats, best_epoch: int | None) -> None:
    """Whole epochs below, a light grid, a mark at the best epoch."""
    from matplotlib.ticker import MaxNLocator

    if best_epoch is not None:
        label = f"best: epoch {best_epoch}"
        ax.axvline(best_epoch, color=MARK, linewidth=1.0, linestyle="--", zorder=1, label=label)
    pad = 0.02 * np.ptp(x) or 0.5
    ax.set_xlim(x.min() - pad, x.max() + pad)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, written to a file if one is named; raises DataError when it cannot be."""
    if path is None:
        return figure
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"the picture {os.fspath(path)} cannot be written: {why}.") from error
    return figure
