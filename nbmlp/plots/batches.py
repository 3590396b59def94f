"""The picture of a batch scan."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.errors import DataError
from nbmlp.plots.panels import (
    ABOVE,
    MARK,
    SCORE,
    TRAIN,
    VALIDATION,
    Floats,
    as_curve,
    draw_curve,
    log_axis,
    saved,
    stacked_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["batch_scan"]


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
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    x, rate = np.asarray(batch, dtype=np.float64), as_curve(speed)
    if rate is None:
        raise DataError("there is no speed to draw: none was measured.")
    times, steps = as_curve(seconds), as_curve(updates)
    figure, axes = stacked_panels(1 if times is None else 2)
    _draw_by_batch(axes[0], x, rate, "samples/s", TRAIN)
    if times is not None and steps is not None:
        _draw_by_batch(axes[1], x, times, f"seconds to {target or 'target'}", VALIDATION)
        _draw_by_batch(axes[1].twinx(), x, steps, "updates", SCORE)
    for ax in axes:
        _mark_batches(ax, best, noise_scale)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(**ABOVE)
    axes[-1].set_xlabel("batch size")
    return saved(figure, path)


def _draw_by_batch(ax: Axes, x: Floats, y: Floats, name: str, color: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    draw_curve(ax, x, y, color=color)
    log_axis(ax.yaxis, np.nanmin(y), np.nanmax(y))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(name, color=color)
    ax.spines["top"].set_visible(False)


def _mark_batches(ax: Axes, best: int | None, noise_scale: float | None) -> None:
    ax.grid(alpha=0.3, linewidth=0.6)
    if best is not None:
        label = f"soonest: {best:,}"
        ax.axvline(best, color=MARK, linewidth=1.0, linestyle="--", zorder=1, label=label)
    if noise_scale is not None and 0 < noise_scale < math.inf:
        label = f"gradient noise scale: {noise_scale:,.0f}"
        ax.axvline(noise_scale, color="k", linewidth=1.0, linestyle=":", zorder=1, label=label)
