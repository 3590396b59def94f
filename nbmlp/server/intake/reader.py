"""The server's side of reading an uploaded file: a confined process for each."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nbmlp.data.layout import Dialect
from nbmlp.server.intake import parse, process
from nbmlp.server.intake.guard import Limits
from nbmlp.server.ports import ColumnInfo, NoSpaceError, ParsedDataset, ServiceError
from nbmlp.server.rows import content_hash
from nbmlp.server.settings import ServerSettings

__all__ = ["IntakeError", "RefusedFileError", "read_upload"]

#: Of a description; a file with the most columns stays far below.
_LONGEST_ANSWER = 1 << 26
_OURS, _FULL = 500, 507


class IntakeError(Exception):
    """The server's own mistake, not the file's: for the log, and nothing of it for the user."""


class RefusedFileError(ServiceError):
    """An uploaded file cannot be taken.

    Attributes
    ----------
    status : int
        413 too large, 415 of no accepted kind, 422 anything else that is wrong.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


Room = Callable[[Path, int], None]


def read_upload(
    raw: Path,
    out: Path,
    name: str,
    settings: ServerSettings,
    room: Room,
    dialect: Dialect | None = None,
) -> ParsedDataset:
    """Have a file read by a process with limits on memory, time and output.

    Parameters
    ----------
    raw : Path
        What was uploaded.
    out : Path
        Where its rows go.
    name : str
        The user's label, for messages.
    settings : ServerSettings
    room : callable
        Given `out` and the bytes that it will have; raises NoSpaceError when they are too many.
    dialect : Dialect, optional
        What is told about a text table.

    Returns
    -------
    ParsedDataset

    Raises
    ------
    NoSpaceError
        There is no room for its rows.
    RefusedFileError
        With the reason in one sentence; `out` may have been begun.
    IntakeError
        With a traceback.
    """
    limits = Limits(
        settings.expanded_mb, settings.max_columns, settings.parse_memory_mb, settings.parse_seconds
    )
    answer = _ask(raw, out, name, limits, partial(room, out), dialect or Dialect())
    if answer.get("status") == _OURS:
        raise IntakeError(answer["error"])
    if answer.get("status") == _FULL:
        raise NoSpaceError(answer["error"])
    if "error" in answer:
        raise RefusedFileError(answer["error"], answer["status"])
    columns = tuple(
        ColumnInfo(**{**column, "examples": tuple(column["examples"])})
        for column in answer.pop("columns")
    )
    rows = tuple(map(tuple, answer.pop("preview")))
    # Hashed here: what the process says that met the file is not believed in this.
    return ParsedDataset(
        path=out, sha256=content_hash(out), name=name, columns=columns, preview=rows, **answer
    )


def _ask(
    raw: Path,
    out: Path,
    name: str,
    limits: Limits,
    room: Callable[[int], None],
    dialect: Dialect,
) -> dict[str, Any]:
    """The answer as JSON: what comes from a process that met a hostile file is not unpickled."""
    given = (str(raw), str(out), name, limits, dialect)

    def reply(message: bytes) -> bytes | None:
        """It writes what there is room for."""
        asked = json.loads(message)
        if "room" not in asked:
            return None
        room(max(0, int(asked["room"])))
        return b"write"

    try:
        answer, code = process.ask(parse.run, given, limits.seconds, _LONGEST_ANSWER, reply=reply)
    except TimeoutError:
        return _refusal(f"{name} takes longer to read than {limits.seconds:g} s: send less.")
    if answer is None:
        return _cause_of_death(code, name, limits)
    found: dict[str, Any] = json.loads(answer)
    return found


def _refusal(text: str, status: int = 413) -> dict[str, Any]:
    return {"status": status, "error": text}


def _cause_of_death(exit_code: int | None, name: str, limits: Limits) -> dict[str, Any]:
    if exit_code == -signal.SIGSEGV:
        return _refusal(f"{name} is damaged: save or fetch it again.", 422)
    if exit_code == -signal.SIGXCPU:
        return _refusal(f"{name} takes longer to read than {limits.seconds:g} s: send less.")
    if exit_code is not None and exit_code >= 0:
        return _refusal(f"the process that read {name} ended with code {exit_code}.", _OURS)
    # Libraries that get no memory abort; the system kills who takes too much of it.
    return _refusal(f"{name} needs more memory to read than {limits.memory_mb} MB: send less.")
