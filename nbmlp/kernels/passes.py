"""First half of a step: rows through all layers and back. Weights are only read.

What a thread computes of a layer is a rectangle: some rows of the sub-batch by some panels of
units. Either each thread takes blocks of rows of its own, which stay in its cache, through all
layers and back; then a rectangle is all that it has at hand, and nobody waits.

Or, for small batches of wide layers, all threads work on the same rows and each keeps its own
units of every wide layer: splitting rows makes every step ship half of the weights from core to
core; so a core computes and updates the same columns of W step after step, which stay in its
cache, and only activations and deltas travel. A layer too narrow for that is cut by rows; but the
outputs (one panel) behind a wide layer are the sum of two products, each over half of the units:
two threads then read their own units and their own rows of W, and only sums travel. Every thread
reads all inputs into a copy of its own: a row read twice from memory costs less than one that
travels.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.cuts import Cut
from nbmlp.kernels.records import LAYER, STATUS
from nbmlp.kernels.threads import barrier, share

__all__ = ["pass_back", "pass_blocks", "pass_forward", "take_rows"]

_OK = STATUS.OK
_WHOLE, _COLUMNS, _ROWS = int(Cut.WHOLE), int(Cut.COLUMNS), int(Cut.ROWS)
_NEXT = LAYER.itemsize


@inner
def take_rows(thread, first, rows, after):
    """Have rows of the sub-batch at hand; after: row of the epoch that this thread reads next."""
    thread.first, thread.rows, thread.after = first, rows, after


@inner
def _rectangle(cut, turn, panels, thread):
    """One thread's part of a layer: first row, rows, first panel, behind the last."""
    first, rows = thread.first, thread.rows
    if cut == _WHOLE:
        return first, rows, 0, panels
    if cut == _COLUMNS:
        low, high = share(panels, 1, thread.rank, thread.size)
        return first, rows, low, high
    if cut == _ROWS:
        low, high = share(rows, 1, thread.rank, thread.size)
        return first + low, high - low, 0, panels
    return first, rows if turn % thread.size == thread.rank else 0, 0, panels


@inner
def pass_forward(job, layers, thread, at):
    """Rows at hand through all layers; returns whether all is well.

    A bad row ends it, unless others wait at the next barrier. at: addresses of job and thread.
    """
    well, layer_at = True, job.layers
    for k in range(len(layers)):
        layer = layers[k]
        first, rows, low, high = _rectangle(layer.cut, layer.turn, layer.panels, thread)
        if rows > 0:
            bad = abi.layer_pass(
                layer.forward, job=at[0], layer=layer_at, thread=at[1], first=first, rows=rows,
                low=low, high=high,
            )  # fmt: skip
            if bad >= 0:
                well = False
                if thread.status == _OK:
                    thread.status, thread.bad_row = layer.status, thread.start + first + bad
                if not thread.columns:
                    break
        if layer.barrier and thread.columns:
            barrier(job.sync, thread)
        layer_at += _NEXT
    return well


@inner
def pass_back(job, layers, thread, at):
    """Deltas of all layers, down to those with which the lowest parameters' gradients are made."""
    layer_at = job.layers + len(layers) * _NEXT
    for k in range(len(layers) - 1, -1, -1):
        layer = layers[k]
        layer_at -= _NEXT
        if layer.backward == 0:
            continue
        first, rows, low, high = _rectangle(layer.back_cut, 0, layer.back_panels, thread)
        if rows > 0:
            abi.layer_pass(
                layer.backward, job=at[0], layer=layer_at, thread=at[1], first=first, rows=rows,
                low=low, high=high,
            )  # fmt: skip
        if layer.back_barrier and thread.columns:
            barrier(job.sync, thread)


@inner
def pass_blocks(job, layers, thread, at, m):
    """This thread's rows of a sub-batch of m, in blocks, forward and back.

    A bad row ends its own block only: who asks which rows are bad finds the outputs of all.
    """
    low, high = share(m, 1, thread.rank, thread.size)
    for first in range(low, high, job.row_block):
        rows = min(job.row_block, high - first)
        then = first + rows if first + rows < high else m + low
        take_rows(thread, first, rows, thread.start + then)
        if pass_forward(job, layers, thread, at):
            pass_back(job, layers, thread, at)
