"""A data set in one safetensors file: what the intake writes and what jobs read.

A matrix is stored as it is. Of a table each column is an array of its own; text becomes UTF-8
bytes and the ends of its values, so that nothing that a file holds is ever interpreted; dates
become microseconds since 1970.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import Dataset, Table
from nbmlp.data.dataset import ColumnRef, choose, from_matrix
from nbmlp.errors import DataError, ModelFileError
from nbmlp.io import archive

__all__ = ["content_hash", "load_rows", "save_rows", "select"]

Arrays = dict[str, NDArray[Any]]
_PIECE = 1 << 20


def content_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def save_rows(path: Path, data: Dataset, room: Callable[[int], None] | None = None) -> None:
    """Write a data set, whole or not at all; the same content gives the same bytes.

    Parameters
    ----------
    path : Path
    data : Dataset
        A table (targets among its columns), or a matrix with or without targets beside it.
    room : callable, optional
        Told how many bytes the file will have, before the first is written.

    Raises
    ------
    ModelFileError
        The system refuses: disk full, no permission.
    """
    arrays: Arrays = {}
    if isinstance(data.X, Table):
        for j, name in enumerate(data.X):
            _put(arrays, f"x{j}", data.X[name])
        names, kinds = data.X.names, dict(data.X.kinds)
    else:
        _put(arrays, "x", data.X)
        names, kinds = (), {}
    if data.y is not None:
        _put(arrays, "y", data.y)
    metadata = {"columns": names, "kinds": kinds}
    if room is not None:
        room(archive.size_of(arrays, metadata, kind="dataset"))
    archive.write(path, arrays, metadata, kind="dataset")


def load_rows(path: Path) -> Dataset:
    """Read what :func:`save_rows` wrote.

    Raises
    ------
    ModelFileError
        Missing or damaged.
    """
    arrays, metadata = archive.read(path, kind="dataset")
    try:
        y = _get(arrays, "y") if "y" in arrays or "y.ends" in arrays else None
        names = list(metadata["columns"])
        if names:
            columns = {n: _get(arrays, f"x{j}") for j, n in enumerate(names)}
            return Dataset(Table(columns, dict(metadata.get("kinds", {}))), y)
        return Dataset(_get(arrays, "x"), y)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path.name} is no data set that fits together: {error}.") from error


def _put(arrays: Arrays, name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "M":
        arrays[f"{name}.microseconds"] = values.astype("M8[us]").view(np.int64)
        return
    if values.dtype.kind not in "OUS":
        arrays[name] = values
        return
    flat = values.ravel().tolist()
    texts = [b"" if v is None else str(v).encode("utf-8", "surrogatepass") for v in flat]
    arrays[f"{name}.bytes"] = np.frombuffer(b"".join(texts), np.uint8)
    arrays[f"{name}.ends"] = np.cumsum([len(t) for t in texts], dtype=np.int64)
    arrays[f"{name}.missing"] = np.array([v is None for v in flat]).reshape(values.shape)


def _get(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name in arrays:
        return arrays[name]
    if f"{name}.microseconds" in arrays:
        return arrays[f"{name}.microseconds"].view("M8[us]")
    raw, ends, missing = (arrays[f"{name}.{part}"] for part in ("bytes", "ends", "missing"))
    joined, edges = raw.tobytes(), [0, *ends.tolist()]
    values = np.empty(missing.size, dtype=object)
    for i, gone in enumerate(missing.ravel().tolist()):
        if not gone:
            values[i] = joined[edges[i] : edges[i + 1]].decode("utf-8", "surrogatepass")
    return values.reshape(missing.shape)


def select(
    data: Dataset,
    target: ColumnRef | None,
    columns: Sequence[str | int] | None,
    *,
    need_target: bool = True,
) -> Dataset:
    """Tell inputs from targets.

    Parameters
    ----------
    data : Dataset
        As loaded.
    target : name, number, several of them, or None
        None: the targets beside the matrix.
    columns : names or numbers, optional
        Inputs; by default all that are not targets.
    need_target : bool
        Whether a data set without targets is refused.

    Returns
    -------
    Dataset
        With names and, if there are any, targets.

    Raises
    ------
    DataError
        A column that does not exist, no target, no inputs left.
    """
    source = "the data set"
    chosen = None if target in ((), []) else target
    if isinstance(data.X, Table):
        found = _from_table(data.X, chosen, columns, source)
    else:
        beside = _beside(data.y, chosen)
        found = from_matrix(
            data.X, target=None if beside is not None else chosen, columns=columns,
            y=beside if chosen is not None else data.y, source=source,
        )  # fmt: skip
    if need_target and found.y is None:
        raise DataError(f"{source} names no target: choose the column(s) to predict.")
    return found


def _beside(y: NDArray[Any] | None, target: ColumnRef | None) -> NDArray[Any] | None:
    """The targets beside a matrix, when it is one of them (y, y0, y1, ...) that is asked for."""
    if y is None or target is None:
        return None
    names = ["y"] if y.ndim == 1 or y.shape[1] == 1 else [f"y{j}" for j in range(y.shape[1])]
    wanted = [target] if isinstance(target, str | int) else list(target)
    if not all(isinstance(w, str) and w in names for w in wanted):
        return None
    chosen = y.reshape(len(y), -1)[:, [names.index(str(w)) for w in wanted]]
    return chosen[:, 0] if chosen.shape[1] == 1 else chosen


def _from_table(
    table: Table, target: ColumnRef | None, columns: ColumnRef | None, source: str
) -> Dataset:
    choice = choose(table.names, target, columns, source)
    names = [table.names[j] for j in choice.features]
    targets = tuple(table.names[j] for j in choice.targets)
    y = None
    if targets:
        parts = [table[name] for name in targets]
        y = parts[0] if len(parts) == 1 else np.column_stack(parts)
    X = Table({name: table[name] for name in names}, table.kinds)
    return Dataset(X, y, tuple(names), targets, source=source)
