"""The tables that steer a step, over buffers that may be discarded.

Sized once from a plan, allocated once, handed out as addresses. No step allocates anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.kernels.pieces import in_order, piece_function
from nbmlp.plan import Role, Strategy
from nbmlp.plan.strategy import Kind, Reading, choose_reading
from nbmlp.spec import ModelSpec
from nbmlp.state import State, address
from nbmlp.workspace.buffers import Buffers
from nbmlp.workspace.job import Job
from nbmlp.workspace.layers import STAGES, Places, describe, describe_parameters
from nbmlp.workspace.table import Table

__all__ = ["Workspace"]


class Workspace:
    """Buffers of one plan, and the records over them.

    Parameters
    ----------
    spec : ModelSpec
    state : State
        Whose parameters the job reads (and, when training, updates).
    strategy : Strategy
    """

    def __init__(self, spec: ModelSpec, state: State, strategy: Strategy) -> None:
        self.plan, self.spec, self.state, self.strategy = strategy.plan, spec, state, strategy
        self.threads, self.training = strategy.threads, strategy.training
        self.element = self.plan.element
        self.buffers = buffers = Buffers(strategy)
        self.rows = buffers.rows
        #: Output and delta of each layer for the rows at hand (rows, stride).
        self.activations, self.deltas = buffers.activations, buffers.deltas
        self.row_weights, self.losses = buffers.row_weights, buffers.losses
        self.gradient, self.transposed = buffers.gradient, buffers.transposed
        self.lengths = buffers.lengths
        self.norms, self.block_norms = buffers.norms, buffers.block_norms
        #: Kind, thinness and scale of the rows that are read, and how.
        self._reads: tuple[np.dtype[Any] | str, bool, float] | None = None
        self.reading: Reading | None = None
        self._layers = Table(records.LAYER, len(strategy.stages), self.element)
        self._parameters = Table(records.PARAMETER, len(self.plan.blocks), self.element)
        self.layers, self.parameters = self._layers.records, self._parameters.records
        #: What renews copies of the weights: a compiled piece and its arguments, of each.
        self._copies: list[tuple[Callable[..., int], tuple[float, ...]]] = []
        #: What nobody else keeps.
        self._runs: list[NDArray[np.float64]] = []
        self.job = Job(spec, strategy, buffers, self._layers, self._parameters)
        self._describe()

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, the gradient and the transposed copies included."""
        return self.buffers.nbytes

    # -- tables

    def _describe(self) -> None:
        net = Places(self.spec, self.state, self.buffers)
        for i, stage in enumerate(self.strategy.stages):
            fields, pieces = describe(net, stage)
            self._layers.set(i, **fields)
            self._layers.bind(i, **pieces)
        for k in range(len(self.plan.blocks) if self.training or self.plan.scaled_copy else 0):
            self._describe_parameters(net, k)

    def _describe_parameters(self, net: Places, k: int) -> None:
        block = self.plan.blocks[k]
        fields, pieces = describe_parameters(net, k)
        other = self.plan.block_of(Role.SCALE, block.layer)
        if other >= 0 and block.role is Role.PRODUCT:
            fields["other"] = self._parameters.address_of(other)
            self.job.finish_gradients()
        if "refresh" in pieces:
            own = self._parameters.address_of(k)
            rows = in_order(pieces["refresh"], job=0, own=own, first=0, rows=block.rows)
            self._copies.append((piece_function(pieces["refresh"], self.element), rows))
        if self.training and "wt" in fields:
            same = {name: fields[name] for name in ("w", "wt", "wt_row", "panels")}
            rows = in_order(
                "transpose", first=0, rows=block.weights, w_row=fields["row"], **same
            )  # fmt: skip
            self._copies.append((piece_function("transpose", self.element), rows))
        at = self._layers.address_of(self._stage(STAGES[block.role], block.layer))
        self._parameters.set(k, **fields, layer=at)
        if self.training:
            self._parameters.bind(k, **pieces)

    def update_only(self, first: int, end: int, slots: NDArray[Any], start: int) -> None:
        """Update some of the blocks that a rule takes at once, counted over all parameters.

        slots (n_slots, parameters): of those parameters alone, from the one at `start` on.
        """
        for k, blocks in enumerate(self.strategy.blocks):
            low, high = (min(max(at - blocks.first, 0), blocks.count) for at in (first, end))
            before = (self.plan.blocks[k].offset - start) * slots.itemsize
            self._parameters.set(k, first_own=low, end_own=high, slots=address(slots) + before)
        self.job.stride_slots(slots.shape[1] * slots.itemsize)

    def refresh(self) -> None:
        """Renew all copies of the weights, after these were changed from outside."""
        for renew, arguments in self._copies:
            renew(*arguments)

    def _stage(self, kind: Kind, k: int) -> int:
        """Which layer of the tables is the (first) one of that kind of the plan's layer k."""
        kinds = [(stage.kind, stage.layer) for stage in self.strategy.stages]
        return kinds.index((kind, k))

    # -- rows of data

    def read_rows(self, kind: np.dtype[Any] | str, thin: bool, scale: float) -> None:
        """How rows are read: sparse and `thin` ones, and dense ones that need no change, in place.

        Others are written out times `scale`.
        """
        if self._reads == (kind, thin, scale):  # as in the last prediction: it may take 7 us in all
            return
        dtype = kind.name if isinstance(kind, np.dtype) else None
        reading = choose_reading(self.strategy, self.spec, dtype, thin, scale)
        piece = f"{kind}.at" if reading is Reading.THIN else f"inputs.{kind}"
        nbytes = self.spec.n_inputs * kind.itemsize if isinstance(kind, np.dtype) else 0
        self.job.read_by(piece, nbytes, scale)
        self._read_first(reading, str(kind))
        self._reads, self.reading = (kind, thin, scale), reading

    def _read_first(self, reading: Reading, kind: str) -> None:
        """Inputs and the product over them."""
        product, name = self._stage(Kind.PRODUCT, 0), "dense"
        room = {"room": 0, "room_own": 0}
        if reading is Reading.THIN:
            name = kind
            if self.training:
                length = self.buffers.need_blocks() * self.element.compute_bytes
                room = {"room": address(self.buffers.blocks), "room_own": length}
        by_address = reading in (Reading.BY_ADDRESS, Reading.IN_PLACE)
        if by_address:
            length = self.buffers.need_places() * 8
            room = {"room": address(self.buffers.places), "room_own": length}
        in_place = reading is Reading.IN_PLACE
        own = "by_address.point" if in_place else "by_address.write"
        self._layers.set(0, **room)
        self._layers.bind(0, forward=own if by_address else "inputs.forward")
        copied = address(self.buffers.x) if in_place and self.training else 0
        ahead = tuning.ADDRESSED_ROWS if in_place else 0
        self._layers.set(product, **room, ahead=ahead, copy=copied)
        self._layers.bind(product, forward=f"{'by_address' if by_address else name}.forward")
        if self.training:
            weights = self.plan.block_of(Role.PRODUCT, 0)
            self._parameters.bind(weights, gradient=f"{name}.gradient")

    # -- what is set from outside

    @property
    def dropouts(self) -> Iterator[tuple[int, float]]:
        """Layers of the tables that drop units or inputs, and the share that they drop."""
        for i, stage in enumerate(self.strategy.stages):
            if stage.kind is Kind.DROPOUT:
                drop = self.spec.dropout[stage.layer] if stage.layer >= 0 else None
                yield i, self.spec.input_dropout if drop is None else drop

    def keep(self, layer: int, share: float, factor: float) -> None:
        """Let one of `dropouts` keep a share of its units, times a factor."""
        self._layers.set(layer, keep=share, factor=factor)

    def pace_rows(self, k: int, runs: NDArray[np.float64]) -> None:
        """Factors on rate and decay of rows of the plan's block k of parameters.

        runs (runs, 4): the first row, the one behind the last, and both factors.
        """
        self._runs.append(runs)
        self._parameters.set(k, factors=address(runs), runs=len(runs))

    @contextmanager
    def bare_products(self, k: int) -> Iterator[None]:
        """Let the plan's layer k put out z meanwhile."""
        before = self.layers.copy()
        for i, stage in enumerate(self.strategy.stages):
            if stage.layer == k and stage.kind not in (Kind.PRODUCT, Kind.PARTS, Kind.LOSS):
                self._layers.bind(i, forward="bare.forward")
        try:
            yield
        finally:
            self.layers[:] = before
