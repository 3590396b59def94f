"""First half of a step: gather, forward, loss, backward. Weights are only read.

What a thread computes of a layer is a rectangle: some rows of the batch by some panels of units.
Here it is its own rows by all panels, all layers deep; `step_columns` cuts the other way.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.step_inputs import gather_targets, read_inputs
from nbmlp.tuning import PANEL_BYTES

__all__ = [
    "activate_layer",
    "add_chunk",
    "backward_layer",
    "derive_output",
    "forward_layer",
    "is_sparse",
    "run_forward",
    "run_loss",
    "run_rows",
]

_OK, _BAD_INPUT, _BAD_OUTPUT = STATUS.OK, STATUS.BAD_INPUT, STATUS.BAD_OUTPUT


@inner
def _columns(job, layer, low, high):
    """Units in the panels low..high of a layer, and the column of ones counted from the first."""
    panel = PANEL_BYTES // job.size
    n = min(high * panel, layer.n_out) - low * panel
    one = layer.one - low * panel if layer.one >= 0 and high == layer.panels_out else -1
    return n, one


@inner
def is_sparse(job, layer):
    """Whether the layer's input is thin sparse rows."""
    return job.sparse_forward != 0 and layer.x == job.x_buffer


@inner
def add_chunk(job, layer, c, x, rows, low, high, z, z_row, add):
    """z = x.W over chunk c of the inputs, for panels low..high; with `add` = 1 added to z."""
    if is_sparse(job, layer):
        abi.sparse_forward(
            job.sparse_forward, x=x, x_row=layer.x_row, w=layer.w + low * PANEL_BYTES,
            w_row=layer.w_row, n_in=layer.n_in, depth=layer.depth, z=z, z_row=z_row,
            rows=rows, panels=high - low, scale=job.x_scale,
        )  # fmt: skip
        return
    panel = PANEL_BYTES // job.size
    start = c * layer.panels_in // layer.chunks
    end = (c + 1) * layer.panels_in // layer.chunks
    last = c == layer.chunks - 1
    x += start * PANEL_BYTES
    if layer.narrow:
        bias = layer.w + layer.n_in * layer.w_row if last and layer.depth > layer.n_in else 0
        abi.narrow_forward(
            job.narrow_forward, x=x, x_row=layer.x_row, wt=layer.wt + start * PANEL_BYTES,
            wt_row=layer.wt_row, bias=bias, z=z, z_row=z_row, rows=rows, n=layer.n_out,
            panels=end - start, add=add,
        )  # fmt: skip
        return
    w = layer.w + start * panel * layer.w_row + low * PANEL_BYTES
    depth = (layer.depth if last else end * panel) - start * panel
    abi.product(
        job.gemm, a=x, a_row=layer.x_row, a_col=job.size, b=w, b_row=layer.w_row,
        c=z, c_row=z_row, m=rows, panels=high - low, depth=depth, alpha=1.0, beta=float(add),
    )  # fmt: skip


@inner
def activate_layer(job, layers, k, key, first, rows, place, low, high):
    """Activation and dropout of panels low..high of layer k, for rows `first`... ."""
    layer = layers[k]
    if k == len(layers) - 1 and job.fused_output:
        return
    at = first * layer.a_row + low * PANEL_BYTES
    a, saved = layer.a + at, layer.saved + at
    n, one = _columns(job, layer, low, high)
    abi.forward(
        layer.forward, a=a, saved=saved, row=layer.a_row, rows=rows, n=n, p=layer.act, one=one
    )
    if layer.drops:
        abi.dropout(
            job.dropout, a=a, row=layer.a_row, saved=saved if layer.copies else 0, rows=rows, n=n,
            seed=key, stream=k + 1, first=place, column=low * (PANEL_BYTES // job.size),
            keep=layer.keep, factor=layer.factor, one=one,
        )  # fmt: skip


@inner
def forward_layer(job, layers, k, key, first, rows, place, low, high, mine):
    """Panels low..high of layer k's output, for rows `first`... of the sub-batch.

    place: the first row's place in the batch; mine: which thread's copy of the inputs is read.
    """
    layer = layers[k]
    if k > 0 or job.listed == 0:
        x = layer.x + mine * layer.x_own + first * layer.x_row
        z = layer.a + first * layer.a_row + low * PANEL_BYTES
        for c in range(layer.chunks):
            add_chunk(job, layer, c, x, rows, low, high, z, layer.a_row, 1 if c > 0 else 0)
    activate_layer(job, layers, k, key, first, rows, place, low, high)


@inner
def run_forward(job, layers, key, first, rows, place):
    """Rows `first`... of the sub-batch (row `place`... of the batch) through all layers."""
    for k in range(len(layers)):
        forward_layer(job, layers, k, key, first, rows, place, 0, layers[k].panels_out, 0)


@inner
def run_loss(job, layer, first, rows):
    """Loss and delta of the last layer; returns the first bad row, or -1."""
    a, dz = layer.a + first * layer.a_row, layer.dz + first * layer.dz_row
    return abi.loss(
        job.loss, y=a, y_row=layer.a_row, dz=dz, dz_row=layer.dz_row,
        target=job.target + first * job.target_row, target_row=job.target_row,
        rows=rows, n=job.n_outputs, n_targets=job.n_targets, weights=job.weights + first * 8,
        values=job.values + first * 8, p=job.loss_parameter,
    )  # fmt: skip


@inner
def backward_layer(job, layers, k, key, first, rows, place, low, high):
    """Panels low..high of layer k's deltas, from all deltas of the layer above."""
    above, layer = layers[k + 1], layers[k]
    dz = layer.dz + first * layer.dz_row + low * PANEL_BYTES
    abi.product(
        job.gemm, a=above.dz + first * above.dz_row, a_row=above.dz_row, a_col=job.size,
        b=above.wt + low * PANEL_BYTES, b_row=above.wt_row, c=dz, c_row=layer.dz_row,
        m=rows, panels=high - low, depth=above.n_out, alpha=1.0, beta=0.0,
    )  # fmt: skip
    n, _ = _columns(job, layer, low, high)
    if layer.drops:
        abi.dropout(
            job.dropout, a=dz, row=layer.dz_row, saved=0, rows=rows, n=n,
            seed=key, stream=k + 1, first=place, column=low * (PANEL_BYTES // job.size),
            keep=layer.keep, factor=layer.factor, one=-1,
        )  # fmt: skip
    _derive(layer, first, rows, low, n)


@inner
def _derive(layer, first, rows, low, n):
    """da at dz becomes dz, for n columns from panel `low` on."""
    dz = layer.dz + first * layer.dz_row + low * PANEL_BYTES
    saved = layer.saved + first * layer.a_row + low * PANEL_BYTES
    abi.backward(
        layer.backward, dz=dz, dz_row=layer.dz_row, saved=saved, saved_row=layer.a_row,
        rows=rows, n=n, p=layer.act,
    )  # fmt: skip


@inner
def derive_output(job, layer, first, rows):
    """Deltas of the last layer, where the loss has left the derivative by its activations."""
    if not job.fused_output:
        _derive(layer, first, rows, 0, layer.n_out)


@inner
def run_rows(job, layers, key, start, offset, m, rank, low, high, flag):
    """First half of a step for rows low..high of m of the sub-batch, in blocks that stay in cache.

    A bad row ends its own block only: who asks which rows are bad finds the outputs of all.
    """
    for first in range(low, high, job.row_block):
        rows = min(job.row_block, high - first)
        place = offset + first
        after = start + (first + rows if first + rows < high else m + low)
        part = first, rows, 0, layers[0].panels_out
        bad = read_inputs(job, layers[0], key, start, first, rows, place, after, part, rank)
        status = _BAD_INPUT
        if bad < 0:
            gather_targets(job, start, first, rows)
            run_forward(job, layers, key, first, rows, place)
            bad = run_loss(job, layers[len(layers) - 1], first, rows)
            status = _BAD_OUTPUT
        if bad >= 0:
            if flag[0] == _OK:
                flag[0], flag[1] = status, start + first + bad
            continue
        derive_output(job, layers[len(layers) - 1], first, rows)
        for k in range(len(layers) - 2, -1, -1):
            backward_layer(job, layers, k, key, first, rows, place, 0, layers[k].panels_out)
