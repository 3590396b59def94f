"""Pictures of several trainings side by side."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.errors import DataError
from nbmlp.plots.panels import (
    ABOVE,
    CYCLE,
    MARK,
    Floats,
    as_curve,
    choose_scale,
    draw_curve,
    dress_axes,
    log_axis,
    new_figure,
    saved,
    stacked_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BROAD = {"linewidth": 6.0, "alpha": 0.35, "markersize": 9.0}

__all__ = ["before_and_after", "compare_curves"]


def before_and_after(
    rows: Mapping[str, tuple[Mapping[str, ArrayLike], Mapping[str, ArrayLike]]],
    *,
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
    linear : collection of str
        Rows that never get a logarithmic axis.
    level : (str, float), optional
        A horizontal line in the first row, and its name.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    names = dict.fromkeys(name for pair in rows.values() for curves in pair for name in curves)
    colours = dict(zip(names, CYCLE[1:], strict=False))
    figure = new_figure(9.0, 1.2 + 1.9 * len(rows))
    grid = figure.subplots(len(rows), 2, sharex=True, sharey="row", squeeze=False)
    for (ylabel, pair), axes in zip(rows.items(), grid, strict=True):
        drawn = [line for ax, c in zip(axes, pair, strict=True) for line in _lines(ax, c, colours)]
        if not drawn:
            raise DataError(f"there is no epoch with a finite {ylabel} to draw.")
        if ylabel not in linear:
            choose_scale(axes[0], drawn)
        axes[0].set_ylabel(ylabel)
        for ax in axes:
            dress_axes(ax, np.arange(1.0, max(map(len, drawn)) + 1), None)
    for ax, title in zip(grid[0], ("as written", "cured"), strict=True):
        if level is not None:
            ax.axhline(level[1], color=MARK, linestyle="--", linewidth=1.0, label=level[0])
        ax.set_title(title, loc="left", pad=22.0)
        ax.legend(**ABOVE)
    for ax in grid[-1]:
        ax.set_xlabel("epoch")
    return saved(figure, path)


def compare_curves(
    curves: Mapping[str, ArrayLike],
    ylabel: str,
    *,
    xlabel: str = "epoch",
    step: float = 1.0,
    log_x: bool = False,
    behind: Collection[str] = (),
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
    behind : collection of str
        Curves drawn broad and pale, that others may run over.
    path
        As for :func:`~nbmlp.plots.learning_curve`; so is what is returned and raised.
    """
    drawn = {name: y for name, values in curves.items() if (y := as_curve(values)) is not None}
    if not drawn:
        raise DataError("there is no epoch with a finite value to draw.")
    figure, (ax,) = stacked_panels(1)
    for (name, y), colour in zip(drawn.items(), CYCLE, strict=False):
        style = _BROAD if name in behind else {}
        draw_curve(ax, step * np.arange(1.0, len(y) + 1), y, color=colour, label=name, **style)
    choose_scale(ax, list(drawn.values()))
    x = step * np.arange(1.0, max(map(len, drawn.values())) + 1)
    dress_axes(ax, x, None)
    if log_x:
        log_axis(ax.xaxis, x[0], x[-1])
        ax.set_xlim(0.93 * x[0], 1.07 * x[-1])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, fontsize="small")
    return saved(figure, path)


def _lines(
    ax: Axes, curves: Mapping[str, ArrayLike], colours: Mapping[str, str]
) -> Iterator[Floats]:
    """Draw the curves that have something to draw, and return them."""
    for name, values in curves.items():
        if (y := as_curve(values)) is not None:
            draw_curve(ax, np.arange(1.0, len(y) + 1), y, color=colours[name], label=name)
            yield y
