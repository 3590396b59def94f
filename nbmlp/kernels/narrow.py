"""An output layer of one to four units, whose panels would be nearly all padding.

Its products run along the other axis: z as dot products with rows of W', the gradient as rows of
W' (one per unit) that are turned into columns at last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels._reduce import make_dot
from nbmlp.kernels.vecmath import make_vector

__all__: list[str] = []


@piece("narrow_forward", abi.narrow_forward)
def _make_narrow_forward(T: type) -> Any:
    target, vector = tuning.detect(), make_vector(T)
    dot = make_dot(target, np.dtype(T).itemsize)
    per_panel = tuning.PANEL_BYTES // target.vector_bytes

    def narrow_forward(
        x: int, x_row: int, wt: int, wt_row: int, bias: int, z: int, z_row: int,
        rows: int, n: int, panels: int, add: int,
    ) -> int:  # fmt: skip
        vectors = panels * per_panel
        for r in range(rows):
            out = vector(z + r * z_row, n)
            for j in range(n):
                total = dot(x + r * x_row, wt + j * wt_row, vectors)
                if bias != 0:
                    total += vector(bias, n)[j]
                out[j] = out[j] + total if add else total
        return 0

    return narrow_forward


@piece("turn", abi.turn)
def _make_turn(T: type) -> Any:
    vector = make_vector(T)

    def turn(
        s: int, s_row: int, c: int, c_row: int, rows: int, n: int, alpha: float, beta: float
    ) -> int:
        a, b = T(alpha), T(beta)
        for j in range(n):
            column = vector(s + j * s_row, rows)
            for r in range(rows):
                out = vector(c + r * c_row, n)
                out[j] = a * column[r] if beta == 0.0 else a * column[r] + b * out[j]
        return 0

    return turn
