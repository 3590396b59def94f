"""A factor s of each input that is learned: a step of the update alone.

The first product takes V = diag(s).W, a copy that each update renews; so rows of any kind are read
as ever. From the gradient G by V follow those by W, diag(s).G, and by s, the row sums of W*G.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels._reduce import make_dot
from nbmlp.kernels.tables import parameter_at
from nbmlp.kernels.vecmath import make_vector
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@piece("scale.complete", abi.parameter_pass)
def _make_complete(T: type) -> Any:
    target, size, vector = tuning.detect(), np.dtype(T).itemsize, make_vector(T)
    dot, panel = make_dot(target, size), PANEL_BYTES // size
    per_panel = PANEL_BYTES // target.vector_bytes

    def complete(job: int, own: int, first: int, rows: int) -> int:
        """The bias has no factor."""
        w = parameter_at(own)
        s = parameter_at(w.other)
        end = min(first + rows, w.weights)
        factor, gradient = vector(s.w, end), vector(s.g, end)
        n = w.panels * panel
        for r in range(first, end):
            g, at = vector(w.g + r * w.row, n), r * w.row
            gradient[r] = dot(w.g + at, w.w + at, w.panels * per_panel)
            for i in range(n):
                g[i] *= factor[r]
        return 0

    return complete


@piece("scale.refresh", abi.parameter_pass)
def _make_refresh(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def refresh(job: int, own: int, first: int, rows: int) -> int:
        w = parameter_at(own)
        s = parameter_at(w.other)
        factor, n = vector(s.w, w.weights), w.panels * panel
        for r in range(first, first + rows):
            given, copy = vector(w.w + r * w.row, n), vector(w.copy + r * w.row, n)
            f = factor[r] if r < w.weights else T(1)
            for i in range(n):
                copy[i] = f * given[i]
        return 0

    return refresh
