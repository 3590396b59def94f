"""One update on its own: all that is needed to repeat it anywhere, bit for bit."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import SparseRows, check_weights, check_X, check_y
from nbmlp.errors import ModelFileError
from nbmlp.io import model_file
from nbmlp.predict import Rows
from nbmlp.rows import Names
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.engine import Engine

__all__ = ["Update"]


@dataclass
class Update:
    """An update before it is made.

    Attributes
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Weights, the optimizer's vectors and counters before the update.
    rows : Rows
        Of the batch, in its order, with their numbers.
    rate : float
        Learning rate.
    decay, drop : float or None
        Factors on decay and on the shares that are dropped, where these have schedules.
    whole, per_batch : bool
        As the engine was built: for gradients of all rows; with scikit-learn's penalty.
    notes : dict
        ``"message"``: what was said when it failed; ``"digests"``: of each operation's values.
    """

    spec: ModelSpec
    train: TrainSpec
    state: State
    rows: Rows
    rate: float
    whole: bool = False
    per_batch: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    decay: float | None = None
    drop: float | None = None

    @classmethod
    def of(cls, engine: Engine) -> Update:
        """A copy of what an engine stands before."""
        decay, drop = engine.factors
        return cls(
            engine.spec, engine.train, copy.copy(engine.state),
            engine.rows.take(engine.batch_places()), engine.rate, engine.whole, engine.per_batch,
            decay=decay, drop=drop,
        )  # fmt: skip

    def engine(self, updates: bool) -> Engine:
        """An engine of one thread that stands before this update, on a copy of its state.

        With `updates`, it makes the update; else it leaves the gradient, penalty included, in
        its workspace, neither clipped nor applied.
        """
        train = self.train.with_(
            batch_size=None, shuffle=False, shards=1, threads=1, on_nonfinite="raise",
            gradient_norms=False,
        )  # fmt: skip
        engine = Engine(
            self.spec, train, copy.copy(self.state), self.rows, 1, self.whole, self.per_batch
        )
        factors = (None if f is None else np.array([f]) for f in (self.decay, self.drop))
        engine.start_epoch(np.array([self.rate]), None, *factors)
        if not updates:
            engine.work.job.gradient_only()
        return engine

    # -- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as safetensors, whole or not at all; raises ModelFileError."""
        rows, names = self.rows, self.rows.names
        arrays = {
            "numbers": names.rows, "columns": names.places, "y": rows.y, "weights": rows.weights,
            **_parts(rows.x),
        }  # fmt: skip
        extra = {
            "rate": self.rate, "whole": self.whole, "per_batch": self.per_batch,
            "scale": rows.scale, "names": list(names.columns), "targets": list(names.targets),
            "notes": self.notes, "decay": self.decay, "drop": self.drop,
        }  # fmt: skip
        kept = {name: array for name, array in arrays.items() if array is not None}
        stored = model_file.Stored(self.spec, self.train, self.state, extra, kept)
        model_file.save(path, stored, "replay")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Update:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ModelFileError
            Missing, damaged, newer than this version, or no such file.
        """
        stored = model_file.load(path, "replay")
        try:
            extra, arrays = stored.extra, stored.arrays
            rows = _rows(stored.spec, arrays, extra)
            notes = dict(extra["notes"])
            notes = {"message": str(notes["message"]), "digests": dict(notes["digests"])}
            return cls(
                stored.spec, stored.train, stored.state, rows, float(extra["rate"]),
                bool(extra["whole"]), bool(extra["per_batch"]), notes,
                *[None if f is None else float(f) for f in map(extra.get, ("decay", "drop"))],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{os.fspath(path)} is no update that fits together: {error}"
            raise ModelFileError(reason) from error


def _rows(spec: ModelSpec, arrays: dict[str, NDArray[Any]], extra: dict[str, Any]) -> Rows:
    """The batch, checked: kernels trust what they are given."""
    x = check_X(_whole(arrays, spec.n_inputs), spec.n_inputs)
    y, weights, numbers = arrays["y"], arrays.get("weights"), arrays["numbers"]
    if y.dtype == np.int32:
        if y.shape != (len(x),) or not np.all((y >= 0) & (y < spec.n_outputs)):
            raise ValueError("its class numbers do not fit the net.")
    else:
        y = check_y(y, len(x), spec.n_outputs, dtype=y.dtype)
    if weights is not None:
        weights = check_weights(weights, len(x), dtype=np.float64)
    if numbers.dtype != np.int64 or numbers.shape != (len(x),):
        raise ValueError("its row numbers do not fit its rows.")
    return Rows(x, y, weights, float(extra["scale"]), _names(numbers, x.shape[1], arrays, extra))


def _names(
    rows: NDArray[np.int64], width: int, arrays: dict[str, NDArray[Any]], extra: dict[str, Any]
) -> Names:
    columns, targets = (tuple(map(str, extra.get(k, ()))) for k in ("names", "targets"))
    places = arrays.get("columns")
    if places is not None:
        known = len(columns) or np.iinfo(np.int64).max
        inside = places.shape == (width,) and bool(np.all((places >= 0) & (places < known)))
        if places.dtype != np.int64 or not inside:
            raise ValueError("its column numbers do not fit its columns.")
    elif columns and len(columns) != width:
        raise ValueError("its column names do not fit its columns.")
    return Names(rows, columns, places, targets)


def _parts(x: NDArray[Any] | SparseRows) -> dict[str, NDArray[Any]]:
    if not isinstance(x, SparseRows):
        return {"x": x}
    matrix = x.matrix
    return {"x.data": matrix.data, "x.indices": matrix.indices, "x.indptr": matrix.indptr}


def _whole(arrays: dict[str, NDArray[Any]], width: int) -> Any:
    if "x" in arrays:
        return arrays["x"]
    from scipy.sparse import csr_array  # here: most rows are dense, and it takes a while to load

    parts = tuple(arrays[f"x.{name}"] for name in ("data", "indices", "indptr"))
    return csr_array(parts, shape=(len(parts[2]) - 1, width))
