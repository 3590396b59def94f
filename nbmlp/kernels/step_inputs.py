"""What a step reads of the data: rows written out or multiplied where they lie; targets, weights.

Each thread reads for itself, into a copy of its own where it needs the rows of others, too.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def"
from __future__ import annotations

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner
from nbmlp.tuning import LISTED_ROWS, PANEL_BYTES

__all__ = ["gather_targets", "read_inputs"]

_call = _llvm.call


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
        _call(job.list_rows, (buffer, job.x_buffer_row, 0, first, rows, end, places))
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
    _call(job.list_rows, (job.x, job.x_row, job.order, start, rows, job.n_rows, out))


@inner
def _copy(job, places, rows, buffer):
    """Rows that are not multiplied here."""
    if rows > 0:
        _call(job.copy_listed, (places, rows, job.n_inputs, buffer, job.x_buffer_row, job.x_one))


@inner
def _multiply(job, layer, places, soon, before, part, buffer):
    """z of a part of the first layer, whose rows are listed behind `before` others.

    soon: entries from a row to the one to be asked for meanwhile; buffer: where the rows are copied
    to, if not 0. Returns the first bad row, or -1.
    """
    first, rows, low, high = part
    entry, at = places + before * 8, low * PANEL_BYTES
    bias = layer.w + layer.n_in * layer.w_row + at if layer.depth > layer.n_in else 0
    bad = _call(
        job.listed,
        (
            entry, entry + soon * 8, job.x_bytes, rows, layer.n_in, layer.w + at, layer.w_row,
            bias, layer.a + first * layer.a_row + at, layer.a_row, high - low,
            buffer, job.x_buffer_row, job.x_one,
        ),
    )  # fmt: skip
    return bad + before if bad >= 0 else bad


@inner
def _gather_inputs(job, key, start, first, rows, place, rank):
    """Write out rows `start + first`...; returns the first bad row, or -1."""
    buffer = job.x_buffer + rank * job.x_own + first * job.x_buffer_row
    bad = _call(
        job.inputs,
        (
            job.x, job.x_row, job.order, start + first, rows, job.n_inputs, buffer,
            job.x_buffer_row, job.x_one, job.x_scale,
        ),
    )  # fmt: skip
    if job.input_drops:
        _call(
            job.dropout,
            (
                buffer, job.x_buffer_row, 0, rows, job.n_inputs, key, 0, place, 0,
                job.input_keep, job.input_factor, job.x_one,
            ),
        )  # fmt: skip
    return bad


@inner
def gather_targets(job, start, first, rows):
    """Targets and sample weights of the same rows."""
    _call(
        job.targets,
        (
            job.y, job.y_row, job.order, start + first, rows, job.n_outputs,
            job.target + first * job.target_row, job.target_row, job.given,
            job.weights + first * 8, job.y_scale, job.y_shift,
        ),
    )  # fmt: skip
