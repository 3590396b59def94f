"""What a step reads of the data: rows written out or multiplied where they lie; targets, weights.

Each thread reads for itself, into a copy of its own where it needs the rows of others, too.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.tuning import LISTED_ROWS, PANEL_BYTES

__all__ = ["gather_targets", "read_inputs"]


@inner
def read_inputs(job, layer, key, start, first, rows, place, after, part, rank):
    """Rows `start + first`... of the epoch into this thread's copy, and z of a part of them.

    The latter if the first layer's rows are listed; part: first row, rows, first panel, behind the
    last. after: row of the epoch that this thread reads next. Returns the first bad row, or -1.
    """
    if job.listed == 0:
        return _gather_inputs(job, key, start, first, rows, place, rank)
    if job.in_place:
        return _read_in_place(job, layer, start, first, rows, after, part, rank)
    bad = _gather_inputs(job, key, start, first, rows, place, rank)
    if bad < 0:
        places, before = job.places + rank * job.places_own, part[0] - first
        buffer = job.x_buffer + rank * job.x_own
        end = first + rows
        abi.list_rows(
            job.list_rows, x=buffer, x_row=job.x_buffer_row, order=0, start=first, rows=rows,
            end=end, out=places,
        )  # fmt: skip
        _list_rows(job, after, rows + LISTED_ROWS, places + rows * 8)
        bad = _multiply(job, layer, places, rows, before, part, 0)
    return bad


@inner
def _read_in_place(job, layer, start, first, rows, after, part, rank):
    """The same where rows need no change; they are copied if there is a gradient to compute."""
    places, before = job.places + rank * job.places_own, part[0] - first
    _list_rows(job, start + first, rows, places)
    _list_rows(job, after, 2 * LISTED_ROWS, places + rows * 8)
    buffer = 0
    if job.copy_listed != 0:
        buffer = job.x_buffer + rank * job.x_own + first * job.x_buffer_row
        end = before + part[1]
        _copy(job, places, before, buffer)
        _copy(job, places + end * 8, rows - end, buffer + end * job.x_buffer_row)
        buffer += before * job.x_buffer_row
    return _multiply(job, layer, places, LISTED_ROWS, before, part, buffer)


@inner
def _list_rows(job, start, rows, out):
    """Addresses of the data's rows `start`... of the epoch."""
    abi.list_rows(
        job.list_rows, x=job.x, x_row=job.x_row, order=job.order, start=start, rows=rows,
        end=job.n_rows, out=out,
    )  # fmt: skip


@inner
def _copy(job, places, rows, buffer):
    """Rows that are not multiplied here."""
    if rows > 0:
        abi.listed_copy(
            job.copy_listed, places=places, rows=rows, n=job.n_inputs, out=buffer,
            out_row=job.x_buffer_row, one=job.x_one,
        )  # fmt: skip


@inner
def _multiply(job, layer, places, soon, before, part, buffer):
    """z of a part of the first layer, whose rows are listed behind `before` others.

    soon: entries from a row to the one to be asked for meanwhile; buffer: where the rows are copied
    to, if not 0. Returns the first bad row, or -1.
    """
    first, rows, low, high = part
    entry, at = places + before * 8, low * PANEL_BYTES
    bias = layer.w + layer.n_in * layer.w_row + at if layer.depth > layer.n_in else 0
    bad = abi.listed_product(
        job.listed, places=entry, soon=entry + soon * 8, soon_bytes=job.x_bytes,
        rows=rows, n=layer.n_in, w=layer.w + at, w_row=layer.w_row, bias=bias,
        z=layer.a + first * layer.a_row + at, z_row=layer.a_row, panels=high - low,
        out=buffer, out_row=job.x_buffer_row, one=job.x_one,
    )  # fmt: skip
    return bad + before if bad >= 0 else bad


@inner
def _gather_inputs(job, key, start, first, rows, place, rank):
    """Write out rows `start + first`...; returns the first bad row, or -1."""
    buffer = job.x_buffer + rank * job.x_own + first * job.x_buffer_row
    bad = abi.inputs(
        job.inputs, x=job.x, x_row=job.x_row, order=job.order, start=start + first, rows=rows,
        n=job.n_inputs, out=buffer, out_row=job.x_buffer_row, one=job.x_one, scale=job.x_scale,
    )  # fmt: skip
    if job.input_drops:
        abi.dropout(
            job.dropout, a=buffer, row=job.x_buffer_row, saved=0, rows=rows, n=job.n_inputs,
            seed=key, stream=0, first=place, column=0, keep=job.input_keep,
            factor=job.input_factor, one=job.x_one,
        )  # fmt: skip
    return bad


@inner
def gather_targets(job, start, first, rows):
    """Targets and sample weights of the same rows."""
    abi.targets(
        job.targets, y=job.y, y_row=job.y_row, order=job.order, start=start + first, rows=rows,
        n=job.n_targets, out=job.target + first * job.target_row, out_row=job.target_row,
        given=job.given, weights=job.weights + first * 8, scale=job.y_scale, shift=job.y_shift,
    )  # fmt: skip
