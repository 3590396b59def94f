"""Blocks of parameters: which rows and panels are whose, and what is done to such a part alike."""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.cuts import Share
from nbmlp.kernels.threads import share
from nbmlp.tuning import PANEL_BYTES

__all__ = ["block_rows", "own_part", "rectangle", "scale_part", "transpose"]

_PANELS, _UNITS = int(Share.PANELS), int(Share.UNITS)


@inner
def block_rows(own, low, high):
    """First row and number of rows of the update blocks low..high."""
    first = low * own.block_rows
    return first, min(high * own.block_rows, own.rows) - first


@inner
def rectangle(own, thread):
    """One thread's part: first block, behind the last, first panel, behind the last."""
    rank, size = thread.rank, thread.size
    if own.share == _PANELS:
        low, high = share(own.panels, 1, rank, size)
        return 0, own.blocks, low, high
    if own.share == _UNITS:  # as many blocks as the units have panels; the last has the bias, too
        units = (own.weights + own.block_rows - 1) // own.block_rows
        low, high = share(units, 1, rank, size)
        return low, high if rank < size - 1 else own.blocks, 0, own.panels
    low, high = share(own.blocks, 1, rank, size)
    return low, high, 0, own.panels


@inner
def own_part(own, thread):
    """One thread's part of the blocks that are updated here, where all gradients are complete."""
    rank, size = thread.rank, thread.size
    if own.share == _PANELS:
        low, high = share(own.panels, 1, rank, size)
        return own.first_own, own.end_own, low, high
    low, high = share(own.end_own - own.first_own, 1, rank, size)
    return own.first_own + low, own.first_own + high, 0, own.panels


@inner
def scale_part(job, own, part, factor):
    """Multiply a part of the gradient."""
    first, rows, low, high = part
    g = own.g + first * own.row + low * PANEL_BYTES
    abi.scale(job.scale, g=g, rows=rows, row=own.row, panels=high - low, factor=factor)


@inner
def transpose(job, own, part):
    """Refresh the transposed copy, which has no bias; max-norm does it later, once for all."""
    first, rows, low, high = part
    weights = min(rows, own.weights - first)
    if own.wt != 0 and weights > 0 and job.norm_bound == 0.0:
        wt = own.wt + low * job.panel * own.wt_row
        abi.transpose(
            job.transpose, w=own.w + low * PANEL_BYTES, w_row=own.row, first=first,
            rows=weights, panels=high - low, wt=wt, wt_row=own.wt_row,
        )  # fmt: skip
