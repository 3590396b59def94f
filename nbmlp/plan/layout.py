"""Spec and batch -> offsets and sizes. Integer arithmetic only; nothing is allocated here.

Nothing in a layout depends on the number of threads: sub-batches and panels follow from the spec
and the instruction set, which is why any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from nbmlp import tuning
from nbmlp.names import Element
from nbmlp.spec import ModelSpec

__all__ = ["LayerPlan", "ParameterBlock", "Part", "Plan", "Role", "make_plan"]


class Role(StrEnum):
    """What parameters are for."""

    PRODUCT = "product"
    SCALE = "scale"  # of inputs
    NORM = "norm"
    PARAMETRIC = "parametric"  # an activation's


@dataclass(frozen=True)
class Part:
    """Rows of a block of parameters that have a name.

    Attributes
    ----------
    name : str
        In files, behind that of the layer: ``"weight"``.
    symbol : str
        In messages, before the number of the layer: ``"W"``.
    rows : int
    vector : bool
        One row, known as (columns,); it has no penalty, decay or bound on its norm.
    start : float
        First value of a vector.
    """

    name: str
    symbol: str
    rows: int
    vector: bool = False
    start: float = 0.0


@dataclass(frozen=True)
class ParameterBlock:
    """Parameters (rows, columns) that are stored, updated and measured together.

    Attributes
    ----------
    role : Role
    layer : int
        Which of the plan's layers they belong to, from 0.
    parts : tuple of Part
        In the order of the rows, vectors last.
    columns : int
    row : int
        Elements from one row to the next.
    offset : int
        First element in the parameter arena.
    rate, decay, clip : float
        Factors on learning rate, decay and penalties, and bounds of clipping.
    """

    role: Role
    layer: int
    parts: tuple[Part, ...]
    columns: int
    row: int
    offset: int
    rate: float = 1.0
    decay: float = 1.0
    clip: float = 1.0

    @property
    def rows(self) -> int:
        """Of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def weights(self) -> int:
        """Rows of the parts that are no vectors."""
        return sum(part.rows for part in self.parts if not part.vector)

    @property
    def size(self) -> int:
        """Number of parameters, without padding."""
        return self.rows * self.columns

    @property
    def end(self) -> int:
        """Element behind the last in the arena."""
        return self.offset + self.rows * self.row


@dataclass(frozen=True)
class LayerPlan:
    """A product and the activations behind it; sizes and offsets in elements.

    Attributes
    ----------
    n_in, n_out : int
        Shape of W without the bias.
    depth : int
        Rows of the stored matrix: n_in, and one more for the bias.
    row, dz_row : int
        Stride of W, and of dz behind it.
    offset : int
        First element of W in the parameter arena.
    panels_in, panels_out : int
        Whole panels that hold n_in and n_out columns.
    transposed_row, transposed_offset : int
        The transposed copy that deltas are sent back through; the first layer has none.
    a_row : int
        Stride of the activations behind this layer, with room for the column of ones.
    one : int
        That column, or -1.
    needs_z, copies : bool
        The derivative reads z; it reads what the activation was before dropout, or before what
        lies below was added.
    """

    n_in: int
    n_out: int
    depth: int
    row: int
    dz_row: int
    offset: int
    panels_in: int
    panels_out: int
    transposed_row: int
    transposed_offset: int
    a_row: int
    one: int
    needs_z: bool
    copies: bool


@dataclass(frozen=True)
class Plan:
    """Everything that has to be known before memory is allocated.

    Parameters, slots, gradient and targets are of the type that elements are computed in, rows,
    activations, deltas and transposed copies of the type that they are stored in. Rows of either
    are padded to whole lines of 64 bytes; a panel is the columns that one holds of a parameter.

    Attributes
    ----------
    element : Element
    layers : tuple of LayerPlan
    blocks : tuple of ParameterBlock
        All parameters, in the order of the arena.
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
    fused_output : bool
        The loss reads logits.
    scaled_copy : bool
        The first product takes a copy of its weights, times those of the inputs.
    """

    element: Element
    layers: tuple[LayerPlan, ...]
    blocks: tuple[ParameterBlock, ...]
    n_parameters: int
    n_transposed: int
    x_row: int
    x_one: int
    target_row: int
    sub_batch: int
    row_block: int
    fused_output: bool
    scaled_copy: bool = False

    def block_of(self, role: Role, layer: int) -> int:
        """Which of the blocks has that role in a layer; -1 if there is none."""
        found = [(block.role, block.layer) for block in self.blocks]
        return found.index((role, layer)) if (role, layer) in found else -1

    @property
    def workspace_bytes(self) -> int:
        """Bytes of activations, deltas and gathered rows of one sub-batch."""
        per_row = self.x_row
        for layer in self.layers:
            own = layer.needs_z or layer.copies
            per_row += layer.a_row * (2 if own else 1) + layer.dz_row
        nbytes, target = per_row * self.element.storage_bytes, self.element.compute_bytes
        return self.sub_batch * (nbytes + self.target_row * target)


def _panels(n: int, panel: int) -> int:
    return -(-n // panel)


def _stride(n: int, panel: int) -> int:
    """Elements of a row of n, padded to an odd number of lines: strides that are powers of two
    make the rows of a block fight for the same cache sets."""
    return (_panels(n, panel) | 1) * panel


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
    element = spec.element
    panel = tuning.PANEL_BYTES // element.compute_bytes
    line = tuning.PANEL_BYTES // element.storage_bytes
    sizes = spec.layer_sizes
    drops, skips = (*spec.dropout, 0.0), spec.skips
    layers: list[LayerPlan] = []
    blocks: list[ParameterBlock] = []
    offset = transposed = 0
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        depth, row = n_in + spec.bias, _stride(n_out, panel)
        hidden = k < len(sizes) - 2
        needs_z = spec.functions[k].row.needs_z or (hidden and spec.parametric_activation)
        transposed_row = _stride(n_in, line) if k else 0
        layers.append(
            LayerPlan(
                n_in=n_in, n_out=n_out, depth=depth, row=row, dz_row=_stride(n_out, line),
                offset=offset,
                panels_in=_panels(n_in, panel), panels_out=_panels(n_out, panel),
                transposed_row=transposed_row, transposed_offset=transposed,
                a_row=_stride(n_out + 1, line), one=n_out if hidden and spec.bias else -1,
                needs_z=needs_z, copies=(drops[k] > 0 or skips[k]) and not needs_z,
            )
        )  # fmt: skip
        for role, parts, columns in _roles(spec, k, n_in, n_out):
            stride = _stride(columns, panel)
            blocks.append(ParameterBlock(role, k, parts, columns, stride, offset))
            offset = blocks[-1].end
        transposed += _panels(n_out, panel) * panel * transposed_row
    return Plan(
        element=element, layers=tuple(layers), blocks=tuple(blocks),
        n_parameters=offset, n_transposed=transposed,
        x_row=_stride(sizes[0] + 1, line), x_one=sizes[0] if spec.bias else -1,
        target_row=_stride(sizes[-1], panel),
        sub_batch=max(1, min(batch, _most_rows(sizes))), row_block=tuning.ROW_BLOCK,
        fused_output=spec.loss_function.row.canonical == spec.output,
        scaled_copy=spec.input_scale,
    )  # fmt: skip


def _roles(
    spec: ModelSpec, k: int, n_in: int, n_out: int
) -> Iterator[tuple[Role, tuple[Part, ...], int]]:
    """Blocks of parameters of layer k: what for, what is in them, columns."""
    parts = Part("weight", "W", n_in), Part("bias", "b", 1, vector=True)
    yield Role.PRODUCT, parts[: 1 + spec.bias], n_out
    if k == 0 and spec.input_scale:
        yield Role.SCALE, (Part("scale", "scale", 1, True, 1.0),), n_in
    hidden = k < len(spec.hidden)
    if hidden and spec.layer_norm:
        gain, shift = Part("gain", "gain", 1, True, 1.0), Part("shift", "shift", 1, True)
        yield Role.NORM, (gain, shift), n_out
    if hidden and spec.parametric_activation:
        yield Role.PARAMETRIC, (Part("alpha", "alpha", 1, True, 1.0),), n_out
