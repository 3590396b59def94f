"""All trainings by name: those of the settings, in one call of fit, and those of several calls."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.digests.data import make
from bench.digests.estimators import ESTIMATORS, fit_estimator
from bench.digests.settings import BASE, DATA, SETTINGS
from nbmlp import MLP, Callback, Checkpoint, EarlyStopping

__all__ = ["PARTS", "TRAININGS", "Outcome", "outcome"]

#: What is compared of each training.
PARTS = ("weights", "predictions", "losses")

#: Arrays of each part.
Found = dict[str, list[NDArray[Any]]]


class Outcome(NamedTuple):
    """Digests by part, and the most threads that ran in an epoch (0 where nobody tells)."""

    digests: dict[str, str]
    threads: int


def outcome(name: str, threads: int) -> Outcome:
    """Train as `name` says."""
    found, ran = TRAININGS[name](threads)
    return Outcome({part: _digest(found[part]) for part in PARTS}, ran)


def _digest(arrays: list[NDArray[Any]]) -> str:
    found = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _told(model: MLP, X: Any) -> tuple[Found, int]:
    """All that training has made of a model."""
    history = model.history
    columns = ("data_loss", "penalty", "val_loss", "val_score", "learning_rate", "gradient_norms")
    found = {
        "weights": [model.get_flat()],
        "predictions": [model.outputs(X), model.predict(X)],
        "losses": [getattr(history, name) for name in columns],
    }
    return found, int(max(history.threads, default=0))


def _split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the net with those of all, and of the data."""
    own = {k: v for k, v in settings.items() if k not in DATA}
    return {**BASE, **own}, {k: v for k, v in settings.items() if k in DATA}


def _fit(settings: dict[str, Any], threads: int) -> tuple[Found, int]:
    net, data = _split(settings)
    weighted = data.pop("weighted", False)
    X, y = make(**data)
    weight = np.random.default_rng(1).integers(0, 4, len(y)) / 2.0 if weighted else None
    model = MLP(threads=threads, **net)
    model.fit(X, y, sample_weight=weight, validation=(X[:70], y[:70]))
    return _told(model, X)


# ------------------------------------------------------------------------ more than one call

Steps = Callable[[Callable[..., MLP]], tuple[Found, int]]
_STEPS: dict[str, Steps] = {}


def _steps(name: str) -> Callable[[Steps], Steps]:
    """Register a training that makes its models by the function that it is given."""

    def register(function: Steps) -> Steps:
        _STEPS[name] = function
        return function

    return register


def _model(threads: int, **settings: Any) -> MLP:
    return MLP(threads=threads, **{**BASE, **settings})


@_steps("partial_fit, three times the same rows")
def _partial(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make()
    net = model(optimizer="adam(0.01)")
    for _ in range(3):
        net.partial_fit(X, y)
    return _told(net, X)


@_steps("partial_fit, parts of other lengths")
def _parts(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(rows=300)
    net = model(optimizer="sgd(0.1, momentum=0.9)", schedule="inverse_scaling", dropout=0.1)
    for start, end in ((0, 120), (120, 240), (240, 263), (263, 300)):
        net.partial_fit(X[start:end], y[start:end], classes=[0, 1, 2])
    return _told(net, X)


@_steps("partial_fit of thin rows, weights")
def _thin_parts(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(columns=300, density=0.02)
    net = model(optimizer="rmsprop_gains")
    for start in (0, 110):
        rows = slice(start, start + 120)
        net.partial_fit(X[rows], y[rows], sample_weight=np.linspace(0.5, 2, 120))
    return _told(net, X)


@_steps("fit, then partial_fit")
def _on(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make()
    return _told(model(optimizer="adagrad").fit(X, y).partial_fit(X, y), X)


@_steps("fit twice")
def _again(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(kind="uint8")
    return _told(model().fit(X, y).fit(X[20:], y[20:]), X)


@_steps("a share to validate on")
def _share(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make()
    return _told(model().fit(X, y, validation=0.2), X)


@_steps("a share of numbers to validate on")
def _share_of_numbers(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(targets="numbers", width=1)
    return _told(model(standardise=True).fit(X, y, validation=0.3), X)


@_steps("early stopping")
def _early(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(rows=100)
    net = model(optimizer="adam(0.02)", schedule="constant", epochs=30)
    net.fit(X, y, validation=0.3, callbacks=[EarlyStopping("val_loss", patience=2)])
    return _told(net, X)


@_steps("saved, loaded, partial_fit")
def _saved(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(kind="uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net")
        net = model(optimizer="rmsprop_gains(0.003)").fit(X, y)
        net.save(path)
        loaded = MLP.load(path)
    return _told(loaded.partial_fit(X, y), X)


@_steps("pickled, partial_fit")
def _pickled(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make()
    net = pickle.loads(pickle.dumps(model(optimizer="adamw").fit(X, y)))
    return _told(net.partial_fit(X, y), X)


class _Once(Callback):
    """Writes a checkpoint behind the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if record.epoch == 1:
            run.save_checkpoint(self.path)


def _resume(callback: type[Checkpoint | _Once], **settings: Any) -> Steps:
    """Train with checkpoints, and once more from the last one that was written."""

    def train(model: Callable[..., MLP]) -> tuple[Found, int]:
        X, y = make()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "checkpoint")
            model(**settings).fit(X, y, callbacks=[callback(path)])
            resumed = model(**settings).fit(X, y, resume=path, epochs=4)
        return _told(resumed, X)

    return train


_MOMENTUM = {"optimizer": "sgd(0.1, momentum=0.9)", "schedule": "one_cycle", "dropout": 0.2}
_STEPS |= {
    "resumed, adam": _resume(Checkpoint, schedule="constant"),
    "resumed behind the first epoch, momentum": _resume(_Once, epochs=4, **_MOMENTUM),
    "resumed behind the first epoch, rprop": _resume(
        _Once, epochs=4, optimizer="rprop", batch_size=None
    ),
    "resumed, lbfgs": _resume(Checkpoint, optimizer="lbfgs", schedule="constant"),
}


@_steps("weights that were set")
def _set(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make()
    net = model().build(X, y)
    net.set_flat(np.sin(np.arange(net.get_flat().size)) / 4)
    return _told(net.partial_fit(X, y), X)


@_steps("loss and gradient")
def _gradient(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(rows=1100)
    net = model(l1=1e-4, l2=1e-3, activation="mish").build(X, y)
    loss, gradient = net.loss_and_gradient(X, y)
    losses = [np.array([loss, net.evaluate(X, y)["loss"]])]
    return {"weights": [gradient], "predictions": [net.predict_proba(X)], "losses": losses}, 0


@_steps("predictions of one row and of many")
def _predictions(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(rows=700)
    net = model().fit(X, y)
    found, ran = _told(net, X)
    found["predictions"] += [net.outputs(X[:n].astype(np.float64)) for n in (1, 2, 8, 97, 700)]
    return found, ran


def _holed(policy: str, **settings: Any) -> Steps:
    """Train on rows of which some have no number."""

    def train(model: Callable[..., MLP]) -> tuple[Found, int]:
        X, y = make()
        holed = X.copy()
        holed[3, 4] = holed[77, 0] = holed[78, 1] = np.nan
        return _told(model(on_nonfinite=policy, **settings).fit(holed, y), X)

    return train


_STEPS |= {f"NaN, {name}": _holed(name) for name in ("drop_rows", "impute", "ignore")}


@_steps("diverges, is warned of")
def _diverges(model: Callable[..., MLP]) -> tuple[Found, int]:
    X, y = make(targets="numbers", width=2)
    net = model(optimizer="sgd(50.0)", on_nonfinite="warn", schedule="constant", epochs=5)
    return _told(net.fit(X, y), X)


def _in_steps(steps: Steps, threads: int) -> tuple[Found, int]:
    return steps(partial(_model, threads))


def _by_estimator(name: str, threads: int) -> tuple[Found, int]:
    return fit_estimator(name, threads), 0


#: Name -> function of the number of threads.
TRAININGS: dict[str, Callable[[int], tuple[Found, int]]] = {
    **{name: partial(_fit, settings) for name, settings in SETTINGS.items()},
    **{name: partial(_in_steps, steps) for name, steps in _STEPS.items()},
    **{name: partial(_by_estimator, name) for name in ESTIMATORS},
}
