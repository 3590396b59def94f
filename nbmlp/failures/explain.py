"""Why an update failed: the first value that is not finite, and whether data or dynamics made it.

The batch is repeated operation by operation (`trace`); what it gives is compared with what is
usual in the data (`data.outliers`).
"""

from __future__ import annotations

import numpy as np

from nbmlp.data.outliers import Far, Usual
from nbmlp.data.sparse import finite_in
from nbmlp.errors import Cell, NonFiniteError, Place, listing
from nbmlp.failures.trace import Operation, examine, first_bad
from nbmlp.failures.update import Update
from nbmlp.predict import Rows
from nbmlp.train.engine import Engine

__all__ = ["explain"]

#: Rows or columns that a sentence lists, and cells that an error keeps.
_LISTED, _MOST_CELLS = 20, 100


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
    update = Update.of(engine)
    operations = examine(update)
    operation = first_bad(operations)
    if operation is None:
        error = _on_nothing(update)
    elif operation.kind == "input":
        error = _on_input(update, operation)
    else:
        error = _on_values(engine, update, operation)
    error.bundle = update
    update.notes = {
        "message": str(error),
        "digests": {one.name: one.digest for one in operations},
    }
    return error


def _on_nothing(update: Update) -> NonFiniteError:
    return NonFiniteError(
        f"a value became infinite or NaN in update {update.state.step + 1}, and none does when it"
        " is repeated: do not change the data while a net is trained on them.",
        step=update.state.step, batch_rows=_sorted_numbers(update.rows),
    )  # fmt: skip


def _on_input(update: Update, operation: Operation) -> NonFiniteError:
    """NaN, infinities, and values that are too large for the net's type."""
    rows, names = update.rows, update.rows.names
    places = np.array(operation.rows)
    places = places[np.argsort(names.row_numbers(places))]
    found = []
    for place in places[:_MOST_CELLS].tolist():
        values = rows.x[place]
        bad = np.flatnonzero(~finite_in(values, update.spec.dtype)).tolist()
        found += [(place, column, values[column]) for column in bad]
    cells = [_cell(rows, "X", *one) for one in found[:_MOST_CELLS]]
    numbers = names.row_numbers(places).tolist()
    several = len(numbers) > 1
    more = f", one of {len(numbers)} such rows in the batch ({listing(numbers, _LISTED)})"
    where = names.place("X", *found[0][:2])
    message = (
        f"{names.title('X')} has {cells[0].value} at {where}{more if several else ''}: training"
        f" stopped before update {update.state.step + 1}, the weights are as before it; mend or"
        f" drop {'those rows' if several else 'that row'}, e.g. with on_nonfinite='drop_rows'."
    )
    columns = tuple(sorted(names.column_numbers(operation.units)))
    return NonFiniteError(
        message, step=update.state.step, operation="input", blame="data",
        row=cells[0].row, column=cells[0].column, rows=tuple(numbers),
        units=columns, columns=columns,
        cells=tuple(cells), batch_rows=_sorted_numbers(rows),
    )  # fmt: skip


def _cell(rows: Rows, array: str, row: int, column: int, value: float) -> Cell:
    """A value by its place in the data as given."""
    place = rows.names.place(array, row, column)
    assert place.column is not None
    return Cell(array, place.row, place.column, float(value))


def _sorted_numbers(rows: Rows) -> np.ndarray:
    return np.sort(rows.names.row_numbers(np.arange(len(rows))))


def _on_values(engine: Engine, update: Update, operation: Operation) -> NonFiniteError:
    """Numbers that were all finite on the way in."""
    bad = np.array(operation.rows, np.int64)
    rows = tuple(np.sort(update.rows.names.row_numbers(bad)).tolist())
    suspects = _suspects(engine, engine.batch_places()[bad])
    cells = [_cell(engine.rows, name, far.place, far.column, far.value) for name, far in suspects]
    what = f"the {operation.name} became {'NaN' if operation.nan else 'infinite'}"
    message = (
        f"{what}{_where(rows, len(update.rows))} in update {update.state.step + 1};"
        " the weights are as before it: "
    )
    row, column = rows[0] if rows else None, None
    if cells:
        row, column = cells[0].row, cells[0].column
        message += _blame_data(engine.rows, *suspects[0], len(cells) - 1)
    else:
        message += "the data look sound, so lower the learning rate or set clip_norm."
    return NonFiniteError(
        message, step=update.state.step, operation=operation.name, layer=operation.layer,
        blame="data" if cells else "dynamics", row=row, column=column,
        rows=rows, units=tuple(operation.units), cells=tuple(cells[:_MOST_CELLS]),
        columns=tuple(sorted({cell.column for cell in cells})),
        batch_rows=_sorted_numbers(update.rows),
    )  # fmt: skip


def _where(rows: tuple[int, ...], n: int) -> str:
    if not rows:
        return ""
    if len(rows) == 1:
        return f" at {Place(rows[0])}"
    return f" in {len(rows)} of the batch's {n} rows ({listing(rows, _LISTED)})"


def _suspects(engine: Engine, bad: np.ndarray) -> list[tuple[str, Far]]:
    """Values far from all others, in the rows that failed, else in the batch, else in any before.

    Each with the array that holds it, the farthest first.
    """
    rows, arrays = engine.rows, {"X": engine.rows.x}
    if rows.y is not None and rows.y.dtype.kind == "f":
        arrays["y"] = rows.y
    own = engine.work.strategy.shards.rows(len(rows))  # those of other processes may be elsewhere
    usual = {name: Usual(array, own) for name, array in arrays.items() if array.dtype != np.uint8}
    for places in (bad, engine.batch_places(), engine.places_done()):
        found = [(name, far) for name, u in usual.items() for far in u.far(places)]
        if found:
            return sorted(found, key=lambda one: -one[1].times)
    return []


def _blame_data(rows: Rows, array: str, far: Far, others: int) -> str:
    more = f", and {others} more such value{'s' * (others > 1)}" if others else ""
    names = rows.names
    return (
        f"{names.title(array)} has {far.value:g} at {names.place(array, far.place, far.column)},"
        f" {far.times:.1g} times the usual spread from the median{more}: mend or drop"
        f" {'those rows' if others else 'that row'}."
    )
