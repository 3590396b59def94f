"""Blocking and edges over the microkernel: C = alpha * A.B + beta * C without packing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import _llvm, abi
from nbmlp.kernels._jit import inner, piece, spliced
from nbmlp.kernels._tile import make_tile_call
from nbmlp.kernels.vecmath import make_vector

__all__ = ["make_gemm", "make_strips", "make_transposed_copy"]


@inner
def _advance(a, rows):
    """What a tile reads of A, so many rows on."""
    return a[0] + rows * a[1], a[1], a[2]


def make_strips(
    scalar: type, reading: str = "strided", most: int | None = None, advance: Any = _advance
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What a product is made of: strips of up to three vectors of columns, and tiles of their rows.

    `most` limits the rows of a tile; ``advance(a, rows)`` is how what a tile reads of A moves on.

    Returns
    -------
    width_of : callable
        ``width_of(left)``: vectors of the next strip, of `left` that are left.
    strip : callable
        The product for one strip.
    """
    target, itemsize = tuning.detect(), np.dtype(scalar).itemsize
    most_rows = tuple(min(rows, most or rows) for rows in target.max_rows)
    tile = make_tile_call(target, itemsize, most_rows, reading)
    widest, T = len(most_rows), scalar

    @inner
    def width_of(left):
        # 4 vectors are 2 + 2, not 3 + 1: a tile one vector wide is bound by its loads.
        width = widest if left >= widest and left != widest + 1 else min(left, widest - 1)
        return max(width, 1)

    @spliced
    def strip(a, b, b_row, c, c_row, m, width, depth, alpha, beta):
        rows = most_rows[width - 1]
        tiles = (m + rows - 1) // rows
        base, extra = m // tiles, m % tiles  # 50 rows are 7+7+7+7+7+7+8, never 8*6 + 2
        i = 0
        for t in range(tiles):
            count = base + 1 if t < extra else base
            tile(
                count, width, advance(a, i), depth, b, b_row, c + i * c_row, c_row,
                T(alpha), T(beta),
            )  # fmt: skip
            i += count

    return width_of, strip


@piece("gemm", abi.product)
def make_gemm(scalar: type) -> Callable[..., Any]:
    """Matrix product over addresses, for one element type."""
    vector = tuning.detect().vector_bytes
    width_of, strip = make_strips(scalar)

    def gemm(
        a: int, a_row: int, a_col: int, b: int, b_row: int, c: int, c_row: int,
        m: int, panels: int, depth: int, alpha: float, beta: float,
    ) -> int:  # fmt: skip
        """Each element is one chain of fused multiply-adds over depth; B and C are aligned."""
        left = panels * (tuning.PANEL_BYTES // vector)
        while left > 0:
            width = width_of(left)
            strip((a, a_row, a_col), b, b_row, c, c_row, m, width, depth, alpha, beta)
            b += width * vector
            c += width * vector
            left -= width
        return 0

    return gemm


@piece("transpose", abi.transpose)
def make_transposed_copy(scalar: type) -> Callable[..., Any]:
    """Transposed copy of some rows of a matrix, for one element type."""
    target = tuning.detect()
    size = np.dtype(scalar).itemsize
    lanes = target.lanes(size)
    block = _llvm.make_transpose(target, size)
    vector = make_vector(scalar)

    def transposed_copy(
        w: int, w_row: int, first: int, rows: int, panels: int, wt: int, wt_row: int
    ) -> int:
        """The copy has whole panels of rows, so that padding columns of w may be copied along."""
        columns = panels * (tuning.PANEL_BYTES // size)
        whole = rows // lanes * lanes
        for c in range(0, columns, lanes):
            for r in range(first, first + whole, lanes):
                block(w + r * w_row + c * size, w_row, wt + c * wt_row + r * size, wt_row)
            for r in range(first + whole, first + rows):
                x = vector(w + r * w_row + c * size, lanes)
                for j in range(lanes):
                    vector(wt + (c + j) * wt_row + r * size, 1)[0] = x[j]
        return 0

    return transposed_copy
