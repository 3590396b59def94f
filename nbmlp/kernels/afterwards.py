"""What follows the update of all parameters: bounds of norms, copies of weights, the average."""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import PARAMETER
from nbmlp.kernels.threads import share
from nbmlp.tuning import PANEL_BYTES

__all__ = ["average_parameters", "bound_norms", "refresh_copies"]

_NEXT = PARAMETER.itemsize


@inner
def bound_norms(job, parameters, thread):
    """Max-norm: whole columns, so whole panels are shared instead of rows."""
    for k in range(len(parameters)):
        own = parameters[k]
        low, high = share(own.panels if own.weights > 0 else 0, 1, thread.rank, thread.size)
        for p in range(low, high):
            w = own.w + p * PANEL_BYTES
            scratch = job.scratch + thread.rank * 2 * PANEL_BYTES
            abi.max_norm(
                job.max_norm, w=w, row=own.row, rows=own.weights, scratch=scratch,
                bound=job.norm_bound,
            )  # fmt: skip
            if own.wt != 0:
                abi.transpose(
                    job.transpose, w=w, w_row=own.row, first=0, rows=own.weights, panels=1,
                    wt=own.wt + p * job.panel * own.wt_row, wt_row=own.wt_row,
                )  # fmt: skip


@inner
def refresh_copies(job, parameters, thread, at):
    """This thread's rows of each copy of weights."""
    address = job.parameters
    for k in range(len(parameters)):
        own = parameters[k]
        low, high = share(own.rows, 1, thread.rank, thread.size)
        if own.refresh != 0 and low < high:
            rows = high - low
            abi.parameter_pass(own.refresh, job=at[0], own=address, first=low, rows=rows)
        address += _NEXT


@inner
def average_parameters(job, parameters, thread, step):
    """This thread's part of the moving average of all parameters, after an update.

    The weights of the updates so far add up to 1: ema^0, ema^1, ... of the newest, the one before
    it, ..., over their sum. To be called behind the barrier that ends a step: until the next
    update, which no thread begins before all have left this, weights are only read.
    """
    fresh = (1.0 - job.ema) / (1.0 - job.ema ** (step + 1))
    low, high = share(job.n_gradient // job.panel, 1, thread.rank, thread.size)
    at = low * PANEL_BYTES
    abi.average(
        job.average, w=parameters[0].w + at, mean=job.mean_weights + at, n=(high - low) * job.panel,
        share=fresh,
    )  # fmt: skip
