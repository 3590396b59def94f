"""Case A: 784-45-16 on digits and symbols, whose gradients seem to shrink as the batch grows."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from nbmlp.cases.common import Say, contact_sheet, diagnose, draw, figures, table
from nbmlp.data import Dataset, read
from nbmlp.datasets import glyphs
from nbmlp.mlp import MLP

__all__ = ["run"]

_BATCHES = (20, 2000)
#: Handwritten digits and symbols, below the folder of the data sets.
_REAL = Path("math-symbols", "handwritten_math_symbols_28x28.npz")
#: The net as its author wrote it: every unit a sigmoid, squared error on one-hot targets, gradients
#: summed over the batch, one learning rate for all batch sizes.
_WRITTEN: dict[str, Any] = {
    "hidden": 45, "activation": "logistic", "output": "logistic", "loss": "squared_error",
    "optimizer": "sgd(0.02)", "schedule": "constant", "reduction": "sum",
}  # fmt: skip
#: What is changed, one after the other: the mean over the batch; pixels as bytes, which the net
#: takes divided by 255; the loss that suits classes; and a rate that follows one rule from batch to
#: batch, times the square root of batch / 20.
_CURES: dict[str, dict[str, Any]] = {
    "mean over the batch": {"reduction": "mean"},
    "pixels scaled to 0..1": {},
    "softmax, cross-entropy": {"output": "softmax", "loss": "cross_entropy"},
    "Adam, rate by rule": {"optimizer": "adam(0.001)", "base_batch": 20},
}
_SCALED = "pixels scaled to 0..1"


def run(out: Path, data: Path | None, quick: bool, say: Say) -> dict[str, Any]:
    """The case on drawn glyphs and, where they are given, on handwritten symbols.

    Parameters
    ----------
    out : Path
        Folder for the pictures.
    data : Path or None
        Folder that may hold ``math-symbols``.
    quick : bool
        20,000 images and 8 epochs instead of 200,000 and 50.
    say : callable(str)

    Returns
    -------
    dict
        ``glyphs`` and, where the data are there, ``symbols``: see :func:`study`.
    """
    began = perf_counter()
    n, validation, epochs, seconds = (
        (20_000, 5_000, 8, 2.0) if quick else (200_000, 50_000, 50, 60.0)
    )
    say(f"\nDrawing {n:,} images, and {validation:,} to validate on in fonts that those lack.")
    images = glyphs(n, validation=validation)
    contact_sheet(out / "images.png", images.X, images.y)
    say(f"Drawn in {perf_counter() - began:.1f} s; some of them are in {out / 'images.png'}.")
    found = {"glyphs": study(images, epochs, seconds, out / "glyphs.png", say)}
    if data is None:
        say("\nNo folder of data sets is given: the handwritten symbols are left out (--data).")
    elif not (data / _REAL).is_file():
        say(f"\n{data} has no {_REAL}: the handwritten symbols are left out.")
    else:
        say(f"\nThe same on {_REAL}.")
        symbols = _symbols(data / _REAL)
        found["symbols"] = study(symbols, 4 * epochs, seconds, out / "symbols.png", say)
    took = perf_counter() - began
    say(f"\nThe case took {took:.0f} s; the curves are in {out}.")
    files = [str(out / f"{name}.png") for name in ("images", *found)]
    return {**found, "seconds": took, "files": files}


def study(data: Dataset, epochs: int, seconds: float, path: Path, say: Say) -> dict[str, Any]:
    """Softmax regression, the net as written, the diagnosis, and the net cured.

    Parameters
    ----------
    data : Dataset
        X uint8 of 784 columns, with a test part, which is validated on.
    epochs : int
    seconds : float
        For each diagnosis.
    path : Path
        Of the picture.
    say : callable(str)

    Returns
    -------
    dict
        ``softmax_regression``, its accuracy on the validation images; ``as_written`` and
        ``cured``, for each batch size what :func:`nbmlp.cases.common.figures` says;
        ``diagnosis`` of the net as written, for each batch size; ``steps``, the accuracy with
        one cure more each, after a fifth of the epochs; ``points``, how many points of accuracy
        the cured nets are above softmax regression.
    """
    few = max(3, epochs // 5)  # it fails as soon as that
    bytes_ = _Parts(data.X, data.y, (data.test.X, data.test.y) if data.test else ())
    numbers = bytes_.as_numbers()
    floor = MLP(hidden=(), task="classes", epochs=min(epochs, 20)).fit(*bytes_[:2])
    reached = floor.evaluate(*bytes_.held)["accuracy"]
    say(f"Softmax regression gets {reached:.1%} of the validation images right.")

    say("\nAs written: sigmoids, squared error, summed gradients, pixels of 0 to 255.")
    written = _fitted(_WRITTEN, epochs, numbers)
    say(_told(written))
    reasons = {}
    for batch, model in written.items():
        say(f"\nWhy, at batch {batch}:")
        reasons[batch] = diagnose(model.with_(epochs=few), *numbers, seconds, say)

    say(f"\nOne cure more each, {few} epochs:")
    steps = _steps(few, numbers, bytes_)
    head = ["", *(f"batch {batch}" for batch in _BATCHES)]
    say(table(head, [[k, *(f"{v:.1%}" for v in found.values())] for k, found in steps.items()]))
    del numbers

    say(f"\nCured, {epochs} epochs:")
    cured = _fitted(_WRITTEN | _all(_CURES), epochs, bytes_)
    say(_told(cured))
    before, after = (
        {batch: figures(model.history) for batch, model in models.items()}
        for models in (written, cured)
    )
    points = {batch: 100 * (found["last"] - reached) for batch, found in after.items()}
    over = " and ".join(f"{gain:.1f} at batch {batch}" for batch, gain in points.items())
    say(f"Points above softmax regression: {over}.")
    draw(path, _named(written), _named(cured), ("softmax regression", reached))
    return {
        "softmax_regression": reached, "points": points, "diagnosis": reasons, "steps": steps,
        "as_written": before, "cured": after,
    }  # fmt: skip


class _Parts(NamedTuple):
    """Images and labels, and those to validate on."""

    X: Any
    y: Any
    held: tuple[Any, ...]

    def as_numbers(self) -> _Parts:
        """Pixels of 0 to 255 that nothing scales."""
        X, y = self.held
        return _Parts(np.asarray(self.X, np.float32), self.y, (np.asarray(X, np.float32), y))


def _all(cures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: value for cure in cures.values() for name, value in cure.items()}


def _steps(epochs: int, numbers: _Parts, bytes_: _Parts) -> dict[str, dict[int, float]]:
    """Validation accuracy as written and after each cure, by batch size."""
    settings, data, found = _WRITTEN, numbers, {}
    for name, cure in {"as written": {}, **_CURES}.items():
        settings, data = settings | cure, bytes_ if name == _SCALED else data
        models = _fitted(settings, epochs, data)
        found[name] = {n: figures(model.history)["last"] for n, model in models.items()}
    return found


def _fitted(settings: dict[str, Any], epochs: int, data: _Parts) -> dict[int, MLP]:
    """The net trained with each batch size."""
    common: dict[str, Any] = {"task": "classes", "epochs": epochs, "gradient_norms": True}
    return {
        batch: MLP(**settings, **common, batch_size=batch).fit(data.X, data.y, validation=data.held)
        for batch in _BATCHES
    }


def _told(models: dict[int, MLP]) -> str:
    """How trainings went, as a table."""
    epochs = max(len(model.history) for model in models.values())
    head = (
        "batch", "learning rate", "epoch 1", "best", "(epoch)", f"epoch {epochs}",
        "gradient, layer 1", "layer 2", "time",
    )  # fmt: skip
    return table(head, [_line(batch, model) for batch, model in models.items()])


def _line(batch: int, model: MLP) -> list[str]:
    found = figures(model.history)
    norms = zip(found["first_norms"], found["last_norms"], strict=True)
    return [
        str(batch), f"{model.train_spec.learning_rate_for(batch):g}", f"{found['first']:.1%}",
        f"{found['best']:.1%}", f"({found['best_epoch']})", f"{found['last']:.1%}",
        *(f"{first:.2g} -> {last:.2g}" for first, last in norms), f"{found['seconds']:.1f} s",
    ]  # fmt: skip


def _named(models: dict[int, MLP]) -> dict[str, MLP]:
    return {f"batch {batch}": model for batch, model in models.items()}


def _symbols(path: Path) -> Dataset:
    """Handwritten digits and symbols, a fifth of each class set aside."""
    return read(path, variables={"X": "X", "y": "y"}).split(0.2, stratify=True)
