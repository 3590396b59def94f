"""Compile what common nets need into the cache: ``python -m nbmlp.warmup``.

For images of containers and for servers, where the first training should not wait.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple, TextIO

import numpy as np

__all__ = ["COMMON", "Net", "main", "warm_up"]

#: Enough work that several threads share it, and rows so long that memory is asked for the next:
#: what these need is compiled as well.
_ROWS, _COLUMNS = 4096, 160


class Net(NamedTuple):
    """A kind of net: what the progress line calls it, its input type, labels and settings."""

    name: str
    dtype: type[np.generic]
    classes: int
    settings: dict[str, Any]


#: Nets that people train most; each shares most pieces with those before it.
COMMON = (
    Net("classes from pixels", np.uint8, 10, {}),
    Net("classes from numbers", np.float32, 10, {}),
    Net("two classes", np.float64, 2, {"standardise": True}),
    Net("regression", np.float64, 0, {"standardise": True}),
    Net("dropout and weight penalty", np.float32, 10, {"dropout": 0.1, "l2": 1e-5}),
    Net("tanh, logistic, momentum", np.float32, 10,
        {"hidden": (32, 16), "activation": ("tanh", "logistic"), "optimizer": "sgd(momentum=0.9)"}),
    Net("RMSprop", np.float32, 10, {"optimizer": "rmsprop"}),
    Net("AdamW, gelu", np.float32, 10, {"optimizer": "adamw", "activation": "gelu"}),
    Net("double precision", np.float64, 10, {"dtype": "float64"}),
)  # fmt: skip


def warm_up(stream: TextIO) -> None:
    """Train each net of `COMMON` for a moment.

    Parameters
    ----------
    stream : text stream
        Gets a line per net.
    """
    from nbmlp.kernels.pieces import cache_folder, compiled_pieces
    from nbmlp.mlp import MLP

    began = time.perf_counter()
    random = np.random.Generator(np.random.Philox(0))
    rows = random.integers(0, 256, (_ROWS, _COLUMNS))
    for number, net in enumerate(COMMON, start=1):
        start = time.perf_counter()
        X = rows.astype(net.dtype) if net.dtype == np.uint8 else (rows / 255).astype(net.dtype)
        y = random.integers(0, net.classes, _ROWS) if net.classes else rows[:, 0] / 255
        model = MLP(epochs=1, batch_size=1024, **net.settings).fit(X, y, validation=0.2)
        model.predict(X)
        seconds = time.perf_counter() - start
        print(f"{number}/{len(COMMON)}  {net.name}: {seconds:.1f} s", file=stream, flush=True)
    count, total = len(compiled_pieces()), time.perf_counter() - began
    print(f"{count} pieces in {cache_folder()}, {total:.0f} s", file=stream)


def main() -> None:
    """Entry of ``python -m nbmlp.warmup``."""
    warm_up(sys.stderr)


if __name__ == "__main__":
    main()
