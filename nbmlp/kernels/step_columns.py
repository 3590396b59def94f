"""The first half of a step cut by columns: each thread keeps its own units of every wide layer.

Splitting rows makes every step ship half of the weights from core to core; here a core computes
and updates the same columns of W step after step, which stay in its cache, and only activations
and deltas travel. A layer too narrow for that is cut by rows. Every thread gathers all inputs into
a copy of its own: a row read twice from memory costs less than one that travels.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc"
from __future__ import annotations

from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.step_rows import (
    backward_layer,
    derive_output,
    forward_layer,
    gather_inputs,
    gather_targets,
    run_loss,
)
from nbmlp.kernels.team import barrier, share

__all__ = ["run_columns_back", "run_columns_forward"]

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
def run_columns_forward(job, layers, key, start, offset, m, rank, size, flag, passed):
    """All m rows of a sub-batch up to the deltas of the last layer; returns the barriers passed.

    A bad row does not end it: all threads must pass the same barriers.
    """
    bad = gather_inputs(job, key, start, 0, m, offset, rank)
    if bad >= 0:
        flag[0], flag[1] = _BAD_INPUT, start + bad
    for k in range(len(layers)):
        first, rows, low, high = _rectangle(layers[k], m, rank, size)
        forward_layer(job, layers, k, key, first, rows, offset + first, low, high, rank)
        if k < len(layers) - 1 or layers[k].columns:
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
        passed = barrier(job.sync, size, passed)
    return passed
