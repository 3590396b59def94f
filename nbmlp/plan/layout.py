"""Spec and batch -> offsets and sizes. Integer arithmetic only; nothing is allocated here.

Nothing in a layout depends on the number of threads: sub-batches and panels follow from the spec
and the instruction set, which is why any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from nbmlp import tuning
from nbmlp.names import Element
from nbmlp.spec import ModelSpec

__all__ = [
    "EmbeddingPlan", "LayerPlan", "ParameterBlock", "Part", "Plan", "Role", "make_plan",
]  # fmt: skip


class Role(StrEnum):
    """What parameters are for."""

    PRODUCT = "product"
    SCALE = "scale"  # of inputs
    NORM = "norm"
    PARAMETRIC = "parametric"  # an activation's
    EMBEDDING = "embedding"  # of numbers
    TABLES = "tables"  # of categories


@dataclass(frozen=True)
class Part:
    """Rows of a block of parameters that have a name.

    Attributes
    ----------
    name : str
        In files, behind that of the layer: ``"weight"``.
    symbol : str
        In messages, before the number of the layer: ``"W"``; of embeddings there is none.
    rows : int
    vector : bool
        One row, known as (columns,); it has no penalty, decay or bound on its norm.
    start : float
        First value of a vector.
    free : bool
        It has no penalty, decay or bound either, though it is no vector.
    """

    name: str
    symbol: str
    rows: int
    vector: bool = False
    start: float = 0.0
    free: bool = False

    @property
    def bounded(self) -> bool:
        """Whether penalty, decay and bound on the norm are for it."""
        return not (self.vector or self.free)


@dataclass(frozen=True)
class ParameterBlock:
    """Parameters (rows, columns) that are stored, updated and measured together.

    Attributes
    ----------
    role : Role
    layer : int
        Which of the plan's layers they belong to, from 0; -1: to the inputs.
    parts : tuple of Part
        In the order of the rows, first those with penalty and decay.
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
        """Rows of the parts that have penalty and decay."""
        return sum(part.rows for part in self.parts if part.bounded)

    @property
    def size(self) -> int:
        """Number of parameters, without padding."""
        return self.rows * self.columns

    @property
    def end(self) -> int:
        """Element behind the last in the arena."""
        return self.offset + self.rows * self.row

    def name_of(self, part: Part) -> str:
        """In files, e.g. ``"layer1.weight"``."""
        owner = f"layer{self.layer + 1}" if self.layer >= 0 else "embedding"
        return f"{owner}.{part.name}"

    def symbol_of(self, part: Part) -> str:
        """In messages, e.g. ``"W1"``."""
        return f"{part.symbol}{self.layer + 1}" if self.layer >= 0 else self.name_of(part)


@dataclass(frozen=True)
class EmbeddingPlan:
    """What is added to the inputs before the first product.

    Attributes
    ----------
    numbers, frequencies, outputs : int
        Each of the first `numbers` inputs has so many cosines, and gets so many outputs: the first
        one of all, then the second one of all, and so on.
    counts : tuple of int
        Rows of the tables of codes, which are the last inputs.
    width : int
        Outputs of each of these.
    first, first_code : int
        Where the first output of the numbers, and of the codes, lies among the product's inputs;
        they take the place of the codes.
    kept : int
        Behind all these: where rows of the tables are kept.
    low : int
        The panel that it lies in. The delta of the product's inputs is computed from there on.
    row : int
        Stride of that delta.
    """

    numbers: int
    frequencies: int
    outputs: int
    counts: tuple[int, ...]
    width: int
    first: int
    first_code: int
    kept: int
    low: int
    row: int

    @property
    def starts(self) -> tuple[int, ...]:
        """The first row of each table in their block, and the end of the last."""
        return (0, *accumulate(self.counts))


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
        The transposed copy that deltas are sent back through; a row of 0: there is none, as of the
        first layer, unless inputs are embedded.
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
    embedding : EmbeddingPlan or None
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
    embedding: EmbeddingPlan | None = None

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
        per_row += self.embedding.row if self.embedding else 0
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
    embedding = _embedding(spec, line)
    for role, parts, columns in _embedded(embedding) if embedding else ():
        blocks.append(ParameterBlock(role, -1, parts, columns, _stride(columns, panel), offset))
        offset = blocks[-1].end
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        depth, row = n_in + spec.bias, _stride(n_out, panel)
        hidden = k < len(sizes) - 2
        needs_z = spec.functions[k].row.needs_z or (hidden and spec.parametric_activation)
        transposed_row = _stride(n_in, line) if k or embedding else 0
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
        # A whole vector of factors may end behind the last one.
        n_parameters=offset + (panel if embedding else 0), n_transposed=transposed,
        x_row=_stride(embedding.kept + len(embedding.counts) if embedding else sizes[0] + 1, line),
        x_one=sizes[0] if spec.bias else -1,
        target_row=_stride(sizes[-1], panel),
        sub_batch=max(1, min(batch, _most_rows(sizes))), row_block=tuning.ROW_BLOCK,
        fused_output=spec.loss_function.row.canonical == spec.output,
        scaled_copy=spec.input_scale, embedding=embedding,
    )  # fmt: skip


def _embedding(spec: ModelSpec, line: int) -> EmbeddingPlan | None:
    kind, counts = spec.periodic if spec.numbers else None, spec.code_counts
    if kind is None and not counts:
        return None
    first = spec.n_inputs - len(counts)
    cosines, outputs = (kind.frequencies, kind.outputs) if kind else (0, 0)
    return EmbeddingPlan(
        spec.numbers, cosines, outputs, counts, spec.code_width, first,
        first_code=first + spec.numbers * outputs,
        # Whole vectors are written, the last of which may end behind the last input.
        kept=spec.n_embedded + line,
        low=first // line, row=_stride(spec.n_embedded - first // line * line, line),
    )  # fmt: skip


def _embedded(plan: EmbeddingPlan) -> Iterator[tuple[Role, tuple[Part, ...], int]]:
    """Blocks of parameters of embeddings, as :func:`_roles`.

    Numbers have a column each: W2 (its outputs of the first frequency, of the second, ...), w1, b1,
    b2. Codes have rows.
    """
    cosines, outputs = plan.frequencies, plan.outputs
    if plan.numbers:
        parts = (
            Part("weight", "", cosines * outputs),
            Part("frequency", "", cosines, free=True),
            Part("phase", "", cosines, free=True),
            Part("bias", "", outputs, free=True),
        )
        yield Role.EMBEDDING, parts, plan.numbers
    if plan.counts:
        named = enumerate(plan.counts, 1)
        tables = tuple(Part(f"table{k}", "", rows, free=True) for k, rows in named)
        yield Role.TABLES, tables, plan.width


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
