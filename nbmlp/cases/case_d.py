"""Case D: the digit as one number through a sigmoid, and a loss that does not change at all."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.cases.common import Say, diagnose, table
from nbmlp.data import Dataset, read
from nbmlp.errors import DataError
from nbmlp.mlp import MLP
from nbmlp.plots import compare_curves
from nbmlp.train.engine import Engine
from nbmlp.tuning import available_threads

__all__ = ["run"]

#: Below the folder of the data sets.
_TABLE = Path("digit-recognizer", "train.csv.gz")
#: The net as its author wrote it: one sigmoid for label / 10, no biases, a gradient summed over all
#: rows, a learning rate of 0.1.
_WRITTEN: dict[str, Any] = {
    "hidden": 250, "task": "regression", "activation": "logistic", "output": "logistic",
    "loss": "squared_error", "bias": False, "init": "uniform(-1, 1)", "optimizer": "sgd(0.1)",
    "schedule": "constant", "reduction": "sum", "batch_size": None,
}  # fmt: skip
#: What the diagnosis asks for, and mini-batches.
_MEAN: dict[str, Any] = _WRITTEN | {"reduction": "mean", "init": "auto"}
_CURED: dict[str, Any] = _MEAN | {
    "optimizer": "adam(0.003)", "schedule": "cosine", "batch_size": 100,
}  # fmt: skip
_CLASSES: dict[str, Any] = {"hidden": 250, "task": "classes", "batch_size": 100}
_ROW = 129


def run(out: Path, data: Path | None, quick: bool, say: Say) -> dict[str, Any]:
    """The case on the 42,000 rows of the table, else on scikit-learn's digits.

    Parameters
    ----------
    out : Path
        Folder for the picture.
    data : Path or None
        Folder that may hold ``digit-recognizer``, or the CSV file itself.
    quick : bool
        A tenth of the epochs.
    say : callable(str)

    Returns
    -------
    dict
        ``as_written``: first and last loss for 500, 3,000 and all rows; ``diagnosis`` at 3,000;
        ``cured``: mean absolute error of the digit on held-out rows, full batch and mini-batches;
        ``accuracy`` on them as classes; ``row_129``.
    """
    began = perf_counter()
    rows = _rows(data, say).split(0.2, stratify=True)
    (X, y), (X_held, y_held) = _pair(rows), _pair(rows.test)
    target, held = _target(y), (X_held, _target(y_held))
    few, many = 50, min(3_000, len(X))
    epochs = 40 if quick else 400

    say(f"\nAs written: the gradient summed over all rows, {epochs} full-batch epochs.")
    written = {}
    for n in dict.fromkeys((few, many, len(X))):
        length = epochs if n < len(X) or len(X) == many else max(epochs // 10, 3)
        model = MLP(**_WRITTEN, epochs=length)
        written[n] = model.fit(X[:n], target[:n], validation=held)
    say(table(("rows", "epochs", "first loss", "last loss", "time"), _lines(written)))
    say(f"\nWhy, with {many:,} rows:")
    model = MLP(**_WRITTEN, epochs=min(epochs, 100))
    reasons = diagnose(model, X[:many], target[:many], held, 10.0 if quick else 40.0, say)

    say("\nCured: the mean gradient and first weights that suit the width, then mini-batches.")
    length = 3 if quick and len(X) > 10_000 else 30
    full = MLP(**_MEAN, epochs=length).fit(X, target, validation=held)
    small = MLP(**_CURED, epochs=length).fit(X, target, validation=held)
    cured = {"full batch": full, "batches of 100": small}
    say(f"A full-batch update over {len(X):,} rows works in {_megabytes(full, X, target):.1f} MB.")
    misses = {name: _miss(model, X_held, y_held) for name, model in cured.items()}
    lines = [[name, *_line(model), f"{misses[name]:.2f}"] for name, model in cured.items()]
    head = ("training", "epochs", "first loss", "last loss", "time", "mean error of the digit")
    say(table(head, lines))
    classes = MLP(**_CLASSES, epochs=length).fit(X, y)
    accuracy = classes.evaluate(X_held, y_held)["accuracy"]
    say(f"As ten classes, 784-250-10 gets {accuracy:.1%} of the held-out digits right.")
    shown = _predictions(written[many], small, classes, X, y, say)
    _draw(out / "case-d.png", written, cured)
    took = perf_counter() - began
    say(f"\nThe case took {took:.0f} s; the curves are in {out / 'case-d.png'}.")
    return {
        "as_written": {n: _losses(model) for n, model in written.items()}, "diagnosis": reasons,
        "cured": misses, "accuracy": accuracy, "row_129": shown, "seconds": took,
        "files": [str(out / "case-d.png")],
    }  # fmt: skip


def _rows(data: Path | None, say: Say) -> Dataset:
    path = None if data is None else data if data.is_file() else data / _TABLE
    if path is None or not path.is_file():
        where = "No folder of data sets is given" if path is None else f"There is no {path}"
        say(f"\n{where}: scikit-learn's 1,797 digits of 8 x 8 pixels stand in (--data).")
        return read("digits")
    began = perf_counter()
    rows = read(path, target="label" if path.name == _TABLE.name else None)
    if rows.y is None:
        rows = read(path, target=0)
    digits = np.asarray(rows.y)
    if digits.dtype.kind not in "iu" or not ((digits >= 0) & (digits <= 9)).all():
        raise DataError(f"{path}: the targets have to be digits, 0 to 9, in a column 'label'.")
    took = perf_counter() - began
    say(f"\n{path}: {len(rows):,} rows of {rows.X.shape[1]} pixels, read in {took:.1f} s.")
    return rows


def _pair(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    return data.X, data.y


def _target(labels: NDArray[Any]) -> NDArray[np.float32]:
    """The digit as its author wanted it: 0.0, 0.1, ... 0.9."""
    return np.asarray(labels, np.float32) / np.float32(10)


def _miss(model: MLP, X: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean absolute error of the digit."""
    return float(np.abs(10 * model.predict(X) - labels.astype(np.float64)).mean())


def _losses(model: MLP) -> tuple[float, float]:
    losses = model.history.data_loss
    return float(losses[0]), float(losses[-1])


def _line(model: MLP) -> list[str]:
    first, last = _losses(model)
    seconds = float(model.history.seconds.sum())
    return [str(len(model.history)), f"{first:.5f}", f"{last:.5f}", f"{seconds:.1f} s"]


def _lines(models: dict[int, MLP]) -> list[list[str]]:
    return [[f"{n:,}", *_line(model)] for n, model in models.items()]


def _megabytes(model: MLP, X: NDArray[Any], target: NDArray[Any]) -> float:
    """All buffers beside data and parameters."""
    net = model.net
    rows = net.rows(X, target)
    work = Engine(net.spec, model.train_spec, net.state, rows, available_threads()).work
    return work.nbytes / 1e6


def _predictions(
    written: MLP, cured: MLP, classes: MLP, X: NDArray[Any], y: NDArray[Any], say: Say
) -> dict[str, float]:
    """One row, as the author looked at it."""
    place = min(_ROW, len(X) - 1)
    row = X[place : place + 1]
    found = {
        "label": float(y[place]), "as_written": 10 * float(written.predict(row)[0]),
        "cured": 10 * float(cured.predict(row)[0]), "class": float(classes.predict(row)[0]),
    }  # fmt: skip
    say(
        f"Row {place} is a {found['label']:.0f}: as written the net says {found['as_written']:.2f},"
        f" cured {found['cured']:.2f}, as classes {found['class']:.0f}."
    )
    return found


def _draw(path: Path, written: dict[int, MLP], cured: dict[str, MLP]) -> None:
    curves = {f"as written, {n:,} rows": m.history.val_loss for n, m in written.items()}
    curves |= {f"cured, {name}": m.history.val_loss for name, m in cured.items()}
    compare_curves(curves, "validation loss", log_x=True, path=path)
