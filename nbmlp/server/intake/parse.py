"""Reading an uploaded file; runs in a process of its own that may use little and do little."""

from __future__ import annotations

import json
import os
import resource
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import Dataset, Table, read
from nbmlp.data.layout import Dialect
from nbmlp.data.quick import forgo_polars
from nbmlp.errors import DataError, NbmlpError
from nbmlp.server.intake import guard, summary
from nbmlp.server.rows import save_rows
from nbmlp.server.space import is_full

__all__ = ["confine", "parse", "run"]

_MB = 1 << 20
#: With less memory, or less beside the file, text is read without polars: it reserves some 500 MB
#: for itself, and hangs or aborts when there is no more to get.
_POLARS, _SHARE = 2048 * _MB, 8
#: Bytes below the limit at which a reader may have been refused some more.
_NEARLY = 32 * _MB
_STATUS: dict[type[NbmlpError], int] = {guard.UnsupportedFileError: 415, guard.TooLargeError: 413}


def parse(
    raw: Path,
    out: Path,
    limits: guard.Limits,
    dialect: Dialect,
    room: Callable[[int], None],
) -> dict[str, Any]:
    """Read `raw`, write its rows to `out`, and describe them.

    Parameters
    ----------
    raw, out : Path
    limits : Limits
    dialect : Dialect
        What is told about a text table.
    room : callable
        Asked for the bytes of `out` before it is written.

    Returns
    -------
    dict
        The fields of ParsedDataset, but path, hash and name, as plain values.

    Raises
    ------
    DataError
        What is wrong with the file; its subclasses tell too large and unsupported ones apart.
    """
    kind = guard.check(raw, limits, dialect)
    data = _stored(read(raw, require_target=False, **asdict(dialect)), kind)
    if len(data) == 0:
        raise DataError(f"{raw} has no rows.")
    columns = list(summary.columns_of(data))
    limits.check_columns(len(columns), str(raw))
    infos = [summary.describe(name, values) for name, values in columns]
    infos = summary.with_fates(infos, data)
    save_rows(out, data, room)
    return {
        "format": kind,
        "rows": len(data),
        "columns": [asdict(info) for info in infos],
        "target_guess": summary.guess_target(infos),
        "preview": summary.preview(columns),
    }


def _stored(data: Dataset, kind: str) -> Dataset:
    """As the server keeps it: named columns are a table, numbers have a type that files know."""
    if kind in ("csv", "parquet") and not isinstance(data.X, Table):
        columns = zip(data.feature_names, data.X.T, strict=True)
        return Dataset(Table(dict(columns)))
    y = None if data.y is None else _plain(data.y, data.source)
    X = data.X if isinstance(data.X, Table) else _plain(data.X, data.source)
    return replace(data, X=X, y=y, test=None)


def _plain(values: NDArray[Any], source: str) -> NDArray[Any]:
    if values.ndim > 2 or values.dtype.kind not in "biufUS":
        raise DataError(
            f"{source} holds {values.ndim}-dimensional {values.dtype}: numbers or text in rows and"
            " columns are needed."
        )
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{source} holds text that is not UTF-8: save it as such.") from None
    long = values.dtype.kind == "f" and values.dtype.itemsize > 8
    return values.astype(np.float64) if long else values


def run(
    pipe: Connection, raw: str, out: str, name: str, limits: guard.Limits, dialect: Dialect
) -> None:
    """Body of the process: confine it, parse, send the answer as JSON.

    Parameters
    ----------
    pipe : Connection
        Takes ``{"room"}``, the bytes of `out`, and says when there is room for them. Then it takes
        one message: the description, or ``{"status", "error"}``; of status 500 the error
        is a traceback for the log.
    raw, out : str
        Paths.
    name : str
        What messages call the file.
    limits : Limits
    dialect : Dialect
    """
    space = confine(limits)
    if limits.memory_mb * _MB < max(_POLARS, _SHARE * Path(raw).stat().st_size):
        forgo_polars()

    def room(size: int) -> None:
        pipe.send_bytes(_json({"room": size}))
        pipe.recv_bytes()
        _bound(resource.RLIMIT_FSIZE, size)

    try:
        answer = _json(parse(Path(raw), Path(out), limits, dialect, room))
    except BaseException as error:  # a panic in a reader written in Rust is no Exception
        status, said = _failure(error, name, limits, space)
        answer = _json({"status": status, "error": said.replace(raw, name)})
    pipe.send_bytes(answer)


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, allow_nan=False).encode()


def _failure(error: BaseException, name: str, limits: guard.Limits, space: int) -> tuple[int, str]:
    """Status and sentence, or a traceback; `space` is all the address space there is."""
    if isinstance(error, NbmlpError):
        if is_full(error.__cause__):
            return 507, f"the disk is full: {name} was not taken; free some space."
        # Readers make a sentence of their own of a lack of memory.
        lack = isinstance(error.__context__, MemoryError)
        return 413 if lack else _STATUS.get(type(error), 422), str(error)
    # Short of memory, any line of code may fail, with any error.
    if isinstance(error, MemoryError) or _peak() > space - _NEARLY:
        return 413, f"{name} needs more memory than {limits.memory_mb} MB."
    if isinstance(error, Exception):
        return 500, "".join(traceback.format_exception(error))
    return 422, f"{name} is damaged: save or fetch it again."


def confine(limits: guard.Limits) -> int:
    """Limits that the system keeps, and nothing said on the server's own outputs.

    Returns
    -------
    int
        Bytes of address space, at most.
    """
    os.environ["POLARS_MAX_THREADS"] = "1"
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    memory = _address_space() + limits.memory_mb * _MB
    seconds = int(limits.seconds) + 1
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 2 * limits.expanded_mb * _MB),
        (resource.RLIMIT_CORE, 0),
    ):
        _bound(what, most)
    return memory


def _bound(what: int, most: int) -> None:
    """Set a limit, but none above what somebody has set already."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _address_space() -> int:
    """Bytes mapped already; libraries reserve more than they use."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return 1 << 30
    return pages * resource.getpagesize()


def _peak() -> int:
    """The most bytes that were ever mapped."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmPeak"))
