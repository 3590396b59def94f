"""Repeat an update that failed, from the file that a training left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbmlp.failures.trace import Operation, examine, first_bad
from nbmlp.failures.update import Update

__all__ = ["ReplayReport", "replay"]

_COLUMNS = (("|z|", "z"), ("|a|", "activation"), ("|delta|", "delta"), ("|g|", "gradient"))


@dataclass(frozen=True)
class ReplayReport:
    """What a repeated update gave; prints as a table.

    Attributes
    ----------
    step : int
        Updates before it.
    message : str
        What the training said when it failed.
    operations : tuple of Operation
        Each operation in the order of computation, up to the last one reached; rows, and columns
        of the input, by their numbers in the user's data.
    differs : tuple of str
        Operations whose values have other bits than in the training; empty on the same kind of
        machine.
    """

    step: int
    message: str
    operations: tuple[Operation, ...]
    differs: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether every value has the bits that it had in the training."""
        return not self.differs

    @property
    def first(self) -> str | None:
        """The first operation that gave a NaN or an infinity."""
        bad = first_bad(list(self.operations))
        return None if bad is None else bad.name

    def largest(self, kind: str, layer: int) -> float | None:
        """Largest size of a finite value; None where the operation was not reached."""
        found = [one for one in self.operations if (one.kind, one.layer) == (kind, layer)]
        return found[0].largest if found else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        operations = [
            {
                "operation": one.name, "layer": one.layer, "largest": one.largest,
                "bad": one.bad, "rows": one.rows, "units": one.units,
            }
            for one in self.operations
        ]  # fmt: skip
        return {
            "step": self.step, "message": self.message, "first": self.first, "same": self.same,
            "differs": list(self.differs), "operations": operations,
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"update {self.step + 1}: {self.message}", ""]
        lines.append("layer" + "".join(f"{title:>14}" for title, _ in _COLUMNS))
        for layer in range(1, max(one.layer for one in self.operations) + 1):
            cells = [self._cell(kind, layer) for _, kind in _COLUMNS]
            lines.append(f"{layer:5d}" + "".join(f"{cell:>14}" for cell in cells))
        lines += ["(largest finite values; * some are NaN or infinite; - not reached)", ""]
        lines.append(f"first value that is not finite: {self.first or 'none'}")
        lines.append(
            "every value has the bits that it had in the training"
            if self.same
            else f"other bits than in the training: {', '.join(self.differs)} (another CPU or"
            " version of nbmlp?)"
        )
        return "\n".join(lines)

    def _cell(self, kind: str, layer: int) -> str:
        found = [one for one in self.operations if (one.kind, one.layer) == (kind, layer)]
        return f"{found[0].largest:.4g}{'*' * bool(found[0].bad)}" if found else "-"


def replay(path: str | os.PathLike[str]) -> ReplayReport:
    """Repeat the update in a file written by ``fit(..., replay=path)``.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    ReplayReport
        Its values are compared bit by bit with those of the training.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, newer than this version, or something else.
    """
    update = Update.load(path)
    operations = [_called(operation, update) for operation in examine(update)]
    known: dict[str, str] = update.notes["digests"]
    found = {operation.name: operation.digest for operation in operations}
    names = dict.fromkeys([*known, *found])
    differs = tuple(name for name in names if known.get(name) != found.get(name))
    return ReplayReport(update.state.step, update.notes["message"], tuple(operations), differs)


def _called(operation: Operation, update: Update) -> Operation:
    names = update.rows.names
    rows = np.sort(names.row_numbers(np.array(operation.rows, np.int64))).tolist()
    if operation.kind != "input":
        return replace(operation, rows=rows)
    return replace(operation, rows=rows, units=sorted(names.column_numbers(operation.units)))
