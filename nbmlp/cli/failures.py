"""Errors as the command line tells them: one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from nbmlp.errors import (
    DataError,
    MissingPackageError,
    NbmlpError,
    NonFiniteError,
    SpecError,
    TrainingWarning,
)

__all__ = ["FAILED", "MISUSED", "exit_code", "plain_warnings", "say", "sentence"]

#: Data, training or files went wrong; the command or a setting is wrong.
FAILED, MISUSED = 1, 2
#: Typer's own class for a wrong command line; its module differs between versions.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def say(text: str) -> None:
    """Print one line on stderr."""
    print("nbmlp: " + " ".join(text.split()), file=sys.stderr)


def sentence(error: BaseException) -> str | None:
    """What to tell the user; None for a mistake in nbmlp itself, which deserves its traceback."""
    if isinstance(error, _UsageError):
        text = str(error.format_message())  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "nbmlp"
        return f"{text.rstrip('.')}: {command} --help lists all options."
    if isinstance(error, NonFiniteError):
        return f"{error} (nbmlp why, with the same data and settings, looks for the cause.)"
    if isinstance(error, NbmlpError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory: take fewer rows or columns, or a smaller net."
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} failed: {error.strerror or error}."
    return None


def exit_code(error: BaseException) -> int:
    """1 when something went wrong on the way, 2 when the command or a setting is wrong."""
    wrong = isinstance(error, _UsageError | SpecError | MissingPackageError)
    return MISUSED if wrong and not isinstance(error, DataError) else FAILED


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print nbmlp's warnings as sentences, without the place in the code."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, TrainingWarning):
            say(f"warning: {message}")
        else:
            before(message, category, *place)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield
