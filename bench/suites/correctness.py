"""The same training must lead to the same predictions, commit after commit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, INPUTS, HIDDEN, CLASSES = 500, 20, 30, 3
BATCH, EPOCHS, RATE = 50, 4, 0.5
Floats = NDArray[np.float64]


def data() -> tuple[Floats, NDArray[np.int64], Floats]:
    """Inputs (rows, inputs), labels (rows,) and the flat first weights: W1, b1, W2, b2."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((ROWS, INPUTS))
    y = np.arange(ROWS) % CLASSES
    X[:, :CLASSES] += np.eye(CLASSES)[y]
    count = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES
    return X, y, rng.standard_normal(count) * 0.3


def expected() -> Floats:
    """Class probabilities (rows, classes) after the same training in NumPy, in float64."""
    X, y, flat = data()
    cuts = np.cumsum([INPUTS * HIDDEN, HIDDEN, HIDDEN * CLASSES])
    W1, b1, W2, b2 = np.split(flat, cuts)
    W1, W2 = W1.reshape(INPUTS, HIDDEN), W2.reshape(HIDDEN, CLASSES)

    def forward(x: Floats) -> tuple[Floats, Floats]:
        h = np.tanh(x @ W1 + b1)
        e = np.exp(h @ W2 + b2)
        return h, e / e.sum(axis=1, keepdims=True)

    for start in range(0, EPOCHS * ROWS, BATCH):
        rows = slice(start % ROWS, start % ROWS + BATCH)
        h, p = forward(X[rows])
        dz2 = (p - np.eye(CLASSES)[y[rows]]) / BATCH
        dz1 = dz2 @ W2.T * (1 - h**2)
        for weights, gradient in ((W1, X[rows].T @ dz1), (b1, dz1.sum(0)),
                                  (W2, h.T @ dz2), (b2, dz2.sum(0))):  # fmt: skip
            weights -= RATE * gradient
    return forward(X)[1]


def trained() -> NDArray[Any]:
    """Class probabilities (rows, classes) by nbmlp."""
    from nbmlp import MLP
    from nbmlp.optimizers import SGD

    X, y, flat = data()
    net = MLP(
        HIDDEN, task="classes", activation="tanh", optimizer=SGD(RATE), schedule="constant",
        batch_size=BATCH, shuffle=False,
    )  # fmt: skip
    X32 = X.astype(np.float32)
    net.build(X32, y)
    net.set_flat(flat)
    for _ in range(EPOCHS):
        net.partial_fit(X32, y)
    return net.predict_proba(X32)


class Prediction:
    """A small net, no shuffling, plain SGD, float32."""

    def track_same_prediction(self) -> float:
        """Greatest distance to NumPy's probabilities in float64; some 1e-6 is rounding."""
        return float(np.abs(trained() - expected()).max())

    def track_digest(self) -> int:
        """Changes when any bit of the probabilities does."""
        digest = hashlib.sha256(np.ascontiguousarray(trained()).tobytes()).digest()
        return int.from_bytes(digest[:4], "little")

    track_same_prediction.unit = "probability"  # type: ignore[attr-defined]
    track_digest.unit = "digest"  # type: ignore[attr-defined]
