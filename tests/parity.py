"""Settings of scikit-learn's MLPs drawn at random, trained there and here."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import sklearn.neural_network

import nbmlp

EPOCHS = 20
#: How far weights may be apart; and how far scikit-learn may be from itself, its first weights
#: moved by one unit in the last place, for a setting to count.
SAME, STEADY = 1e-8, 1e-10


class Setting(NamedTuple):
    """One drawn training."""

    kind: str
    params: dict[str, Any]
    X: Any
    y: Any
    sample_weight: Any


def draw(seed: int) -> Setting:
    rng = np.random.default_rng(seed)
    n, columns = int(rng.integers(40, 160)), int(rng.integers(1, 24))
    X = rng.normal(size=(n, columns))
    sparse = rng.random() < 0.2
    if sparse:
        X[rng.random(X.shape) < 0.7] = 0.0
    kind = str(rng.choice(["MLPClassifier", "MLPRegressor"]))
    params = {
        "hidden_layer_sizes": tuple(int(h) for h in rng.integers(1, 40, rng.integers(0, 4))),
        "activation": str(rng.choice(["identity", "logistic", "tanh", "relu"])),
        "solver": str(rng.choice(["sgd", "adam"])),
        "alpha": float(rng.choice([0.0, 1e-4, 0.1, 1.0])),
        "batch_size": "auto" if rng.random() < 0.3 else int(rng.integers(1, n)),
        "learning_rate": str(rng.choice(["constant", "invscaling", "adaptive"])),
        "learning_rate_init": float(rng.choice([1e-3, 1e-2, 0.05])),
        "power_t": float(rng.choice([0.5, 0.3])),
        "momentum": float(rng.choice([0.0, 0.5, 0.9])),
        "nesterovs_momentum": bool(rng.integers(2)),
        "beta_1": float(rng.choice([0.9, 0.5])),
        "epsilon": float(rng.choice([1e-8, 1e-3])),
        "shuffle": bool(rng.integers(4)),
        "early_stopping": bool(rng.random() < 0.3),
        "tol": float(rng.choice([0.0, 1e-4, 1e-2, 0.1])),
        "n_iter_no_change": int(rng.choice([1, 3, 10])),
        "max_iter": EPOCHS,
        "random_state": int(rng.integers(1000)),
    }
    weight = rng.random(n) + 0.1 if rng.random() < 0.3 else None
    y = _targets(kind, params, X, rng)
    return Setting(kind, params, scipy.sparse.csr_matrix(X) if sparse else X, y, weight)


def _targets(kind: str, params: dict[str, Any], X: Any, rng: np.random.Generator) -> Any:
    outputs = int(rng.integers(1, 4))
    signal = X[:, :1] + 0.3 * rng.normal(size=(len(X), outputs))
    if kind == "MLPRegressor":
        if rng.random() < 0.2:
            params["loss"] = "poisson"
            signal = rng.poisson(np.exp(np.clip(signal, -2, 1))).astype(float)
        return signal[:, 0] if outputs == 1 else signal
    if outputs == 3:
        return (signal > 0).astype(int)
    cuts = np.quantile(signal[:, 0], [0.5] if outputs == 1 else [0.3, 0.6])
    return np.digitize(signal[:, 0], cuts)


def parameters(model: Any) -> np.ndarray:
    return np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)])


def train(package: Any, setting: Setting) -> Any:
    """The fitted model, or the error of a training that has left the finite numbers."""
    model = getattr(package, setting.kind)(**setting.params)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return model.fit(setting.X, setting.y, setting.sample_weight)
        except ValueError as error:
            return str(error)


def train_moved(setting: Setting) -> Any:
    """scikit-learn from first weights one unit in the last place away."""

    class Moved:
        pass

    original = getattr(sklearn.neural_network, setting.kind)

    class Nudged(original):  # type: ignore[misc, valid-type]
        def _init_coef(self, *args: Any) -> Any:
            W, b = super()._init_coef(*args)
            return np.nextafter(W, np.inf), b

    Nudged.__name__ = setting.kind
    setattr(Moved, setting.kind, Nudged)
    return train(Moved, setting)


def compare(seed: int) -> str:
    """``"same"``, ``"chaotic"`` (scikit-learn is not steady itself), or what differs."""
    setting = draw(seed)
    theirs, ours = train(sklearn.neural_network, setting), train(nbmlp, setting)
    difference = _difference(theirs, ours)
    if not difference:
        return "same"
    moved = train_moved(setting)
    steady = not isinstance(theirs, str) and not isinstance(moved, str)
    if steady and moved.n_iter_ == theirs.n_iter_:
        steady = bool(np.abs(parameters(moved) - parameters(theirs)).max() <= STEADY)
        return f"seed {seed}: {difference}" if steady else "chaotic"
    return "chaotic"


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, str) or isinstance(ours, str):
        return "" if theirs == ours else f"{theirs!r} there, {ours!r} here"
    if theirs.n_iter_ != ours.n_iter_:
        return f"{theirs.n_iter_} epochs there, {ours.n_iter_} here"
    apart = np.abs(parameters(theirs) - parameters(ours)).max()
    if not apart <= SAME:
        return f"weights are {apart:.1e} apart"
    curves = np.abs(np.subtract(theirs.loss_curve_, ours.loss_curve_)).max()
    return "" if curves <= SAME else f"loss curves are {curves:.1e} apart"
