"""Counter-based random numbers: nothing to save but a seed, and any element at once.

Orders and masks depend on (seed, epoch or step, layer, row, column) only, never on who computes
them: that is why a resumed run and any number of threads draw the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.vecmath import make_vector, vector_of

__all__ = ["BLOCK_ROWS", "WINDOW_ROWS", "mix64", "step_key"]

#: Neighbouring rows that are drawn as one, and rows that are shuffled together. Orders follow from
#: them: they are the same everywhere, for ever.
BLOCK_ROWS, WINDOW_ROWS = 1024, 65_536

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ORDERS, _MASKS = np.uint64(0x6F72646572), np.uint64(0x6D61736B73)
_BLOCKS = np.uint64(0x626C6F636B73)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@inner
def mix64(key, counter):
    """64 random bits of a counter under a key (SplitMix64, Steele et al. 2014)."""
    z = np.uint64(key) + np.uint64(counter) * _GOLDEN
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@inner
def _key(seed, purpose, counter):
    """Key of an epoch's order or a step's masks; purposes never share one."""
    return mix64(mix64(seed, purpose), counter)


@inner
def step_key(seed, step):
    """Key of the dropout masks of one update."""
    return np.int64(_key(seed, _MASKS, step))


@inner
def _mix32(x):
    """32 bits to 32 bits in operations that vectorise (lowbias32, C. Wellons)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@inner
def _order_key(seed, purpose, epoch, stream):
    """Key of one of an epoch's orders; that of the only one does not know of others."""
    key = _key(seed, purpose, epoch)
    return mix64(key, stream) if stream > 0 else key


@inner
def _permute(x, start, end, key):
    """What x holds from start to end in a random order, as Fisher and Yates have it."""
    for i in range(end - 1, start, -1):
        # 32 random bits times the choices: the bias of n / 2^32 is far below what n rows can show.
        draw = (mix64(key, i) >> _S32) * np.uint64(i - start + 1)
        j = start + np.int64(draw >> _S32)
        x[i], x[j] = x[j], x[i]


@piece("shuffle", abi.shuffle)
def _shuffle(_: type) -> Any:
    orders = vector_of("int64")

    def shuffle(order: int, n: int, seed: int, epoch: int, stream: int) -> int:
        """Any row may come at any time."""
        x = orders(order, n)
        for i in range(n):
            x[i] = i
        _permute(x, 0, n, _order_key(seed, _ORDERS, epoch, stream))
        return 0

    return shuffle


@piece("shuffle.blocks", abi.shuffle)
def _shuffle_blocks(_: type) -> Any:
    orders = vector_of("int64")
    block, window = BLOCK_ROWS, WINDOW_ROWS

    def shuffle(order: int, n: int, seed: int, epoch: int, stream: int) -> int:
        """Blocks of rows in a random order, and all rows of a window of them in another."""
        x = orders(order, n)
        blocks = (n + block - 1) // block
        # The order of the blocks lies at the end: rows are written up to where it is not yet read.
        drawn = n - blocks
        for k in range(blocks):
            x[drawn + k] = k
        _permute(x, drawn, n, _order_key(seed, _BLOCKS, epoch, stream))
        written = 0
        for k in range(blocks):
            first = x[drawn + k] * block
            for row in range(first, min(first + block, n)):
                x[written] = row
                written += 1
        key = _order_key(seed, _ORDERS, epoch, stream)
        for start in range(0, n, window):
            _permute(x, start, min(start + window, n), key)
        return 0

    return shuffle


@piece("dropout", abi.dropout)
def _dropout(T: type) -> Any:
    vector = make_vector(T)
    panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

    def dropout(
        a: int, row: int, saved: int, rows: int, n: int,
        seed: int, stream: int, first: int, column: int, keep: float, factor: float, one: int,
    ) -> int:  # fmt: skip
        width = (n + panel - 1) // panel * panel
        bound = np.uint32(max(keep * 4294967296.0 - 1.0, 0.0))  # keep = 1 keeps all
        f, zero = T(factor), T(0)
        key = mix64(seed, stream)
        for r in range(rows):
            x = vector(a + r * row, width + panel)
            if saved != 0:
                copy = vector(saved + r * row, width)
                for j in range(width):
                    copy[j] = x[j]
            base = np.uint32(mix64(key, first + r) & np.uint64(0xFFFFFFFF))
            base += np.uint32(column) * np.uint32(0x9E3779B9)
            for j in range(width):
                draw = _mix32(np.uint32(base + np.uint32(j) * np.uint32(0x9E3779B9)))
                x[j] = f * x[j] if draw <= bound else zero
            if one >= 0:
                x[one] = T(1)
        return 0

    return dropout
