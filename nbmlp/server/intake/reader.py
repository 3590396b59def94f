"""The server's side of reading an uploaded file: a confined process for each."""

from __future__ import annotations

import json
import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nbmlp.data.layout import Dialect
from nbmlp.server.intake import parse
from nbmlp.server.intake.guard import Limits
from nbmlp.server.ports import ColumnInfo, ParsedDataset, ServiceError
from nbmlp.server.settings import ServerSettings

__all__ = ["IntakeError", "RefusedFileError", "read_upload"]

#: Of a description; a file with the most columns stays far below.
_LONGEST_ANSWER = 1 << 26
_OURS = 500
#: Seconds that the process has for ending by itself.
_LAST_SECOND = 1.0


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


def read_upload(
    raw: Path, out: Path, name: str, settings: ServerSettings, dialect: Dialect | None = None
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
    dialect : Dialect, optional
        What is told about a text table.

    Returns
    -------
    ParsedDataset

    Raises
    ------
    RefusedFileError
        With the reason in one sentence; `out` may have been begun.
    IntakeError
        With a traceback.
    """
    limits = Limits(
        settings.expanded_mb, settings.max_columns, settings.parse_memory_mb, settings.parse_seconds
    )
    answer = _ask(raw, out, name, limits, dialect or Dialect())
    if answer.get("status") == _OURS:
        raise IntakeError(answer["error"])
    if "error" in answer:
        raise RefusedFileError(answer["error"], answer["status"])
    columns = tuple(
        ColumnInfo(**{**column, "examples": tuple(column["examples"])})
        for column in answer.pop("columns")
    )
    rows = tuple(map(tuple, answer.pop("preview")))
    return ParsedDataset(path=out, name=name, columns=columns, preview=rows, **answer)


def _ask(raw: Path, out: Path, name: str, limits: Limits, dialect: Dialect) -> dict[str, Any]:
    """The answer as JSON: what comes from a process that met a hostile file is not unpickled."""
    # Forked from a clean, single-threaded process that has imported the readers already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([parse.__name__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=parse.run, args=(theirs, str(raw), str(out), name, limits, dialect), daemon=True
    )
    with ours:
        process.start()
        theirs.close()
        try:
            answer = _answer(ours, limits.seconds)
            process.join(_LAST_SECOND)
        except TimeoutError:
            answer = _refusal(f"{name} takes longer to read than {limits.seconds:g} s: send less.")
        finally:
            process.kill()
            process.join()
    return answer or _cause_of_death(process.exitcode, name, limits)


def _answer(pipe: Connection, seconds: float) -> dict[str, Any] | None:
    """What the process says; None when it ends without a word."""
    if not pipe.poll(seconds):
        raise TimeoutError
    try:
        found: dict[str, Any] = json.loads(pipe.recv_bytes(_LONGEST_ANSWER))
    except (EOFError, OSError):
        return None
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
