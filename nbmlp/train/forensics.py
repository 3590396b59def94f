"""Why an update failed: the first value that is not finite, and whether data or dynamics made it.

The batch is repeated operation by operation (`anatomy`); what it gives is compared with what is
usual in the data (`data.outliers`).
"""

from __future__ import annotations

import numpy as np

from nbmlp.data.outliers import Far, Usual
from nbmlp.errors import Cell, NonFiniteError, listing
from nbmlp.predict import Rows
from nbmlp.train.anatomy import Look, examine, first_bad
from nbmlp.train.engine import Engine
from nbmlp.train.step import Step

__all__ = ["describe_skipped", "explain", "operation"]

#: Rows or columns that a sentence lists, and cells that an error keeps.
_LISTED, _MOST_CELLS = 20, 100


def operation(look: Look) -> str:
    """An operation in words, e.g. ``"product z of layer 2"`` or ``"update of W2"``."""
    if look.kind in ("input", "loss"):
        return look.kind
    if look.kind in ("z", "activation", "delta"):
        return f"{'product ' * (look.kind == 'z')}{look.kind} of layer {look.layer}"
    owner = "" if look.kind in ("gradient", "update") else "optimizer's "
    return f"{owner}{look.kind} of {'b' if look.in_bias else 'W'}{look.layer}"


def describe_skipped(engine: Engine) -> str:
    """What was left out of the training, in a sentence; empty if nothing was."""
    if not engine.skipped:
        return ""
    batches = f"{engine.skipped} batch{'es' * (engine.skipped > 1)}"
    return f"{batches} with NaN or infinite values left out; the first: {engine.first_skip}"


def explain(engine: Engine) -> NonFiniteError:
    """What goes wrong in the batch that an engine stands before.

    Parameters
    ----------
    engine : Engine
        With the state right before the failed update; not changed.

    Returns
    -------
    NonFiniteError
        To be raised.
    """
    step = Step.of(engine)
    looks = examine(step)
    look = first_bad(looks)
    if look is None:
        error = _on_nothing(step)
    elif look.kind == "input":
        error = _on_input(step, look)
    else:
        error = _on_values(engine, step, look)
    error.bundle = step
    step.notes = {
        "message": str(error),
        "digests": {operation(one): one.digest for one in looks},
    }
    return error


def _on_nothing(step: Step) -> NonFiniteError:
    return NonFiniteError(
        f"a value became infinite or NaN in update {step.state.step + 1}, and none does when it is"
        " repeated: do not change the data while a net is trained on them.",
        step=step.state.step, batch_rows=_sorted_numbers(step.rows),
    )  # fmt: skip


def _on_input(step: Step, look: Look) -> NonFiniteError:
    """NaN, infinities, and values that are too large for the net's type."""
    rows, numbers, cells = step.rows, step.rows.numbers_of(np.array(look.rows)), []
    for place in np.array(look.rows)[np.argsort(numbers)][:_MOST_CELLS]:
        values = rows.x[int(place)]
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(values.astype(step.spec.dtype)))
        row = int(rows.numbers_of(np.array([place]))[0])
        cells += [Cell("X", row, int(j), values[j]) for j in bad]
    numbers = np.sort(numbers)
    first, several = cells[0], len(numbers) > 1
    name = f" ({rows.names[first.column]!r})" if rows.names else ""
    more = f" (of {len(numbers)} such rows in the batch: {listing(numbers.tolist(), _LISTED)})"
    message = (
        f"X has {first.value} at row {first.row}, column {first.column}{name}"
        f"{more if several else ''}: training stopped before update {step.state.step + 1}, the"
        f" weights are as before it; mend or drop {'those rows' if several else 'that row'}, e.g."
        " with on_nonfinite='drop_rows'."
    )
    return NonFiniteError(
        message, step=step.state.step, operation="input", blame="data",
        row=first.row, column=first.column, rows=tuple(numbers.tolist()),
        units=tuple(look.units), columns=tuple(look.units),
        cells=tuple(cells[:_MOST_CELLS]), batch_rows=_sorted_numbers(rows),
    )  # fmt: skip


def _sorted_numbers(rows: Rows) -> np.ndarray:
    return np.sort(rows.numbers_of(np.arange(len(rows))))


def _on_values(engine: Engine, step: Step, look: Look) -> NonFiniteError:
    """Numbers that were all finite on the way in."""
    bad = np.array(look.rows, np.int64)
    rows = tuple(np.sort(step.rows.numbers_of(bad)).tolist())
    cells, times = _suspects(engine, engine.batch_places()[bad])
    what = f"the {operation(look)} became {'NaN' if look.nan else 'infinite'}"
    message = (
        f"{what}{_where(rows, len(step.rows))} in update {step.state.step + 1};"
        " the weights are as before it: "
    )
    row, column = rows[0] if rows else None, None
    if cells:
        row, column = cells[0].row, cells[0].column
        message += _blame_data(engine.rows, cells, times)
    else:
        message += "the data look sound, so lower the learning rate or set clip_norm."
    return NonFiniteError(
        message, step=step.state.step, operation=operation(look), layer=look.layer,
        blame="data" if cells else "dynamics", row=row, column=column,
        rows=rows, units=tuple(look.units), cells=tuple(cells[:_MOST_CELLS]),
        columns=tuple(sorted({cell.column for cell in cells})),
        batch_rows=_sorted_numbers(step.rows),
    )  # fmt: skip


def _where(rows: tuple[int, ...], n: int) -> str:
    if not rows:
        return ""
    if len(rows) == 1:
        return f" at row {rows[0]}"
    return f" in {len(rows)} of the batch's {n} rows ({listing(rows, _LISTED)})"


def _suspects(engine: Engine, bad: np.ndarray) -> tuple[list[Cell], float]:
    """Values far from all others, in the rows that failed, else in the batch, else in any before.

    Returns the cells and how many times the usual spread the first one is away.
    """
    rows, arrays = engine.rows, {"X": engine.rows.x}
    if rows.y is not None and rows.y.dtype.kind == "f":
        arrays["y"] = rows.y
    usual = {name: Usual(array) for name, array in arrays.items() if array.dtype != np.uint8}
    for places in (bad, engine.batch_places(), engine.places_done()):
        found = [(name, far) for name, u in usual.items() for far in u.far(places)]
        if found:
            found.sort(key=lambda one: -one[1].times)
            return [_cell(rows, *one) for one in found], found[0][1].times
    return [], 0.0


def _cell(rows: Rows, array: str, far: Far) -> Cell:
    row = int(rows.numbers_of(np.array([far.place]))[0])
    return Cell(array, row, far.column, far.value)


def _blame_data(rows: Rows, cells: list[Cell], times: float) -> str:
    first, others = cells[0], len(cells) - 1
    name = f" ({rows.names[first.column]!r})" if rows.names and first.array == "X" else ""
    more = f", and {others} more such value{'s' * (others > 1)}" if others else ""
    return (
        f"{first.array} has {first.value:g} at row {first.row}, column {first.column}{name},"
        f" {times:.1g} times the usual spread from the median{more}: mend or drop"
        f" {'those rows' if others else 'that row'}."
    )
