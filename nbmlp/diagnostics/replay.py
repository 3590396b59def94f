"""Repeat an update that failed, from the file that a training left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbmlp.failures.explain import operation
from nbmlp.failures.trace import Look, examine, first_bad
from nbmlp.failures.update import Step

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
    looks : tuple of Look
        Each operation in the order of computation, up to the last one reached; rows, and columns
        of the input, by their numbers in the user's data.
    differs : tuple of str
        Operations whose values have other bits than in the training; empty on the same kind of
        machine.
    """

    step: int
    message: str
    looks: tuple[Look, ...]
    differs: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether every value has the bits that it had in the training."""
        return not self.differs

    @property
    def first(self) -> str | None:
        """The first operation that gave a NaN or an infinity."""
        bad = first_bad(list(self.looks))
        return None if bad is None else operation(bad)

    def largest(self, kind: str, layer: int) -> float | None:
        """Largest size of a finite value; None where the operation was not reached."""
        found = [one for one in self.looks if (one.kind, one.layer) == (kind, layer)]
        return found[0].largest if found else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        looks = [
            {
                "operation": operation(one), "layer": one.layer, "largest": one.largest,
                "bad": one.bad, "rows": one.rows, "units": one.units,
            }
            for one in self.looks
        ]  # fmt: skip
        return {
            "step": self.step, "message": self.message, "first": self.first, "same": self.same,
            "differs": list(self.differs), "operations": looks,
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"update {self.step + 1}: {self.message}", ""]
        lines.append("layer" + "".join(f"{title:>14}" for title, _ in _COLUMNS))
        for layer in range(1, max(one.layer for one in self.looks) + 1):
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
        found = [one for one in self.looks if (one.kind, one.layer) == (kind, layer)]
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
    step = Step.load(path)
    looks = [_called(look, step) for look in examine(step)]
    known: dict[str, str] = step.notes["digests"]
    found = {operation(look): look.digest for look in looks}
    names = dict.fromkeys([*known, *found])
    differs = tuple(name for name in names if known.get(name) != found.get(name))
    return ReplayReport(step.state.step, step.notes["message"], tuple(looks), differs)


def _called(look: Look, step: Step) -> Look:
    names = step.rows.names
    rows = np.sort(names.row_numbers(np.array(look.rows, np.int64))).tolist()
    if look.kind != "input":
        return replace(look, rows=rows)
    return replace(look, rows=rows, units=sorted(names.column_numbers(look.units)))
