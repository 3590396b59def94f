"""How a step of a net is computed, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nbmlp.kernels.cuts import Cut, Share
from nbmlp.kernels.gather import INPUT_KINDS
from nbmlp.plan.layout import Plan, Role, make_plan
from nbmlp.plan.strategy import (
    Kind,
    LayerStrategy,
    Reading,
    Strategy,
    choose_reading,
    choose_threads,
    make_strategy,
)
from nbmlp.spec import ModelSpec

__all__ = ["LayerOutline", "Outline"]

_CUTS = {Cut.WHOLE: "rows", Cut.COLUMNS: "columns", Cut.ROWS: "rows"}
_SHARES = {Share.ROWS: "rows", Share.PANELS: "columns", Share.UNITS: "units below"}
_READINGS = {
    Reading.WRITTEN: "written out first",
    Reading.BY_ADDRESS: "written out, then multiplied by a list that asks memory for the next ones",
    Reading.IN_PLACE: "multiplied where they lie",
    Reading.THIN: "multiplied value by value",
}


@dataclass(frozen=True)
class LayerOutline:
    """What is decided for one layer.

    Attributes
    ----------
    weights : str
        Inputs x units.
    behind : str
        What comes behind the product, e.g. ``"norm, relu, dropout"``.
    product : str
        ``"dense"``, or ``"narrow"``: so few units that it runs along the other axis; and in how
        many parts.
    cut : str
        What threads share of it: ``"rows"``, ``"columns"`` or ``"parts"``.
    waits : bool
        All threads wait behind it on the way forward.
    blocks, block_rows, group : int
        Update blocks, rows of a block, and blocks whose gradient is one product.
    share : str
        How threads share the update: ``"rows"``, ``"columns"``, or rows of those ``"units below"``
        that they have computed.
    """

    weights: str
    behind: str
    product: str
    cut: str
    waits: bool
    blocks: int
    block_rows: int
    group: int
    share: str


@dataclass(frozen=True)
class Outline:
    """How a step is computed; `print` shows it.

    Attributes
    ----------
    net : str
        Sizes of its layers.
    dtype : str
    batch, sub_batch, block : int
        Rows of an update, of those whose gradient is summed at once, and of those that a thread
        takes through all layers at once, if it has rows of its own.
    threads : int
        That are worth their barriers.
    columns : bool
        Threads work on the same rows, each on units of its own; else on rows of their own.
    rows : dict of str to str
        What happens to rows of the net's own element type, of others, and to thin sparse ones.
    layers : tuple of LayerOutline
    embedded : str
        Which inputs are embedded, and as what; empty if none are.
    """

    net: str
    dtype: str
    batch: int
    sub_batch: int
    block: int
    threads: int
    columns: bool
    rows: dict[str, str]
    layers: tuple[LayerOutline, ...]
    embedded: str = ""

    @classmethod
    def of(cls, spec: ModelSpec, batch: int, most: int, whole_norm: bool = False) -> Outline:
        """Decide for updates of `batch` rows on `most` threads, as a training does.

        Parameters
        ----------
        spec : ModelSpec
        batch : int
        most : int
            Threads at most.
        whole_norm : bool
            The norm of the whole gradient is asked for: by clipping, or to be shown.
        """
        plan = make_plan(spec, batch)
        threads = choose_threads(spec, plan.sub_batch, most)
        strategy = make_strategy(spec, plan, threads, whole_norm=whole_norm)
        others = [kind for kind in INPUT_KINDS if kind != spec.dtype]
        rows = {
            spec.dtype: choose_reading(strategy, spec, spec.dtype, False, 1.0),
            ", ".join(others): choose_reading(strategy, spec, others[0], False, 1.0),
        }
        if plan.embedding is None:  # else they are refused
            rows["thin sparse"] = choose_reading(strategy, spec, None, True, 1.0)
        return cls(
            net="-".join(map(str, spec.layer_sizes)), dtype=spec.dtype, batch=batch,
            sub_batch=plan.sub_batch, block=plan.row_block, threads=threads,
            columns=strategy.columns,
            rows={kind: _READINGS[reading] for kind, reading in rows.items()},
            layers=tuple(_layer(spec, strategy, k) for k in range(len(strategy.layers))),
            embedded=_embedded(plan),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = f"{self.batch} rows"
        if self.sub_batch < self.batch:
            rows += f", {self.sub_batch} at once"
        threads = f"{self.threads} threads" if self.threads > 1 else "1 thread"
        own = f"blocks of {self.block} rows, each through all layers and back"
        how = "all rows, each thread units of its own" if self.columns else own
        lines = [f"{self.net} in {self.dtype}, updates of {rows}, {threads}"]
        pairs = {"taken": how} | {f"{kind} rows": how for kind, how in self.rows.items()}
        pairs |= {"embedded": self.embedded} if self.embedded else {}
        width = max(map(len, pairs))
        lines += [f"  {name:<{width}}  {how}" for name, how in pairs.items()]
        table = [_HEADS, *(_cells(layer) for layer in self.layers)]
        cells = table if self.threads > 1 else [row[:4] for row in table]
        return "\n".join([*lines, *_table(cells)])


_HEADS = ("layer", "product", "behind it", "update", "cut by", "all wait", "update shared by")


def _embedded(plan: Plan) -> str:
    kind, said = plan.embedding, []
    if kind and kind.numbers:
        each = f"each by {kind.frequencies} cosines to {kind.outputs} more"
        said.append(f"{kind.numbers} numbers, {each}")
    if kind and kind.counts:
        said.append(f"{len(kind.counts)} codes, each to {kind.width}")
    return "; ".join(said)


def _layer(spec: ModelSpec, strategy: Strategy, k: int) -> LayerOutline:
    own, layer = strategy.layers[k], strategy.plan.layers[k]
    blocks = strategy.blocks[strategy.plan.block_of(Role.PRODUCT, k)]
    waits = any(stage.barrier for stage in strategy.stages if stage.layer == k)
    return LayerOutline(
        weights=f"{layer.n_in} x {layer.n_out}", behind=_behind(spec, strategy, k),
        product=_product(own), cut="parts" if own.spread else _CUTS[own.cut], waits=waits,
        blocks=blocks.count, block_rows=blocks.rows, group=min(blocks.group, blocks.count),
        share=_SHARES[blocks.share],
    )  # fmt: skip


def _behind(spec: ModelSpec, strategy: Strategy, k: int) -> str:
    function = str(spec.functions[k])
    names = {Kind.ACTIVATION: function, Kind.PARAMETRIC: f"parametric {function}"}
    found = [
        names.get(stage.kind, str(stage.kind))
        for stage in strategy.stages
        if stage.layer == k and stage.kind not in (Kind.PRODUCT, Kind.PARTS, Kind.LOSS)
    ]
    return ", ".join(found) or f"{function}, with the loss"


def _product(own: LayerStrategy) -> str:
    return f"{own.product}, {own.parts} parts" if own.parts > 1 else str(own.product)


def _cells(layer: LayerOutline) -> tuple[str, ...]:
    update = f"{layer.blocks} x {layer.block_rows} rows, {layer.group} at once"
    return (
        layer.weights, layer.product, layer.behind, update, layer.cut,
        "yes" if layer.waits else "no", layer.share,
    )  # fmt: skip


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
