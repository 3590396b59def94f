"""The memory of one plan: activations, deltas, gradients, scratch. No step allocates anything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.plan import Role, Strategy
from nbmlp.plan.strategy import Product
from nbmlp.state import aligned

__all__ = ["Buffers"]


class Buffers:
    """All arrays, sized once and allocated once.

    Parameters
    ----------
    strategy : Strategy

    Attributes
    ----------
    rows : int
        Of the sub-batch; of a prediction, a block for each thread.
    x : ndarray
        Inputs (copies, rows, stride): one copy, or one for each thread.
    activations, saved, deltas : list of ndarray (rows, stride)
        Output of each layer for the rows at hand, what its derivative reads, and its delta; of a
        prediction only the last layer's delta.
    terms : list of dict of Role to ndarray
        Of each layer: terms of the gradients of its norm (two of rows, and a value of each row) and
        of its activation, if they have parameters.
    scaled : ndarray
        Copy of the first weights, times the factors of the inputs.
    embedded : ndarray
        Delta of the inputs, from the panel on that has the first of what embeddings add.
    gradients : ndarray
        All arenas of gradients, the first of which is `gradient`; several where there are shards.
    shard_sums : ndarray (shards, 2)
        Losses and weights of the batch's rows, summed by shards.
    """

    def __init__(self, strategy: Strategy) -> None:
        plan, training, threads = strategy.plan, strategy.training, strategy.threads
        self.strategy, self.element = strategy, plan.element
        # Prediction: each thread has its own block of rows; training: the sub-batch's rows.
        self.rows = plan.sub_batch if training else threads * plan.row_block
        self._kept: list[NDArray[Any]] = []
        self.x = self.new((threads if strategy.columns else 1) * self.rows * plan.x_row)
        self.target = self.masters(self.rows * plan.target_row)
        #: Weight, and weighted loss, of the rows at hand.
        self.row_weights, self.losses = (self.new(self.rows, np.float64) for _ in range(2))
        self.activations: list[NDArray[Any]] = []
        self.saved: list[NDArray[Any]] = []
        self.deltas: list[NDArray[Any]] = []
        for k, layer in enumerate(plan.layers):
            a = self._rows_of(layer.a_row)
            self.activations.append(a)
            # A prediction has no use for z: a piece that keeps it may do so over a.
            own = training and (layer.needs_z or layer.copies)
            self.saved.append(self._rows_of(layer.a_row) if own else a)
            if training or k == len(plan.layers) - 1:  # a loss writes the last delta
                self.deltas.append(self._rows_of(layer.dz_row))
        self.terms = [self._terms_of(k) for k in range(len(plan.layers))]
        first, embedding = plan.layers[0], plan.embedding
        # One row more: whole vectors of it are read, the last of which may end behind it.
        self.embedded = self.new((self.rows + 1) * embedding.row if embedding and training else 0)
        #: The first row of each table of codes, and the end of the last.
        self.starts = self.new(len(embedding.starts) if embedding else 0, np.int64)
        self.starts[:] = embedding.starts if embedding else 0
        #: Factors of inputs that have none.
        self.ones = self.new(plan.x_row if embedding else 0)
        self.ones[:] = 1
        self.scaled = self.new(first.depth * first.row if plan.scaled_copy else 0)
        #: Of which products with a row of ones are made.
        self.one = self.new(1)
        self.one[:] = 1
        gradient = plan.n_parameters if training else 0
        self.gradients = self.masters(strategy.shards.arenas * gradient)
        self.gradient = self.gradients[:gradient]
        self._divide(strategy.shards.count if training and strategy.shards.count > 1 else 0)
        self.transposed = self.new(plan.n_transposed if training else 0)
        self.scratch = self.masters(threads * 32)
        self.sync = self.new(records.SYNC_WORDS, np.int64)
        self.thread_records = self.new(threads * records.THREAD.itemsize // 8, np.int64)
        self.norms = self.new(strategy.n_blocks, np.float64)
        self.block_norms = self.new(len(plan.blocks), np.float64)
        #: Squares of the weights of an update block, and of their direction (blocks, 2).
        self.lengths = self.new(2 * strategy.n_blocks if training else 0, np.float64)
        own_layer, below = strategy.layers[-1], len(plan.layers) - 2
        #: Products of each part of the last layer's inputs (parts, rows, panel).
        self.parts = self.masters(
            own_layer.parts * self.rows * tuning.PANEL_BYTES // plan.element.compute_bytes
            if own_layer.spread else 0
        )  # fmt: skip
        #: Rows of a narrow gradient before they are turned.
        self.turned = self.masters(
            plan.layers[-1].n_out * plan.layers[below].a_row
            if own_layer.product is Product.NARROW else 0
        )  # fmt: skip
        #: A list of rows for each thread; a block of the first layer's gradient for each.
        self.places = self.blocks = self.new(0)

    def _divide(self, shards: int) -> None:
        self.shard_sums = self.new(2 * shards, np.float64).reshape(shards, 2)
        #: Of each thread, where each shard's rows begin in the batch, and where the last end.
        self.shard_places = self.new(self.strategy.threads * (shards + 1), np.int64)

    def new(self, length: int, dtype: Any = None) -> NDArray[Any]:
        """Zeros of so many elements, aligned; of the type that is stored if none is given."""
        array = aligned(length, self.element.storage if dtype is None else dtype)
        self._kept.append(array)
        return array

    def masters(self, length: int) -> NDArray[Any]:
        """Zeros of the type that parameters have, and what is made of them alone."""
        return self.new(length, self.element.compute)

    def _terms_of(self, k: int) -> dict[Role, NDArray[Any]]:
        """Room of layer k for each of its roles that has vectors; a prediction's norm takes one."""
        plan, rows = self.strategy.plan, self.rows
        size, found = rows * plan.layers[k].a_row, {}
        if plan.block_of(Role.NORM, k) >= 0:
            found[Role.NORM] = self.new(2 * size + rows)
        if self.strategy.training and plan.block_of(Role.PARAMETRIC, k) >= 0:
            found[Role.PARAMETRIC] = self.new(size)
        return found

    def _rows_of(self, stride: int) -> NDArray[Any]:
        return self.new(self.rows * stride).reshape(self.rows, stride)

    def need_places(self) -> int:
        """Make room for lists of rows, if there is none; entries of each thread's."""
        strategy = self.strategy
        most = self.rows if strategy.columns else min(self.rows, strategy.plan.row_block)
        room = 2 * (most + tuning.ADDRESSED_ROWS)
        if not len(self.places):
            self.places = self.new(strategy.threads * room, np.int64)
        return room

    def need_blocks(self) -> int:
        """Make room for blocks of a gradient, if there is none; elements of each thread's."""
        first = self.strategy.blocks[self.strategy.plan.block_of(Role.PRODUCT, 0)]
        length = first.group * first.rows * self.strategy.plan.layers[0].row
        if not len(self.blocks):
            self.blocks = self.masters(self.strategy.threads * length)
        return length

    @property
    def nbytes(self) -> int:
        """Bytes of all, the gradient and the transposed copies included."""
        return sum(a.nbytes for a in self._kept)
