"""Every exception that nbmlp raises on purpose.

Each message is one sentence or two: what was wrong, where, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "MissingPackageError",
    "ModelFileError",
    "NbmlpError",
    "NonFiniteError",
    "NotFittedError",
    "SpecError",
    "TrainingWarning",
    "missing_package",
    "unknown_name",
]


class NbmlpError(Exception):
    """Base of all errors raised by nbmlp."""


class SpecError(NbmlpError, ValueError):
    """A setting is wrong: unknown name, value out of range, or two that contradict."""


class DataError(NbmlpError, ValueError):
    """The data are wrong: shape, dtype, a NaN, an unseen label, an unreadable file."""


class ModelFileError(NbmlpError, ValueError):
    """A model file or checkpoint is damaged, too new, or not one of ours."""


class MissingPackageError(NbmlpError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class NotFittedError(NbmlpError, RuntimeError):
    """Parameters were asked for before the model had any."""


class NonFiniteError(NbmlpError, ArithmeticError):
    """Training met a NaN or an infinity and stopped; the last good weights are kept.

    Attributes
    ----------
    step : int
        Updates done (since the first fit) when it was met.
    row, column : int or None
        Place in the data when the data are to blame, else None.
    layer : int or None
        Layer (1 = first hidden) when the dynamics are to blame, else None.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        row: int | None = None,
        column: int | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__(message)
        self.step, self.row, self.column, self.layer = step, row, column, layer


class TrainingWarning(UserWarning):
    """Training ended early or differently than asked; the model is usable."""


def missing_package(purpose: str, packages: str, extra: str) -> MissingPackageError:
    """Build the error for an optional package that is not installed.

    Parameters
    ----------
    purpose : str
        What was asked for, e.g. ``"a learning curve"``.
    packages : str
        What it needs, e.g. ``"matplotlib"``.
    extra : str
        The extra of nbmlp that brings it.
    """
    return MissingPackageError(f'{purpose} needs {packages}: pip install "nbmlp[{extra}]".')


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> SpecError:
    """Build the error for an unknown name, with the nearest valid one.

    Parameters
    ----------
    kind : str
        What the name stands for, e.g. ``"activation"``.
    name : object
        What the user gave.
    valid : iterable of str
        The names that exist.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of " + ", ".join(names) + "."
    return SpecError(f"unknown {kind} {name!r}: {hint}")
