"""What the cases share: folders, tables, figures of a training, the picture of before and after."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nbmlp.errors import DataError, TrainingWarning, missing_package
from nbmlp.mlp import MLP
from nbmlp.plots import before_and_after
from nbmlp.train.history import History

__all__ = [
    "Say", "contact_sheet", "data_place", "diagnose", "draw", "figures", "output_folder", "table",
    "warnings_said",
]  # fmt: skip

Say = Callable[[str], object]
#: Images of each label on a contact sheet.
_SHOWN = 24


@contextmanager
def warnings_said(say: Say) -> Iterator[None]:
    """Warnings about a training become lines of the story, as they come."""

    def show(message: Warning | str, *_: Any) -> None:
        say(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if it is not there. Raises DataError when it cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made: {error.strerror}.") from None
    return folder


def data_place(path: str | os.PathLike[str] | None, file: bool) -> Path | None:
    """The folder (or, if `file`, the file) given, else what NBMLP_DATA names, else None.

    Raises
    ------
    DataError
        It is not there.
    """
    named = path or os.environ.get("NBMLP_DATA")
    if not named:
        return None
    place = Path(named)
    if not (place.is_dir() or (file and place.is_file())):
        wanted = "folder or file" if file else "folder"
        raise DataError(f"there is no {wanted} {place}: name the {wanted} that holds the data.")
    return place


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    cells = [list(head), *([str(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        rest = (value.rjust(width) for value, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def figures(history: History) -> dict[str, Any]:
    """A training in plain values: losses, validation scores, gradient norms, time.

    Returns
    -------
    dict
        ``first``, ``best``, ``best_epoch``, ``last``: validation scores; ``first_norms``,
        ``last_norms``: of each layer in the first and the last epoch, where recorded;
        ``train_loss`` of the last epoch, ``epochs``, ``seconds`` in updates.
    """
    scores, norms = history.val_score, history.gradient_norms
    found = {
        "first": float(scores[0]), "best": float(np.nanmax(scores)), "last": float(scores[-1]),
        "best_epoch": history.best_epoch, "train_loss": float(history.train_loss[-1]),
        "epochs": len(history), "seconds": float(history.seconds.sum()),
    }  # fmt: skip
    if norms.size:
        found |= {"first_norms": norms[0].tolist(), "last_norms": norms[-1].tolist()}
    return found


def draw(
    path: Path,
    before: Mapping[str, MLP],
    after: Mapping[str, MLP],
    level: tuple[str, float] | None = None,
) -> None:
    """Validation scores and, where recorded, gradient norms of each layer, before and after.

    Parameters
    ----------
    path : Path
        The picture.
    before, after : mapping of name to fitted MLP
    level : (str, float), optional
        A score to compare with, and its name.
    """
    fits = (before, after)
    name = f"validation {next(iter(after.values())).history.score_name}"
    rows: dict[str, Any] = {
        name: tuple({k: m.history.val_score for k, m in fit.items()} for fit in fits)
    }
    layers = min(m.history.gradient_norms.shape[1] for fit in fits for m in fit.values())
    for i in range(layers):
        rows[f"gradient norm, layer {i + 1}"] = tuple(
            {k: _positive(m.history.gradient_norms[:, i]) for k, m in fit.items()} for fit in fits
        )
    before_and_after(rows, linear=(name,), level=level, path=path)


def _positive(values: Any) -> Any:
    """What a logarithmic axis can show."""
    return np.where(values > 0, values, np.nan)


def contact_sheet(path: Path, X: Any, y: Any) -> None:
    """A picture of square images (rows, pixels), a row of them for each label.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    """
    try:
        from matplotlib.image import imsave
    except ImportError:
        raise missing_package("a picture", "matplotlib", "plot") from None
    side = round(X.shape[1] ** 0.5)
    lines = []
    for label in np.unique(y):
        shown = np.zeros((_SHOWN, side, side), X.dtype)
        found = X[np.flatnonzero(y == label)[:_SHOWN]]
        shown[: len(found)] = found.reshape(-1, side, side)
        lines.append(np.hstack(list(np.pad(shown, ((0, 0), (1, 1), (1, 1))))))
    imsave(path, np.vstack(lines), cmap="gray_r")


def diagnose(
    model: MLP, X: Any, y: Any, validation: Any, seconds: float, say: Say
) -> dict[str, Any]:
    """Ask why the model's training fails, print the answer, and return it as plain values."""
    report = model.why(X, y, validation=validation, seconds=seconds)
    say(str(report))
    return report.to_dict()
