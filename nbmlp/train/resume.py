"""Where a training stands, in the arrays of a checkpoint: written, and gone on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import DataError, SpecError
from nbmlp.train.engine import Engine
from nbmlp.train.epochs import Epochs

__all__ = ["Arrays", "Resume", "check_rows"]

Arrays = Mapping[str, NDArray[Any]]
_FIRST_WEIGHTS = "lbfgs.first"
#: Where an epoch stands: the arrays of the engine, and seconds.
_EPOCH = "epoch."


class Resume:
    """What a training goes on from, and leaves for another to go on from.

    Parameters
    ----------
    carried : mapping of str to ndarray
        The arrays of the checkpoint that is resumed from; empty when none is.
    write : callable
        Given a path and arrays to keep, writes the model's checkpoint there.

    Attributes
    ----------
    first_weights : ndarray or None
        Where an L-BFGS run began, which resuming it starts from; None before it begins.
    """

    def __init__(self, carried: Arrays, write: Callable[[Path, Arrays], None]) -> None:
        self.carried, self._write = carried, write
        self.first_weights = carried.get(_FIRST_WEIGHTS)
        #: Where the epoch stands that the next one goes on with; empty once it has.
        self._place = {k[len(_EPOCH) :]: a for k, a in carried.items() if k.startswith(_EPOCH)}

    @property
    def rows_done(self) -> int:
        """Rows trained on of the epoch that is to be gone on with."""
        return int(self._place["rows"][0]) if "rows" in self._place else 0

    @property
    def seconds(self) -> tuple[float, float]:
        """What that epoch has taken so far: in the engine, and in all."""
        trained, passed = self._place["seconds"].tolist() if "rows" in self._place else (0.0, 0.0)
        return trained, passed

    def go_on(self, engine: Engine) -> None:
        """Bring an epoch that has just been started to where it stands."""
        if self._place:
            engine.resume(self._place)
            self._place = {}

    def save(self, run: Epochs, path: Path) -> None:
        """Write all that resuming needs, whole or not at all.

        Raises
        ------
        SpecError
            A batch is half done.
        """
        arrays = run.callbacks.carry()
        arrays |= {_EPOCH + name: array for name, array in self._where(run).items()}
        if self.first_weights is not None:
            arrays[_FIRST_WEIGHTS] = self.first_weights
        run.fence.replace(path, arrays, self._write)

    def _where(self, run: Epochs) -> Arrays:
        """Where the epoch stands."""
        engine = run.engine
        if self._place or engine is None:
            return self._place
        if not engine.between_batches and 0 < engine.rows_done < run.n_samples:
            raise SpecError(
                "a checkpoint cannot be written here, e.g. while a batch is half done: wait until"
                " progress.between_batches, or for the end of the epoch."
            )
        found = engine.carry()
        if engine.between_batches:
            found["seconds"] = np.array([run.trained, run.seconds])
        return found


def check_rows(carried: Arrays, n_samples: int) -> None:
    """Refuse to go on with an epoch over another number of rows.

    Raises
    ------
    DataError
    """
    rows = carried.get(f"{_EPOCH}rows", (0, n_samples))
    if rows[1] != n_samples:
        raise DataError(
            f"the checkpoint was written within an epoch over {rows[1]} rows, and these are"
            f" {n_samples}: resume with the same data."
        )
