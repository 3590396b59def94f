"""A function out of a Python file of the user's."""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from nbmlp.data.files import reading
from nbmlp.errors import NbmlpError, SpecError, unknown_name

__all__ = ["load"]


def load(place: str) -> Callable[..., Any]:
    """Execute a file and take a function from it.

    Parameters
    ----------
    place : str
        ``FILE.py:NAME``.

    Returns
    -------
    callable
        What it raises comes out as a SpecError with the line of the file.

    Raises
    ------
    SpecError
        Not of this form, an error in the file, or no such function in it.
    DataError
        The file cannot be read.
    """
    file, _, name = place.rpartition(":")
    if not file or not name.isidentifier():
        raise SpecError(f"--function {place}: write FILE.py:NAME, e.g. net.py:loss_and_gradient.")
    with reading(Path(file)):
        Path(file).read_bytes()
    names = _in_sentences(file, runpy.run_path)(file)
    functions = {key: value for key, value in names.items() if callable(value)}
    if name not in functions:
        raise unknown_name(f"function of {file}", name, functions)
    return _in_sentences(file, functions[name])


def _in_sentences(file: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors say where in the file they happened."""

    @wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except NbmlpError:
            raise
        except Exception as error:
            lines = [
                f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file
            ]
            line = f", line {lines[-1]}" if lines else ""
            what = f"{type(error).__name__}: {error}"
            raise SpecError(f"{file}{line} raised {what}.") from error

    return call
