"""How a step is computed: every decision between ways that lead to the same result.

Which product a layer takes, how threads cut it, where they wait for each other, how they share its
parameters, how rows of data reach the first product. Whatever is decided, an element of a result is
the same chain of operations, whoever computes it: only `parts` and `narrow`, which follow from the
spec alone, set how the chain is put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from nbmlp import tuning
from nbmlp.kernels.cuts import Cut, Share
from nbmlp.plan.layout import LayerPlan, ParameterBlock, Plan, Role
from nbmlp.plan.shards import NO_SHARDS, Shards
from nbmlp.spec import ModelSpec

__all__ = [
    "Blocks", "Kind", "LayerStrategy", "Product", "Reading", "Stage", "Strategy", "choose_columns",
    "choose_reading", "choose_threads", "make_strategy",
]  # fmt: skip

#: Blocks of inputs, if a layer has more panels of units than that, below which it is flat.
_FLAT = 4


class Product(StrEnum):
    """Which product a layer takes, by the name of its pieces."""

    DENSE = "dense"
    NARROW = "narrow"  # so few units that it runs along the other axis


class Reading(StrEnum):
    """How rows of data reach the first product."""

    WRITTEN = "rows written out"
    BY_ADDRESS = "rows written out, then multiplied by a list that asks memory for the next"
    IN_PLACE = "rows multiplied where they lie"
    THIN = "sparse rows multiplied value by value"


@dataclass(frozen=True)
class Blocks:
    """How a block of parameters is updated.

    Attributes
    ----------
    rows : int
        Rows that a rule takes at once: a block.
    count, first : int
        How many blocks there are, and how many those before have.
    group : int
        Blocks whose gradient is one product.
    share : Share
        How threads share them.
    """

    rows: int
    count: int
    first: int
    group: int
    share: Share


@dataclass(frozen=True)
class LayerStrategy:
    """How one weight matrix and the activation behind it are computed.

    Attributes
    ----------
    product : Product
    parts : int
        Parts of the inputs over which its products are summed; else 1.
    spread : bool
        Each thread computes one of the parts, of all rows.
    cut : Cut
        What a thread computes of it else, and of the activation.
    stays : bool
        Each thread alone uses what it has computed of it.
    """

    product: Product
    parts: int
    spread: bool
    cut: Cut
    stays: bool


class Kind(StrEnum):
    """Kinds of layers in the tables, by the name of their pieces."""

    INPUTS = "inputs"
    PRODUCT = "product"
    PARTS = "parts"
    NORM = "norm"
    ACTIVATION = "activation"
    PARAMETRIC = "parametric"
    DROPOUT = "dropout"
    CODES = "codes"
    EMBEDDING = "embedding"
    TABLES = "tables"
    RESIDUAL = "residual"
    LOSS = "loss"


@dataclass(frozen=True)
class Stage:
    """One layer of the tables.

    Attributes
    ----------
    kind : Kind
    layer : int
        Which of the plan's layers, from 0; -1 for the net's inputs.
    part : int
        Of a product in parts.
    cut, back_cut : Cut
        What a thread computes of it forward, and back.
    barrier, back_barrier : bool
        All threads wait behind it.
    """

    kind: Kind
    layer: int
    part: int = 0
    cut: Cut = Cut.WHOLE
    back_cut: Cut = Cut.WHOLE
    barrier: bool = False
    back_barrier: bool = False


@dataclass(frozen=True)
class Strategy:
    """All decisions for one plan.

    Attributes
    ----------
    plan : Plan
    training : bool
        Else forward only.
    threads : int
        Most threads that will run.
    columns : bool
        All of them work on the same rows, and each has a copy of the inputs.
    layers : tuple of LayerStrategy
    blocks : tuple of Blocks
        Of each of the plan's blocks of parameters.
    stages : tuple of Stage
        What is computed, in this order; back in the reverse.
    shards : Shards
        Of the data, whose gradients are summed apart.
    """

    plan: Plan
    training: bool
    threads: int
    columns: bool
    layers: tuple[LayerStrategy, ...]
    blocks: tuple[Blocks, ...]
    stages: tuple[Stage, ...]
    shards: Shards = NO_SHARDS

    @property
    def n_blocks(self) -> int:
        """Update blocks of all parameters."""
        return sum(blocks.count for blocks in self.blocks)


def choose_threads(spec: ModelSpec, rows: int, most: int, training: bool = True) -> int:
    """Threads for steps of so many rows: one when a barrier would cost more than it shares out.

    `tuning.FLOPS_PER_THREAD` is an estimate of what two barriers and the exchange of cache lines
    cost; long trainings measure instead (train/threads.py).
    """
    flops = (6 if training else 2) * rows * spec.n_weights
    return max(1, min(most, flops // tuning.FLOPS_PER_THREAD))


def choose_columns(plan: Plan, threads: int) -> tuple[bool, ...]:
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


def choose_reading(
    strategy: Strategy, spec: ModelSpec, dtype: str | None, thin: bool, scale: float
) -> Reading:
    """How rows are read.

    Parameters
    ----------
    strategy : Strategy
    spec : ModelSpec
    dtype : str or None
        Type of dense rows; None for sparse ones.
    thin : bool
        Sparse rows with few values.
    scale : float
        Factor on their values.
    """
    if strategy.layers[0].parts > 1 or strategy.plan.embedding:
        return Reading.WRITTEN
    changed = spec.input_dropout > 0
    if thin:
        return Reading.WRITTEN if changed else Reading.THIN
    if dtype is None or strategy.plan.layers[0].panels_in < tuning.ADDRESSED_PANELS:
        return Reading.WRITTEN
    stored = strategy.plan.element.storage.__name__
    as_they_are = dtype == stored and scale == 1.0 and not changed
    return Reading.IN_PLACE if as_they_are else Reading.BY_ADDRESS


def make_strategy(
    spec: ModelSpec, plan: Plan, threads: int, training: bool = True, whole_norm: bool = False,
    shards: Shards = NO_SHARDS,
) -> Strategy:  # fmt: skip
    """Decide all for a plan.

    Parameters
    ----------
    spec : ModelSpec
    plan : Plan
    threads : int
        Most threads that will run.
    training : bool
    whole_norm : bool
        Norms are summed block by block over whole rows, so threads own rows of all parameters.
    shards : Shards
    """
    wide = () if whole_norm or not training else choose_columns(plan, threads)
    layers: list[LayerStrategy] = []
    for k, layer in enumerate(plan.layers):
        last = k == len(plan.layers) - 1
        parts = _parts(layer, plan) if last else 1
        cut = (Cut.COLUMNS if wide[k] else Cut.ROWS) if wide else Cut.WHOLE
        narrow = training and last and k > 0 and layer.n_out <= tuning.NARROW
        spread = bool(wide) and 1 < parts == threads
        product = Product.NARROW if narrow else Product.DENSE
        layers.append(LayerStrategy(product, parts, spread, cut, stays=False))
    if len(layers) > 1 and layers[-1].spread and layers[-2].cut is Cut.COLUMNS:
        layers[-2] = replace(layers[-2], stays=True)
    blocks: list[Blocks] = []
    for block in plan.blocks:
        first = blocks[-1].first + blocks[-1].count if blocks else 0
        blocks.append(_blocks(plan, block, first, layers[block.layer], whole_norm))
    stages = tuple(_stages(spec, plan, layers, training))
    return Strategy(
        plan, training, threads, bool(wide), tuple(layers), tuple(blocks), stages, shards
    )


def _parts(layer: LayerPlan, plan: Plan) -> int:
    """Parts of the units below outputs of one panel."""
    few = layer.panels_out == 1
    return tuning.CHUNKS if few and layer.panels_in >= tuning.CHUNKED_PANELS else 1


def _blocks(
    plan: Plan, block: ParameterBlock, first: int, own: LayerStrategy, whole_norm: bool
) -> Blocks:
    if block.role is Role.TABLES:  # all of a thread's rows are one gradient
        count = -(-block.rows // tuning.TABLE_ROWS)
        return Blocks(tuning.TABLE_ROWS, count, first, group=count, share=Share.ROWS)
    if block.role is not Role.PRODUCT:  # vectors
        share = Share.ROWS if whole_norm else Share.PANELS
        return Blocks(rows=block.rows, count=1, first=first, group=1, share=share)
    layer, panel = plan.layers[block.layer], tuning.PANEL_BYTES // plan.element.compute_bytes
    transposed = layer.transposed_row > 0  # by panels of rows
    rows = panel if transposed else min(panel, tuning.BLOCK_ROWS)
    flat = -(-layer.depth // panel) < min(_FLAT, layer.panels_out)
    if own.cut is Cut.COLUMNS or (flat and not own.spread and not whole_norm):
        share = Share.PANELS  # too few blocks of rows to share them
    else:
        share = Share.UNITS if own.spread else Share.ROWS
    return Blocks(
        rows=rows, count=-(-layer.depth // rows), first=first,
        group=max(1, tuning.GRADIENT_BLOCK // (layer.row * rows)), share=share,
    )  # fmt: skip


def _stages(
    spec: ModelSpec, plan: Plan, layers: list[LayerStrategy], training: bool
) -> Iterator[Stage]:
    drops = (*spec.dropout, 0.0) if training or spec.dropout_scale_at == "predict" else ()
    yield Stage(Kind.INPUTS, -1)
    embeds = plan.embedding is not None
    if plan.embedding and plan.embedding.counts:  # none of them is dropped
        yield Stage(Kind.CODES, -1)
    if drops and spec.input_dropout > 0:
        yield Stage(Kind.DROPOUT, -1)
    for role in (Role.EMBEDDING, Role.TABLES):  # the first may write a little more than its own
        if plan.block_of(role, -1) >= 0:
            yield Stage(Kind(role.value), -1)
    last, shared = len(layers) - 1, layers[0].cut is not Cut.WHOLE
    for k, own in enumerate(layers):
        stages = list(_products(k, layers))
        if k == 0 and embeds:  # deltas of the inputs go by rows
            rows = Cut.ROWS if shared else Cut.WHOLE
            stages[0] = replace(stages[0], back_cut=rows, back_barrier=shared)
        waits = shared and (k > 0 or embeds or not own.stays)
        if spec.layer_norm and k < last:  # of whole rows, whoever has computed their units
            rows = Cut.ROWS if shared else Cut.WHOLE
            stages[-1] = replace(stages[-1], barrier=shared)
            stages.append(Stage(Kind.NORM, k, 0, rows, rows, shared, back_barrier=shared))
            waits = shared
        # Outputs of a prediction become probabilities behind a loss that reads logits.
        if k < last or not plan.fused_output:
            kind = Kind.PARAMETRIC if spec.parametric_activation and k < last else Kind.ACTIVATION
            stages.append(Stage(kind, k, 0, own.cut, own.cut, back_barrier=waits))
        if drops and drops[k] > 0:
            stages.append(Stage(Kind.DROPOUT, k, 0, own.cut, own.cut))
        if spec.skips[k]:
            stages.append(Stage(Kind.RESIDUAL, k, 0, own.cut, own.cut))
        # What comes behind waits for all of the layer, unless each thread goes on with its own.
        if shared and not own.stays and (k < last or own.cut is Cut.COLUMNS):
            stages[-1] = replace(stages[-1], barrier=True)
        yield from stages
    yield Stage(Kind.LOSS, last, cut=Cut.ROWS if shared else Cut.WHOLE)
    if plan.fused_output and not training:
        yield Stage(Kind.ACTIVATION, last)


def _products(k: int, layers: list[LayerStrategy]) -> Iterator[Stage]:
    own = layers[k]
    cut, back = Cut.PART if own.spread else own.cut, layers[max(k - 1, 0)].cut
    for part in range(own.parts):
        waits = own.spread and part == own.parts - 1
        yield Stage(Kind.PRODUCT, k, part, cut, back, waits)
    if own.spread:
        yield Stage(Kind.PARTS, k, 0, own.cut)
