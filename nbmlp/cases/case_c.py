"""Case C: 5-50-1 with dropout, whose loss becomes NaN when the batch is large."""

from __future__ import annotations

import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.cases.common import Say, diagnose, table
from nbmlp.data import Dataset, read
from nbmlp.errors import DataError, NonFiniteError, TrainingWarning, missing_package
from nbmlp.mlp import MLP
from nbmlp.plots import compare_curves

__all__ = ["run", "write_data"]

_BATCHES = (256, 10_000)
#: Updates in all, and between two lines of the table.
_STEPS, _EVERY = 120, 10
#: The net as its author wrote it. Kept units are not scaled up in training: predictions are scaled
#: down. Weights are drawn from N(0, 2 / inputs), biases are zero.
_WRITTEN: dict[str, Any] = {
    "hidden": 50, "task": "regression", "activation": "relu", "init": "he_normal", "dropout": 0.5,
    "dropout_scale_at": "predict", "l2": 0.001, "schedule": "constant", "shuffle": False,
    "optimizer": "adam(0.005, beta1=0.9, beta2=0.99, epsilon=1e-7)",
}  # fmt: skip
_TRAINING, _VALIDATION = 200_000, 17_142
#: Seed of the draws: one with which small batches happen to miss the spoiled rows.
_DRAWS = 9
#: Rows of the training table that are spoiled: row -> column.
_SPOILED = {23_456: 2, 77_777: 4}
#: How the author's files are read.
_FORM: dict[str, Any] = {
    "variables": {"X": "training_data_pos", "X_test": "validation_data_pos"},
    "columns": range(5), "target": 5,
}  # fmt: skip
#: Below the folder of the data sets: file, and how it is read.
_REAL: dict[str, dict[str, Any]] = {
    "airfoil/airfoil_self_noise.mat": {"variables": ("X", "y")},
    "sarcos/sarcos_inv_test.mat": {
        "variables": "sarcos_inv_test", "columns": range(21), "target": list(range(21, 28)),
    },
}  # fmt: skip


def run(out: Path, data: Path | None, quick: bool, say: Say) -> dict[str, Any]:
    """The case on a generated .mat file with two poisoned rows, and on real ones.

    Parameters
    ----------
    out : Path
        Folder for the .mat file and the picture.
    data : Path or None
        Folder that may hold ``airfoil`` and ``sarcos``; or a .mat file to run the case on.
    quick : bool
        Shorter trials in the diagnosis; the rest takes seconds as it is.
    say : callable(str)

    Returns
    -------
    dict
        ``stopped``: for each batch size where training on the raw rows ended; ``cured``: its
        losses after 120 updates; ``diagnosis``; ``real``: R2 on held-out rows of the real files.
    """
    began = perf_counter()
    own = data if data is not None and data.is_file() else None
    path = own or out / "positions.mat"
    if own is None:
        write_data(path)
    rows = _rows(path)
    assert rows.test is not None
    say(f"\n{path}: {len(rows):,} rows to train on, {len(rows.test):,} to validate on.")
    newer = _newer(out / "positions-v73.mat", rows, say) if own is None else None

    say("\nAs written, on the rows as they are.")
    batches = tuple(dict.fromkeys(min(batch, len(rows)) for batch in _BATCHES))
    written = {batch: _train(_WRITTEN, rows, batch, say) for batch in batches}
    say("\nWhy:")
    model = MLP(**_WRITTEN, batch_size=batches[-1], epochs=12)
    reasons = diagnose(
        model, rows.X, rows.y, (rows.test.X, rows.test.y), 4.0 if quick else 20.0, say
    )

    cure: dict[str, Any] = {"on_nonfinite": "drop_rows"}
    if own is not None and not reasons["healthy"]:
        cure |= reasons["findings"][0]["change"]
    say("\nCured: on_nonfinite='drop_rows' leaves such rows out, and says how many.")
    if len(cure) > 1:
        say(f"And what was proposed: {cure}.")
    cured = {batch: _train(_WRITTEN | cure, rows, batch, say) for batch in batches}
    _draw(out / "case-c.png", written, cured)
    real = {} if own else _real(data, say)
    took = perf_counter() - began
    say(f"\nThe case took {took:.0f} s; the curves are in {out / 'case-c.png'}.")
    files = [str(p) for p in (None if own else path, newer, out / "case-c.png") if p is not None]
    return {
        "stopped": {batch: done["stopped"] for batch, done in written.items()},
        "as_written": written, "cured": cured, "diagnosis": reasons, "real": real,
        "seconds": took, "files": files,
    }  # fmt: skip


def _rows(path: Path) -> Dataset:
    """The tables of a file in the author's form; else X and y; else one matrix, target last."""
    for form in (_FORM, {}, {"target": -1}):
        try:
            rows = read(path, **form)
        except DataError as error:
            reason = error
            continue
        if rows.y is not None:
            return rows if rows.test is not None else rows.split(0.2)
    raise reason


def write_data(path: Path) -> None:
    """Tables of a smooth function of 5 inputs with noise, two values of them NaN, as MATLAB 5.

    Columns 0 to 4 are inputs, 5 the target.
    """
    from scipy.io import savemat

    rng = np.random.Generator(np.random.Philox(7))
    tables = {
        "training_data_pos": _table(rng, _TRAINING),
        "validation_data_pos": _table(rng, _VALIDATION),
    }
    for row, column in _SPOILED.items():
        tables["training_data_pos"][row, column] = np.nan
    savemat(path, tables, do_compression=True)


def _table(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    x = rng.normal(size=(n, 5))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] - np.abs(x[:, 3]) + 0.5 * x[:, 4]
    return np.column_stack([x, y + 0.1 * rng.normal(size=n)])


def _newer(path: Path, rows: Dataset, say: Say) -> Path | None:
    """The same tables as MATLAB 7.3 writes them, if h5py is there to try that."""
    try:
        import h5py
    except ImportError:
        say(str(missing_package("a MATLAB 7.3 file", "h5py", "mat")))
        return None
    assert rows.test is not None
    parts = {"training_data_pos": rows, "validation_data_pos": rows.test}
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, part in parts.items():
            whole = np.column_stack([part.X, part.y])  # type: ignore[list-item]
            # MATLAB stores columns first.
            file.create_dataset(name, data=whole.T).attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    again = _rows(path)
    same = np.array_equal(np.asarray(again.X), np.asarray(rows.X), equal_nan=True)
    outcome = "equal" if same else "OTHERWISE"
    say(f"{path} holds the same tables as version 7.3; read back {outcome}.")
    return path


def _train(settings: dict[str, Any], rows: Dataset, batch: int, say: Say) -> dict[str, Any]:
    """120 updates on randomly drawn batches; losses every 10, in parts."""
    model, (X, y), held = MLP(**settings, batch_size=batch), _pair(rows), _pair(rows.test)
    rng = np.random.Generator(np.random.Philox(_DRAWS))
    lines, stopped = [], None
    curve: list[float] = []
    for step in range(_EVERY, _STEPS + 1, _EVERY):
        drawn = rng.choice(len(rows), _EVERY * batch, replace=_EVERY * batch > len(rows))
        try:
            with warnings.catch_warnings():  # rows left out are counted below
                warnings.simplefilter("ignore", TrainingWarning)
                model.partial_fit(X[drawn], y[drawn], row_numbers=drawn)
        except NonFiniteError as error:
            stopped = {
                "step": error.step, "row": error.row, "column": error.column, "said": str(error),
            }  # fmt: skip
            break
        record = model.history[-1]
        curve.append(model.evaluate(*held)["loss"])
        if step % (3 * _EVERY) == 0:
            parts = (record.train_loss, record.data_loss, record.penalty, curve[-1])
            lines.append([str(step), *(f"{value:.4f}" for value in parts)])
    say(f"batch {batch}:")
    if lines:
        say(table(("step", "training", "data part", "penalty", "validation"), lines))
    if stopped is not None:
        say(f"stopped: {stopped['said']}")
    dropped = model.history.rows_dropped
    if dropped:
        say(f"left out {dropped} times a row with NaN.")
    return {"validation": curve, "stopped": stopped, "rows_dropped": dropped}


def _pair(data: Any) -> tuple[Any, Any]:
    return data.X, data.y


def _draw(path: Path, written: dict[int, Any], cured: dict[int, Any]) -> None:
    curves = {
        f"{name}, batch {batch}": done["validation"]
        for name, runs in (("as written", written), ("rows dropped", cured))
        for batch, done in runs.items()
    }
    raw = [name for name in curves if name.startswith("as written")]
    compare_curves(
        curves, "validation loss", xlabel="update (a curve ends where training stopped)",
        step=_EVERY, behind=raw, path=path,
    )  # fmt: skip


def _real(data: Path | None, say: Say) -> dict[str, float]:
    """The net, standardised, on MATLAB files of real measurements."""
    if data is None:
        say("\nNo folder of data sets is given: the real .mat files are left out (--data).")
        return {}
    found, lines = {}, []
    for name, form in _REAL.items():
        if not (data / name).is_file():
            say(f"\n{data} has no {name}: it is left out.")
            continue
        parts = read(data / name, **form).split(0.2)
        settings = _WRITTEN | {"dropout": 0.0, "l2": 1e-5, "shuffle": True}
        for batch in (32, len(parts)):
            model = MLP(**settings, standardise=True, batch_size=batch, epochs=400)
            model.fit(*_pair(parts))
            r2 = model.evaluate(*_pair(parts.test))["r2"]
            found[f"{name}, batch {batch}"] = r2
            lines.append([name, str(batch), f"{r2:.3f}"])
    if lines:
        say("\nReal measurements, 400 epochs, a fifth of the rows held out:")
        say(table(("file", "batch", "R2"), lines))
    return found
