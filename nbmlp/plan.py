"""Spec and batch -> offsets, sizes and cuts. Integer arithmetic only; nothing is allocated here.

Nothing in a plan depends on the number of threads except `threads` itself: sub-batches, blocks and
panels follow from the spec and the instruction set, which is why any number of threads gives the
same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from nbmlp import tuning
from nbmlp.spec import ModelSpec

__all__ = ["LayerPlan", "Plan", "choose_columns", "choose_threads", "make_plan"]


#: Blocks of inputs, if a layer has more panels of units than that, below which it is flat.
_FLAT = 4


@dataclass(frozen=True)
class LayerPlan:
    """One weight matrix and the activations behind it; sizes and offsets in elements.

    Attributes
    ----------
    n_in, n_out : int
        Shape of W without the bias.
    depth : int
        Rows of the stored matrix: n_in, and one more for the bias.
    row : int
        Stride of W, and of dz behind it.
    offset : int
        First element in the parameter arena.
    panels_in, panels_out : int
        Whole 64-byte panels that hold n_in and n_out columns.
    transposed_row, transposed_offset : int
        The transposed copy that deltas are sent back through; the first layer has none.
    a_row : int
        Stride of the activations behind this layer, with room for the column of ones.
    one : int
        That column, or -1.
    needs_z, copies : bool
        The derivative reads z; it reads what the activation was before dropout.
    block_rows, blocks, first_block : int
        Update blocks: rows of W that a rule takes at once, the unit in which threads share W.
    group : int
        Blocks whose gradient is one product.
    narrow, flat : bool
        So few units that its products run along the other axis; so few inputs that threads share
        its columns.
    chunks : int
        Parts of the inputs over which its products are summed; else 1.
    """

    n_in: int
    n_out: int
    depth: int
    row: int
    offset: int
    panels_in: int
    panels_out: int
    transposed_row: int
    transposed_offset: int
    a_row: int
    one: int
    needs_z: bool
    copies: bool
    block_rows: int
    blocks: int
    first_block: int
    group: int
    narrow: bool
    flat: bool
    chunks: int


@dataclass(frozen=True)
class Plan:
    """Everything that has to be known before memory is allocated.

    Attributes
    ----------
    itemsize : int
        Bytes of one element.
    layers : tuple of LayerPlan
    n_parameters : int
        Elements of the parameter arena, padding included; a gradient and each optimizer slot
        are as long.
    n_transposed : int
        Elements of the transposed copies.
    x_row, x_one : int
        Stride of the gathered rows; their column of ones, or -1.
    target_row : int
        Stride of the gathered targets.
    sub_batch, row_block : int
        Rows whose gradient is summed at once; rows taken through all layers at once.
    n_blocks : int
        Update blocks of all layers.
    fused_output : bool
        The loss reads logits.
    """

    itemsize: int
    layers: tuple[LayerPlan, ...]
    n_parameters: int
    n_transposed: int
    x_row: int
    x_one: int
    target_row: int
    sub_batch: int
    row_block: int
    n_blocks: int
    fused_output: bool

    @property
    def workspace_bytes(self) -> int:
        """Bytes of activations, deltas and gathered rows of one sub-batch."""
        per_row = self.x_row + self.target_row
        for layer in self.layers:
            own = layer.needs_z or layer.copies
            per_row += layer.a_row * (2 if own else 1) + layer.row
        return self.sub_batch * per_row * self.itemsize


def _panels(n: int, panel: int) -> int:
    return -(-n // panel)


def _stride(n: int, panel: int) -> int:
    """Elements of a row of n, padded to an odd number of panels: strides that are powers of two
    make the rows of a block fight for the same cache sets."""
    return (_panels(n, panel) | 1) * panel


def _chunked(n_in: int, n_out: int, panel: int) -> bool:
    return n_out <= panel and _panels(n_in, panel) >= tuning.CHUNKED_PANELS


def _most_rows(sizes: tuple[int, ...]) -> int:
    """Rows of a sub-batch, fewer for nets whose rows cost much."""
    flops = 6 * sum(a * b for a, b in pairwise(sizes))
    return max(8, min(tuning.SUB_BATCH, tuning.SUB_BATCH_FLOPS // flops))


def make_plan(spec: ModelSpec, batch: int) -> Plan:
    """Lay out a net for updates of at most `batch` rows.

    Parameters
    ----------
    spec : ModelSpec
    batch : int
        Rows of the largest batch (or of the largest block of rows, for prediction).
    """
    itemsize = 4 if spec.dtype == "float32" else 8
    panel = tuning.PANEL_BYTES // itemsize
    sizes = spec.layer_sizes
    drops = (*spec.dropout, 0.0)
    layers: list[LayerPlan] = []
    offset = transposed = blocks = 0
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        depth, row = n_in + spec.bias, _stride(n_out, panel)
        hidden = k < len(sizes) - 2
        needs_z = spec.functions[k].row.needs_z
        transposed_row = _stride(n_in, panel) if k else 0
        block = panel if k else min(panel, tuning.BLOCK_ROWS)  # panels of rows are transposed
        layers.append(
            LayerPlan(
                n_in=n_in, n_out=n_out, depth=depth, row=row, offset=offset,
                panels_in=_panels(n_in, panel), panels_out=_panels(n_out, panel),
                transposed_row=transposed_row, transposed_offset=transposed,
                a_row=_stride(n_out + 1, panel), one=n_out if hidden and spec.bias else -1,
                needs_z=needs_z, copies=drops[k] > 0 and not needs_z,
                block_rows=block, blocks=-(-depth // block), first_block=blocks,
                group=max(1, tuning.GRADIENT_BLOCK // (row * block)),
                narrow=k > 0 and not hidden and n_out <= tuning.NARROW,
                chunks=tuning.CHUNKS if not hidden and _chunked(n_in, n_out, panel) else 1,
                flat=_panels(depth, panel) < min(_FLAT, _panels(n_out, panel)),
            )
        )  # fmt: skip
        offset += depth * row
        transposed += _panels(n_out, panel) * panel * transposed_row
        blocks += layers[-1].blocks
    return Plan(
        itemsize=itemsize, layers=tuple(layers), n_parameters=offset, n_transposed=transposed,
        x_row=_stride(sizes[0] + 1, panel), x_one=sizes[0] if spec.bias else -1,
        target_row=_stride(sizes[-1], panel),
        sub_batch=max(1, min(batch, _most_rows(sizes))), row_block=tuning.ROW_BLOCK,
        n_blocks=blocks, fused_output=spec.loss_function.row.canonical == spec.output,
    )  # fmt: skip


def choose_threads(spec: ModelSpec, rows: int, most: int, training: bool = True) -> int:
    """Threads for steps of so many rows: one when a barrier would cost more than it shares out.

    `tuning.FLOPS_PER_THREAD` is an estimate of what two barriers and the exchange of cache lines
    cost; long trainings measure instead (train/crew.py).
    """
    flops = (6 if training else 2) * rows * spec.n_weights
    return max(1, min(most, flops // tuning.FLOPS_PER_THREAD))


def choose_columns(spec: ModelSpec, plan: Plan, threads: int) -> tuple[bool, ...]:
    """Which layers several threads cut by columns; empty where cutting rows is better.

    Cutting rows sends half of the weights from core to core in every step, whatever the batch;
    cutting columns sends activations, and leaves the threads uneven shares. So columns pay for
    small batches of wide layers (`tuning.COLUMN_ROWS`, measured).
    """
    wide = tuple(layer.panels_out >= tuning.COLUMN_PANELS * threads for layer in plan.layers)
    if threads == 1 or not any(wide):
        return ()
    costs = [layer.n_in * layer.n_out for layer in plan.layers]
    uneven = [
        cost * (-(-layer.panels_out // threads) * threads / layer.panels_out - 1.0)
        for layer, cost, own in zip(plan.layers, costs, wide, strict=True)
        if own
    ]
    rows = tuning.COLUMN_ROWS / (1.0 + sum(uneven) / sum(costs) / tuning.COLUMN_COST)
    return wide if plan.sub_batch <= rows else ()
