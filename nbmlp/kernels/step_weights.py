"""Second half of a step: each thread's part of every W, from gradient to transposed copy.

What a thread owns of a layer is a rectangle of W: some blocks of rows by all panels of columns, or
all blocks by some panels, in a step that is cut by columns.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.step_columns import has_chunk
from nbmlp.kernels.step_rows import is_sparse
from nbmlp.kernels.team import barrier, share
from nbmlp.kernels.vecmath import vector_of
from nbmlp.tuning import PANEL_BYTES

__all__ = ["run_weights"]

_doubles = vector_of("float64")


@inner
def _turned_product(job, layer, c, first, rows, m, alpha, beta):
    """The product of a narrow layer: c' has a row for each unit; it is computed, then turned."""
    at = first * job.size
    abi.product(
        job.gemm, a=layer.dz, a_row=job.size, a_col=layer.dz_row, b=layer.x + at,
        b_row=layer.x_row, c=job.turned + at, c_row=job.turned_row, m=layer.n_out,
        panels=(rows * job.size + PANEL_BYTES - 1) // PANEL_BYTES, depth=m, alpha=1.0, beta=0.0,
    )  # fmt: skip
    abi.turn(
        job.turn, s=job.turned + at, s_row=job.turned_row, c=c + first * layer.w_row,
        c_row=layer.w_row, rows=rows, n=layer.n_out, alpha=alpha, beta=beta,
    )  # fmt: skip


@inner
def _product(job, layer, c, part, m, alpha, beta, mine, rank):
    """c <- alpha * x'.dz + beta * c for a part (first row, rows, first panel, behind the last).

    m: rows of the sub-batch; mine: which thread's copy of the inputs is read.
    """
    first, rows, low, high = part
    if layer.narrow:
        _turned_product(job, layer, c, first, rows, m, alpha, beta)
        return
    at = low * PANEL_BYTES
    if is_sparse(job, layer):
        abi.sparse_gradient(
            job.sparse_gradient, x=layer.x + mine * layer.x_own, x_row=layer.x_row,
            dz=layer.dz + at, dz_row=layer.dz_row, c=c + first * layer.w_row + at,
            c_row=layer.w_row, first=first, rows=rows, n_in=layer.n_in, panels=high - low, m=m,
            scale=job.x_scale, alpha=alpha, beta=beta, block=job.block + rank * job.block_own,
        )  # fmt: skip
        return
    abi.product(
        job.gemm, a=layer.x + mine * layer.x_own + first * job.size, a_row=job.size,
        a_col=layer.x_row, b=layer.dz + at, b_row=layer.dz_row, c=c + first * layer.w_row + at,
        c_row=layer.w_row, m=rows, panels=high - low, depth=m, alpha=alpha, beta=beta,
    )  # fmt: skip


@inner
def _penalise(job, layer, part, scale):
    """Penalty and clipping by value; a bias row, the last, is clipped but not penalised.

    scale: 1 over the weight of the batch, which shares out the penalty if `l2_shared`.
    """
    first, rows, low, high = part
    offset = first * layer.w_row + low * PANEL_BYTES
    w, g, panels = layer.w + offset, layer.g + offset, high - low
    weights = min(rows, layer.n_in - first)
    if job.l1 != 0.0 or job.l2 != 0.0:
        l2 = job.l2 * scale if job.l2_shared else job.l2
        abi.penalise(
            job.penalise, w=w, g=g, rows=weights, row=layer.w_row, panels=panels, l1=job.l1, l2=l2
        )
    if job.clip_value > 0.0:
        abi.clip_values(
            job.clip_values, g=g, rows=rows, row=layer.w_row, panels=panels, bound=job.clip_value
        )


@inner
def _apply(job, layer, part, decay, pace):
    """The update rule on a part of one layer."""
    first, rows, low, high = part
    rate, power1, power2 = pace
    offset = first * layer.w_row + low * PANEL_BYTES
    abi.rule(
        job.rule, w=layer.w + offset, g=layer.g + offset, slots=layer.slots + offset,
        stride=job.slot_stride, rows=rows, row=layer.w_row, panels=high - low, rate=rate,
        decay=decay, power1=power1, power2=power2, settings=job.settings,
    )  # fmt: skip


@inner
def _update(job, layer, part, pace):
    """Update a part of one layer (a bias without decay), then its transposed copy."""
    first, rows, low, high = part
    weights = min(rows, layer.n_in - first)
    if weights == rows or job.decay == 0.0:
        _apply(job, layer, part, job.decay, pace)
    else:
        bias = first + weights, rows - weights, low, high
        _apply(job, layer, (first, weights, low, high), job.decay, pace)
        _apply(job, layer, bias, 0.0, pace)
    _transpose(job, layer, part)


@inner
def _transpose(job, layer, part):
    """Refresh the transposed copy, which has no bias; max-norm does it later, once for all."""
    first, rows, low, high = part
    weights = min(rows, layer.n_in - first)
    if layer.wt != 0 and weights > 0 and job.norm_bound == 0.0:
        wt = layer.wt + low * (PANEL_BYTES // job.size) * layer.wt_row
        abi.transpose(
            job.transpose, w=layer.w + low * PANEL_BYTES, w_row=layer.w_row, first=first,
            rows=weights, panels=high - low, wt=wt, wt_row=layer.wt_row,
        )  # fmt: skip


@inner
def _block(layer, low, high):
    """First row and number of rows of the update blocks low..high."""
    first = low * layer.block_rows
    return first, min(high * layer.block_rows, layer.depth) - first


@inner
def _rectangle(layer, columns, whole, rank, size):
    """One thread's part of W: first block, behind the last, first panel, behind the last.

    A flat layer (few inputs, many units) has too few blocks of rows to share them; but a norm
    of the `whole` gradient is summed by blocks.
    """
    if columns and layer.columns:
        low, high = share(layer.panels_out, 1, rank, size)
        return 0, layer.blocks, low, high
    if columns and has_chunk(layer, size):  # the rows of the units below that are its own
        low, high = share(layer.panels_in, 1, rank, size)
        return low, high if rank < size - 1 else layer.blocks, 0, layer.panels_out
    if layer.flat and not whole:
        low, high = share(layer.panels_out, 1, rank, size)
        return 0, layer.blocks, low, high
    low, high = share(layer.blocks, 1, rank, size)
    return low, high, 0, layer.panels_out


@inner
def _sum_norms(job, layers, rank):
    """Squared gradient norm of each layer into `layer_norms` (rank 0); returns the total's root.

    Every thread adds all blocks in the same order, so all agree to the last bit.
    """
    norms, sums = _doubles(job.norms, job.n_blocks), _doubles(job.layer_norms, len(layers))
    total = 0.0
    for k in range(len(layers)):
        part = 0.0
        for b in range(layers[k].blocks):
            part += norms[layers[k].first_block + b]
        if rank == 0 and job.want_norms:
            sums[k] += part
        total += part
    return total**0.5


@inner
def _square(job, layer, b, first, rows):
    """Sum of squares of a block of W, its bias excluded, into `squares`."""
    n = max(0, min(rows, layer.n_in - first)) * layer.w_row // job.size
    at = job.squares + (layer.first_block + b) * 8
    abi.sum_squares(job.sum_squares, g=layer.w + first * layer.w_row, n=n, out=at)


@inner
def _finish(job, layer, b, low, high, scale, waits, pace):
    """Penalty and update of a block whose gradient is complete; or its norm, if all must wait."""
    first, rows = _block(layer, b, b + 1)
    part = first, rows, low, high
    if job.squares != 0:
        _square(job, layer, b, first, rows)
    _penalise(job, layer, part, scale)
    if waits:
        n = rows * layer.w_row // job.size
        at = job.norms + (layer.first_block + b) * 8
        abi.sum_squares(job.sum_squares, g=layer.g + first * layer.w_row, n=n, out=at)
    elif job.rule != 0:
        _update(job, layer, part, pace)


@inner
def _scale_and_update(job, layer, b, factor, pace):
    first, rows = _block(layer, b, b + 1)
    panels = layer.panels_out
    if factor != 1.0:
        g = layer.g + first * layer.w_row
        abi.scale(job.scale, g=g, rows=rows, row=layer.w_row, panels=panels, factor=factor)
    if job.rule != 0:
        _update(job, layer, (first, rows, 0, panels), pace)


@inner
def run_weights(job, layers, rank, size, columns, m, scale, carry, last, pace, passed):
    """Second half of a step: this thread's part of every layer. `last`: the batch is complete.

    columns: the step is cut by columns; then there is no norm of the whole gradient to wait for.
    pace: learning rate, beta1^t, beta2^t.
    """
    norms = job.clip_norm > 0.0 or job.want_norms
    whole, waits = norms or job.squares != 0, last and norms
    at_once = last and job.plain and not carry
    mine = rank if columns else 0
    beta = scale if carry else 0.0
    for k in range(len(layers)):
        layer = layers[k]
        start, stop, low, high = _rectangle(layer, columns, whole, rank, size)
        for block in range(start, stop, layer.group):
            end = min(block + layer.group, stop)
            first, rows = _block(layer, block, end)
            part = first, rows, low, high
            if at_once:
                # Plain gradient descent is one product: W <- W - rate * scale * x'.dz.
                _product(job, layer, layer.w, part, m, -scale * pace[0], 1.0, mine, rank)
                _transpose(job, layer, part)
                continue
            _product(job, layer, layer.g, part, m, scale, beta, mine, rank)
            if last:
                for b in range(block, end):
                    _finish(job, layer, b, low, high, scale, waits, pace)
    if waits:
        passed = barrier(job.sync, size, passed)
        norm = _sum_norms(job, layers, rank)
        factor = job.clip_norm / norm if job.clip_norm > 0.0 and norm > job.clip_norm else 1.0
        for k in range(len(layers)):
            start, stop = share(layers[k].blocks, 1, rank, size)
            for b in range(start, stop):
                _scale_and_update(job, layers[k], b, factor, pace)
    if last and job.rule != 0 and job.norm_bound > 0.0:
        passed = barrier(job.sync, size, passed)
        _bound_norms(job, layers, rank, size)
    return passed


@inner
def _bound_norms(job, layers, rank, size):
    """Max-norm: whole columns, so whole panels are shared instead of rows."""
    for k in range(len(layers)):
        layer = layers[k]
        low, high = share(layer.panels_out, 1, rank, size)
        for p in range(low, high):
            w = layer.w + p * PANEL_BYTES
            scratch = job.scratch + rank * 2 * PANEL_BYTES
            abi.max_norm(
                job.max_norm, w=w, row=layer.w_row, rows=layer.n_in, scratch=scratch,
                bound=job.norm_bound,
            )  # fmt: skip
            if layer.wt != 0:
                wt = layer.wt + p * (PANEL_BYTES // job.size) * layer.wt_row
                abi.transpose(
                    job.transpose, w=w, w_row=layer.w_row, first=0, rows=layer.n_in, panels=1,
                    wt=wt, wt_row=layer.wt_row,
                )  # fmt: skip
