"""The first half of a step cut by columns: each thread keeps its own units of every wide layer.

Splitting rows makes every step ship half of the weights from core to core; here a core computes
and updates the same columns of W step after step, which stay in its cache, and only activations
and deltas travel. A layer too narrow for that is cut by rows; but the outputs (one panel) behind a
wide layer are the sum of two products, each over half of the units: two threads then read their
own units and their own rows of W, and only sums travel. Every thread gathers all inputs into a
copy of its own: a row read twice from memory costs less than one that travels.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.step_inputs import gather_targets, read_inputs
from nbmlp.kernels.step_rows import (
    activate_layer,
    add_chunk,
    backward_layer,
    derive_output,
    forward_layer,
    run_loss,
)
from nbmlp.kernels.team import barrier, share
from nbmlp.tuning import PANEL_BYTES

__all__ = ["has_chunk", "run_columns_back", "run_columns_forward"]

_BAD_INPUT, _BAD_OUTPUT = STATUS.BAD_INPUT, STATUS.BAD_OUTPUT


@inner
def _rectangle(layer, m, rank, size):
    """One thread's part of a layer's outputs: first row, rows, first panel, behind the last."""
    if layer.columns:
        low, high = share(layer.panels_out, 1, rank, size)
        return 0, m, low, high
    low, high = share(m, 1, rank, size)
    return low, high - low, 0, layer.panels_out


@inner
def has_chunk(layer, size):
    """Whether each of the threads computes one of the products that make up a layer's outputs."""
    return layer.chunks > 1 and layer.chunks == size


@inner
def _stays(layers, k, size):
    """Whether each thread itself uses what it has computed of layer k, and nobody else."""
    return layers[k].columns and k == len(layers) - 2 and has_chunk(layers[k + 1], size)


@inner
def _sum_over_chunks(job, layer, m, rank, size, passed):
    """z of one thread's rows, from the products of all threads over their units."""
    part = job.partial + rank * job.partial_own
    add_chunk(job, layer, rank, layer.x, m, 0, layer.panels_out, part, PANEL_BYTES, 0)
    passed = barrier(job.sync, size, passed)
    first, last = share(m, 1, rank, size)
    z, parts = layer.a + first * layer.a_row, job.partial + first * PANEL_BYTES
    abi.sum_chunks(
        job.sum_chunks, part=parts, own=job.partial_own, part_row=PANEL_BYTES,
        z=z, z_row=layer.a_row, rows=last - first, n=layer.n_out,
    )  # fmt: skip
    return passed


@inner
def run_columns_forward(job, layers, key, start, offset, m, rank, size, flag, passed):
    """All m rows of a sub-batch up to the deltas of the last layer; returns the barriers passed.

    A bad row does not end it: all threads must pass the same barriers.
    """
    part = _rectangle(layers[0], m, rank, size)
    bad = read_inputs(job, layers[0], key, start, 0, m, offset, start + m, part, rank)
    if bad >= 0:
        flag[0], flag[1] = _BAD_INPUT, start + bad
    for k in range(len(layers)):
        first, rows, low, high = _rectangle(layers[k], m, rank, size)
        if has_chunk(layers[k], size):
            passed = _sum_over_chunks(job, layers[k], m, rank, size, passed)
            activate_layer(job, layers, k, key, first, rows, offset + first, low, high)
            continue
        forward_layer(job, layers, k, key, first, rows, offset + first, low, high, rank)
        if not _stays(layers, k, size) and (k < len(layers) - 1 or layers[k].columns):
            passed = barrier(job.sync, size, passed)
    first, last = share(m, 1, rank, size)
    gather_targets(job, start, first, last - first)
    output = layers[len(layers) - 1]
    wrong = run_loss(job, output, first, last - first)
    if wrong >= 0 and bad < 0:
        flag[0], flag[1] = _BAD_OUTPUT, start + first + wrong
    derive_output(job, output, first, last - first)
    return passed


@inner
def run_columns_back(job, layers, key, offset, m, rank, size, passed):
    """Deltas of all layers below the last; returns the barriers passed."""
    for k in range(len(layers) - 2, -1, -1):
        first, rows, low, high = _rectangle(layers[k], m, rank, size)
        backward_layer(job, layers, k, key, first, rows, offset + first, low, high)
        if k > 0 or not _stays(layers, k, size):
            passed = barrier(job.sync, size, passed)
    return passed
