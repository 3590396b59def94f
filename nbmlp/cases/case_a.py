"""Case A: 784-45-16 on digits and symbols, whose gradients seem to shrink as the batch grows."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nbmlp.cases.common import Say, diagnose, draw, figures, table
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
#: What is changed: the mean over the batch, the loss that suits classes, and steps that follow one
#: rule from batch to batch, the rate times the square root of batch / 20. Besides, pixels stay
#: bytes, which the net takes divided by 255.
_CURE: dict[str, Any] = {
    "output": "softmax", "loss": "cross_entropy", "reduction": "mean",
    "optimizer": "adam(0.001)", "base_batch": 20,
}  # fmt: skip


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
        (20_000, 5_000, 8, 2.0) if quick else (200_000, 50_000, 50, 40.0)
    )
    say(f"\nDrawing {n:,} images, and {validation:,} to validate on in fonts that those lack.")
    images = glyphs(n, validation=validation)
    say(f"Drawn in {perf_counter() - began:.1f} s.")
    found = {"glyphs": study(images, epochs, seconds, out / "glyphs.png", say)}
    if data is None:
        say("\nNo folder of data sets is given: the handwritten symbols are left out (--data).")
    elif not (data / _REAL).is_file():
        say(f"\n{data} has no {_REAL}: the handwritten symbols are left out.")
    else:
        say(f"\nThe same on {_REAL}.")
        symbols = _symbols(data / _REAL)
        found["symbols"] = study(symbols, 4 * epochs, seconds / 2, out / "symbols.png", say)
    took = perf_counter() - began
    say(f"\nThe case took {took:.0f} s; the curves are in {out}.")
    files = [str(out / f"{name}.png") for name in found]
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
        ``diagnosis`` of the net as written, for each batch size; ``points``, how many points of
        accuracy the cured nets are above softmax regression.
    """
    (X, y), held = _pair(data), _pair(data.test)
    floor = MLP(hidden=(), task="classes", epochs=min(epochs, 20)).fit(X, y)
    reached = floor.evaluate(*held)["accuracy"]
    say(f"Softmax regression gets {reached:.1%} of the validation images right.")

    say("\nAs written: sigmoids, squared error, summed gradients, pixels of 0 to 255.")
    raw, raw_held = np.asarray(X, np.float32), (np.asarray(held[0], np.float32), held[1])
    written = _fitted(_WRITTEN, epochs, raw, y, raw_held, say)
    reasons = {}
    for batch, model in written.items():
        say(f"\nWhy, at batch {batch}:")
        reasons[batch] = diagnose(model, raw, y, raw_held, seconds, say)
    del raw, raw_held

    say("\nCured: mean gradient, softmax and cross-entropy, scaled pixels, the rate by one rule.")
    cured = _fitted(_WRITTEN | _CURE, epochs, X, y, held, say)
    before, after = (
        {batch: figures(model.history) for batch, model in models.items()}
        for models in (written, cured)
    )
    points = {batch: 100 * (found["last"] - reached) for batch, found in after.items()}
    over = " and ".join(f"{gain:.1f} at batch {batch}" for batch, gain in points.items())
    say(f"Points above softmax regression: {over}.")
    draw(path, _named(written), _named(cured), ("softmax regression", reached))
    return {
        "softmax_regression": reached, "points": points, "diagnosis": reasons,
        "as_written": before, "cured": after,
    }  # fmt: skip


def _pair(data: Any) -> tuple[Any, Any]:
    return data.X, data.y


def _fitted(
    settings: dict[str, Any], epochs: int, X: Any, y: Any, held: tuple[Any, Any], say: Say
) -> dict[int, MLP]:
    """The net trained with each batch size, and a table of how that went."""
    models = {}
    for batch in _BATCHES:
        model = MLP(
            **settings, task="classes", epochs=epochs, batch_size=batch, gradient_norms=True
        )
        models[batch] = model.fit(X, y, validation=held)
    head = (
        "batch", "learning rate", "epoch 1", "best", "(epoch)", f"epoch {epochs}",
        "gradient, layer 1", "layer 2", "time",
    )  # fmt: skip
    say(table(head, [_line(batch, model) for batch, model in models.items()]))
    return models


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
