"""Case B: 784-300-10, stuck at 7 % error, whose gradients fail their check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from nbmlp.cases.author_b import AuthorsNet
from nbmlp.cases.common import Say, diagnose, table
from nbmlp.data import Dataset, read
from nbmlp.diagnostics.gradients import GradientReport
from nbmlp.diagnostics.user_code import FunctionReport
from nbmlp.mlp import MLP
from nbmlp.plots import compare_curves

__all__ = ["run"]

#: The net and its optimizer, in the library's terms.
_NET: dict[str, Any] = {
    "hidden": 300, "activation": "logistic", "batch_size": 100, "schedule": "constant",
    "optimizer": "rmsprop_gains(0.001, increase=1.3, decrease=0.5, min_gain=0.1, max_gain=50)",
    "task": "classes",
}  # fmt: skip
_OUTPUTS = {
    "squared_error": "logistic",
    "binary_cross_entropy": "logistic",
    "cross_entropy": "softmax",
}
#: lambda -> training and test error that the author reports after 30 epochs.
_REPORTED = {0.001: (0.061, 0.069), 2e-6: (0.045, 0.057)}
#: The cured net: cross-entropy, and the loss as a sum, against which the author's lambda is small.
_CURE = ("sum", "cross_entropy")


#: What is trained: all losses as a mean, those before and after the cure also as a sum.
_COSTS = [("mean", loss) for loss in _OUTPUTS] + [("sum", "squared_error"), _CURE]

#: Reduction, loss and lambda of a training.
_Key = tuple[str, str, float]


class _Result(NamedTuple):
    train: float  # error
    test: float
    curve: list[float]  # test error after each epoch
    seconds: float


def run(out: Path, data: Path | None, quick: bool, say: Say) -> dict[str, Any]:
    """The author's code and its check, then the same net with right gradients under five costs.

    Parameters
    ----------
    out : Path
        Folder for the picture.
    data : Path or None
        Folder that may hold ``mnist``, or MNIST's four files themselves.
    quick : bool
        A tenth of the rows and 4 epochs.
    say : callable(str)

    Returns
    -------
    dict
        ``source`` of the data; ``author``, test error after each epoch; ``check`` of the author's
        code; ``gradient_error``, the worst block's of the net; ``diagnosis`` of the net with right
        gradients; ``trainings``, two per cost; ``below``: the costs with which the net is
        below all figures of the author, None where they do not compare.
    """
    began = perf_counter()
    images = _images(data, quick, say)
    epochs = 4 if quick else 30
    check, author = _author(images, say)
    gradient_error = _check(images, say)
    say("\nWhy the net is no better with the right gradient, lambda = 0.001:")
    written = _net("squared_error", 0.001, "mean", epochs)
    train, test = _pairs(images)
    reasons = diagnose(written, *train, test, 2.0 if quick else 60.0, say)
    results = {
        (*cost, l2): _train(images, *cost, l2, epochs) for cost in _COSTS for l2 in _REPORTED
    }
    _tell(results, images.source, say)
    below = None if quick or images.X.shape[1] != 784 else _below(results, say)
    picture = out / "case-b.png"
    compare_curves(_curves(author, results), "test error", path=picture)
    took = perf_counter() - began
    say(f"\nThe case took {took:.0f} s; the curves are in {picture}.")
    return {
        "source": images.source, "author": author, "check": check.to_dict(),
        "gradient_error": gradient_error, "diagnosis": reasons,
        "trainings": [_plain(key, found) for key, found in results.items()],
        "below": below, "seconds": took, "files": [str(picture)],
    }  # fmt: skip


def _images(folder: Path | None, quick: bool, say: Say) -> Dataset:
    """MNIST where there is a folder with it, else scikit-learn's digits."""
    places = [] if folder is None else [folder / "mnist", folder]
    for place in places:
        if any(place.glob("train-images*")):
            images = read(place)
            break
    else:
        say("No folder with MNIST is given: the case runs on scikit-learn's digits, 8 x 8 pixels.")
        images = read("digits").split(0.25, stratify=True)
    if quick:
        return replace(images.take(slice(0, max(1000, len(images) // 10))), test=images.test)
    return images


def _pairs(images: Dataset) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """X and y to train on, X and y to test on."""
    assert images.test is not None
    return (images.X, images.y), (images.test.X, images.test.y)


def _author(images: Dataset, say: Say) -> tuple[FunctionReport, list[float]]:
    """The author's code trained for a moment, and checked."""
    (X, labels), (X_test, labels_test) = _pairs(images)
    X, labels, X_test = _shares(X[:6_000]), labels[:6_000], _shares(X_test)
    code = AuthorsNet(X.shape[1])
    began, errors = perf_counter(), []
    for _ in code.train(X, np.eye(10)[labels], 4):
        errors.append(code.error(X_test, labels_test))
    say(
        f"As written, in NumPy: {len(X):,} rows, 4 epochs in {perf_counter() - began:.1f} s; test"
        f" error {', '.join(f'{e:.1%}' for e in errors)}."
    )
    say("\nThe author's gradient, checked: MLP.check_gradients(X, y, function=code).")
    model = _net("squared_error", code.l2, "mean", 1)
    report = model.check_gradients(X, labels, function=code)
    assert isinstance(report, FunctionReport)
    say(str(report))
    return report, errors


def _shares(X: Any) -> Any:
    """Bytes as shares of 255, as the net takes them."""
    return np.asarray(X, np.float64) / (255.0 if X.dtype == np.uint8 else 1.0)


def _net(loss: str, l2: float, reduction: str, epochs: int) -> MLP:
    cost = {"loss": loss, "output": _OUTPUTS[loss], "l2": l2, "reduction": reduction}
    return MLP(**_NET | cost, epochs=epochs)


def _check(images: Dataset, say: Say) -> float:
    """The library's own gradient, for each loss; returns the worst block's error."""
    worst = 0.0
    for loss in _OUTPUTS:
        report = _net(loss, 0.001, "mean", 1).check_gradients(*_pairs(images)[0], entries=20)
        assert isinstance(report, GradientReport)
        worst = max(worst, report.worst)
    say(f"\nThe library's gradients of the three losses: relative error {worst:.1e} at most.")
    return worst


def _train(images: Dataset, reduction: str, loss: str, l2: float, epochs: int) -> _Result:
    train, test = _pairs(images)
    began = perf_counter()
    model = _net(loss, l2, reduction, epochs).fit(*train, validation=test)
    seconds = perf_counter() - began
    errors = [model.evaluate(*part)["error"] for part in (train, test)]
    return _Result(errors[0], errors[1], (1.0 - model.history.val_score).tolist(), seconds)


def _tell(results: dict[_Key, _Result], source: str, say: Say) -> None:
    say(f"\nThe same net and optimizer with right gradients, on {source}:")
    head = ("loss", "reduction", "lambda", "train error", "test error", "time")
    rows = [
        (loss, reduction, f"{l2:g}", f"{r.train:.2%}", f"{r.test:.2%}", f"{r.seconds:.1f} s")
        for (reduction, loss, l2), r in results.items()
    ]
    rows += [
        ("reported by the author", "", f"{l2:g}", f"{train:.2%}", f"{test:.2%}", "")
        for l2, (train, test) in _REPORTED.items()
    ]
    say(table(head, rows))
    say(
        "lambda/2 |W|^2 is weighed against the loss. Beside the sum over a batch of 100 rows,"
        " lambda = 0.001\nis a hundredth of what it is beside their mean; and squared error, small"
        " where the net is sure,\nyields to it first. It is the cost, not the optimizer, that holds"
        " the net at its error."
    )


def _below(results: dict[_Key, _Result], say: Say) -> list[str]:
    """The costs with which the net is at or under all four figures that the author reports."""
    found = [
        f"{reduction} of {loss}"
        for reduction, loss in _COSTS
        if all(
            results[reduction, loss, l2].train <= train
            and results[reduction, loss, l2].test <= test
            for l2, (train, test) in _REPORTED.items()
        )
    ]
    say(f"Below all four figures of the author: {', '.join(found) or 'none'}.")
    return found


def _curves(author: list[float], results: dict[_Key, _Result]) -> dict[str, list[float]]:
    before, after = results["mean", "squared_error", 0.001], results[(*_CURE, 0.001)]
    return {
        "as written, in NumPy": author,
        "right gradient, mean squared error": before.curve,
        "cured: cross-entropy, sum": after.curve,
    }


def _plain(key: _Key, found: _Result) -> dict[str, Any]:
    reduction, loss, l2 = key
    values = {"reduction": reduction, "loss": loss, "l2": l2}
    return {**values, "train": found.train, "test": found.test, "seconds": found.seconds}
