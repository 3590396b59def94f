"""One update looked at operation by operation: sizes, bits, and where a value is not finite.

Activations, deltas and gradients lie in the workspace after an update. The products z do not: they
are seen by repeating the update with one layer's activation exchanged for the identity, so that
every number is the very one that the kernels compute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import SparseRows
from nbmlp.failures.update import Update
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.run import run
from nbmlp.optimizers import LBFGS
from nbmlp.plan import ParameterBlock
from nbmlp.train.engine import Engine
from nbmlp.workspace import Cursor

__all__ = ["Operation", "examine", "first_bad"]

Array = NDArray[Any]


@dataclass
class Operation:
    """What one operation gave.

    Attributes
    ----------
    kind : str
        ``"input"``, ``"z"``, ``"activation"``, ``"loss"``, ``"delta"``, ``"gradient"``,
        ``"update"`` or the name of an optimizer's vector.
    layer : int
        From 1; 0 for the input and embeddings, and the last one for the loss.
    largest : float
        Largest size of a finite value.
    bad : int
        Values that are NaN or infinite.
    rows : list of int
        Places in the batch of all rows that hold one, rising; empty for gradients and updates.
    units : list of int
        Columns that hold one, rising: of the data, or units of the layer.
    nan : bool
        One of the bad values is NaN.
    symbol : str
        Of gradients and updates: what the first bad part is called, e.g. ``"b1"``.
    digest : str
        SHA-256 over all values, sub-batch after sub-batch; every NaN counts as the same.
    """

    kind: str
    layer: int
    largest: float = 0.0
    bad: int = 0
    rows: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    nan: bool = False
    symbol: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """In words, e.g. ``"product z of layer 2"`` or ``"update of W2"``."""
        if self.kind in ("input", "loss"):
            return self.kind
        if self.kind in ("z", "activation", "delta"):
            return f"{'product ' * (self.kind == 'z')}{self.kind} of layer {self.layer}"
        owner = "" if self.kind in ("gradient", "update") else "optimizer's "
        return f"{owner}{self.kind} of {self.symbol}"

    def add(self, values: Array, start: int = 0) -> None:
        """Look at values (rows, units), whose first row has place `start` in the batch."""
        finite = np.isfinite(values)
        bits = np.where(np.isnan(values), values.dtype.type(np.nan), values)
        known = hashlib.sha256(self.digest.encode())
        known.update(np.ascontiguousarray(bits).data)
        self.digest = known.hexdigest()
        self.largest = max(self.largest, float(np.max(np.abs(values), where=finite, initial=0.0)))
        if finite.all():
            return
        self.bad += int(finite.size - np.count_nonzero(finite))
        self.nan = self.nan or bool(np.isnan(values).any())
        self.rows += (start + np.flatnonzero(~finite.all(axis=1))).tolist()
        self.units = sorted({*self.units, *np.flatnonzero(~finite.all(axis=0)).tolist()})


def first_bad(operations: list[Operation]) -> Operation | None:
    """The first operation that gave a value that is not finite."""
    return next((one for one in operations if one.bad), None)


def examine(update: Update) -> list[Operation]:
    """Repeat an update on one thread and look at every operation, in the order of computation.

    Parameters
    ----------
    update : Update
        Not changed.

    Returns
    -------
    list of Operation
        Up to the last operation that is reached: a bad input ends it at once, a bad output or
        loss before the deltas, a bad gradient before the update.
    """
    engine = update.engine(updates=False)
    given = _inputs(update, engine)
    if given.bad:
        return [given]
    products = [_product(engine, k) for k in range(len(engine.work.plan.layers))]
    activations, back = _forward_and_back(engine)
    forward = [one for pair in zip(products, activations, strict=True) for one in pair]
    if engine.work.plan.fused_output:
        forward.pop(-1)  # the loss reads the products themselves
    operations = [given, *forward, *back]
    makes_update = not (update.whole or isinstance(update.train.optimizer, LBFGS))
    if makes_update and back[-1].kind == "gradient" and first_bad(back) is None:
        operations += _updates(update)
    return operations


def _inputs(update: Update, engine: Engine) -> Operation:
    """The batch's inputs as the net takes them, unscaled."""
    operation, x, block = Operation("input", 0), update.rows.x, engine.work.rows
    for start in range(0, len(update.rows), block):
        few = x[start : start + block]
        dense = few.matrix.toarray() if isinstance(few, SparseRows) else few
        with np.errstate(over="ignore"):
            operation.add(np.asarray(dense, engine.state.theta.dtype), start)
    return operation


def _sub_batches(engine: Engine) -> Iterator[tuple[int, int]]:
    """Take the batch through the kernel, one sub-batch after the other: first place, rows."""
    work, job = engine.work, engine.work.job
    job.take_up(Cursor(step=job.first_step))
    job.limit(1)
    for start in range(0, len(engine.rows), work.rows):
        job.take_up(job.cursor._replace(row=start))  # also where the one before has failed
        run("train", job, 1)
        yield start, min(work.rows, len(engine.rows) - start)


def _outputs(engine: Engine, k: int, rows: int) -> Array:
    return engine.work.activations[k][:rows, : engine.work.plan.layers[k].n_out]


def _product(engine: Engine, k: int) -> Operation:
    """z of layer k (from 0)."""
    operation = Operation("z", k + 1)
    with engine.work.bare_products(k):
        for start, rows in _sub_batches(engine):
            operation.add(_outputs(engine, k, rows), start)
    return operation


def _forward_and_back(engine: Engine) -> tuple[list[Operation], list[Operation]]:
    """Activations of all layers; then loss and, if that is finite, deltas and gradients."""
    work, n = engine.work, len(engine.work.plan.layers)
    outputs = [Operation("activation", k + 1) for k in range(n)]
    loss, deltas = Operation("loss", n), [Operation("delta", k + 1) for k in range(n)]
    failed = False
    for start, rows in _sub_batches(engine):
        failed = failed or work.job.status != STATUS.OK
        loss.add(work.losses[:rows, None], start)
        for k, layer in enumerate(work.plan.layers):
            outputs[k].add(_outputs(engine, k, rows), start)
            if not failed:
                deltas[k].add(work.deltas[k][:rows, : layer.n_out], start)
    if failed:
        return outputs, [loss]
    return outputs, [loss, *deltas[::-1], *_of_weights("gradient", engine, work.gradient)]


def _of_weights(kind: str, engine: Engine, arena: Array) -> list[Operation]:
    """One operation for each block's part of an arena."""
    operations, state = [], engine.state
    for block, matrix in zip(state.plan.blocks, state.matrices(arena), strict=True):
        operation = Operation(kind, block.layer + 1, symbol=_symbol(block, matrix))
        operation.add(matrix)
        operation.rows = []
        operations.append(operation)
    return operations


def _symbol(block: ParameterBlock, matrix: Array) -> str:
    """What the first part is called in which a value is not finite, or the first of all."""
    first = 0
    for part in block.parts:
        if not np.isfinite(matrix[first : first + part.rows]).all():
            return block.symbol_of(part)
        first += part.rows
    return block.symbol_of(block.parts[0])


def _updates(update: Update) -> list[Operation]:
    """What the optimizer makes of the gradient: its vectors, then the weights."""
    engine = update.engine(updates=True)
    for _ in _sub_batches(engine):
        pass
    state, names = engine.state, [name for name, _ in update.train.optimizer.slots]
    operations = [_of_weights(n, engine, slot) for n, slot in zip(names, state.slots, strict=True)]
    operations.append(_of_weights("update", engine, state.theta))
    return [one for layer in zip(*operations, strict=True) for one in layer]
