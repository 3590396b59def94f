"""The tables that steer a step, over buffers that may be discarded.

Sized once from a plan, allocated once, handed out as addresses. No step allocates anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.kernels.pieces import in_order, piece_address
from nbmlp.kernels.run import Task
from nbmlp.plan import Strategy
from nbmlp.plan.strategy import Kind, Reading, choose_reading
from nbmlp.spec import ModelSpec
from nbmlp.state import State
from nbmlp.workspace.buffers import Buffers
from nbmlp.workspace.layers import Places, describe, describe_parameters
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
        self.rows, self.sync = buffers.rows, buffers.sync
        #: Output and delta of each layer for the rows at hand (rows, stride).
        self.activations, self.deltas = buffers.activations, buffers.deltas
        self.row_weights, self.losses = buffers.row_weights, buffers.losses
        self.gradient, self.transposed = buffers.gradient, buffers.transposed
        self.lengths = buffers.lengths
        self.norms, self.block_norms = buffers.norms, buffers.block_norms
        #: Kind, thinness and scale of the rows that are read, and how.
        self._reads: tuple[np.dtype[Any] | str, bool, float] | None = None
        self.reading: Reading | None = None
        self._job = Table(records.JOB, 1)
        self._fields = self._job.fields()  # at once: a prediction may take 7 us in all
        self._layers = Table(records.LAYER, len(strategy.stages))
        self._parameters = Table(records.PARAMETER, len(self.plan.blocks))
        self.job, self.layers = self._job.records, self._layers.records
        self.parameters = self._parameters.records
        #: Arguments of the piece that renews a transposed copy, for each that there is.
        self.transposes: list[tuple[float, ...]] = []
        #: Of the optimizer's rule, in its order.
        self.settings = np.zeros(0)
        self.task = Task(self.job, self.sync, self._job.address)
        self._bind_job()
        self._bind_layers()

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, the gradient and the transposed copies included."""
        return self.buffers.nbytes

    # -- tables

    def _bind_job(self) -> None:
        plan, spec, buffers = self.plan, self.spec, self.buffers
        size, stored = self.element.compute_bytes, self.element.storage_bytes
        loss = spec.loss_function
        self.set(
            layers=self._layers.address, n_layers=len(self.layers),
            parameters=self._parameters.address, n_parameters=len(self.parameters),
            thread_records=buffers.thread_records.ctypes.data, size=size,
            panel=tuning.PANEL_BYTES // size,
            n_outputs=spec.n_outputs, n_targets=spec.n_outputs,
            sub_batch=plan.sub_batch, row_block=plan.row_block, columns=self.strategy.columns,
            target=buffers.target.ctypes.data, target_row=plan.target_row * size,
            weights=self.row_weights.ctypes.data, values=self.losses.ctypes.data,
            norms=self.norms.ctypes.data, n_blocks=self.strategy.n_blocks,
            block_norms=self.block_norms.ctypes.data, scratch=buffers.scratch.ctypes.data,
            a=self.activations[-1].ctypes.data, a_row=plan.layers[-1].a_row * stored,
            sync=self.sync.ctypes.data, loss_parameter=loss.parameter, y_scale=1.0, x_scale=1.0,
        )  # fmt: skip
        self.bind(gemm="gemm", loss=f"{loss.name}.loss")
        if spec.label_smoothing:
            scale, shift = spec.smoothing
            self.set(y_scale=scale, y_shift=shift)

    def _bind_layers(self) -> None:
        net = Places(self.spec, self.state, self.buffers)
        for i, stage in enumerate(self.strategy.stages):
            if stage.kind is Kind.DROPOUT:
                self.bind(dropout="dropout")
            fields, pieces = describe(net, stage)
            self.set_layer(i, **fields)
            self.bind_in_layer(i, **pieces)
        if not self.training:
            return
        for k, block in enumerate(self.plan.blocks):
            fields, pieces = describe_parameters(net, k)
            at = self._layers.address_of(self._product(block.layer))
            self.set_parameters(k, **fields, layer=at, **self._addresses(pieces))
            if "wt" in fields:
                same = {name: fields[name] for name in ("w", "wt", "wt_row", "panels")}
                rows, row = fields["weights"], fields["row"]
                copy = in_order("transpose", first=0, rows=rows, w_row=row, **same)
                self.transposes.append(copy)

    def _product(self, k: int) -> int:
        """Which layer of the tables is the (first) product of the plan's layer k."""
        kinds = [(stage.kind, stage.layer) for stage in self.strategy.stages]
        return kinds.index((Kind.PRODUCT, k))

    # -- rows of data

    def bind_inputs(self, kind: np.dtype[Any] | str, thin: bool, scale: float) -> None:
        """How rows are read: sparse and `thin` ones, and dense ones that need no change, in place.

        Others are written out times `scale`.
        """
        if self._reads == (kind, thin, scale):  # as in the last prediction: it may take 7 us in all
            return
        dtype = kind.name if isinstance(kind, np.dtype) else None
        reading = choose_reading(self.strategy, self.spec, dtype, thin, scale)
        self.bind(inputs=f"{kind}.at" if reading is Reading.THIN else f"inputs.{dtype or kind}")
        if isinstance(kind, np.dtype):
            self.set(x_bytes=self.spec.n_inputs * kind.itemsize)
        self._bind_first(reading, str(kind))
        self._reads, self.reading = (kind, thin, scale), reading

    def _bind_first(self, reading: Reading, kind: str) -> None:
        """Inputs and the product over them."""
        product, name = self._product(0), "dense"
        room = {"room": 0, "room_own": 0}
        if reading is Reading.THIN:
            name = kind
            if self.training:
                length = self.buffers.need_blocks() * self.element.compute_bytes
                room = {"room": self.buffers.blocks.ctypes.data, "room_own": length}
        by_address = reading in (Reading.BY_ADDRESS, Reading.IN_PLACE)
        if by_address:
            length = self.buffers.need_places() * 8
            room = {"room": self.buffers.places.ctypes.data, "room_own": length}
        in_place = reading is Reading.IN_PLACE
        own = "by_address.point" if in_place else "by_address.write"
        self.set_layer(0, **room)
        self.bind_in_layer(0, forward=own if by_address else "inputs.forward")
        copied = self.buffers.x.ctypes.data if in_place and self.training else 0
        self.set_layer(product, **room, ahead=tuning.ADDRESSED_ROWS if in_place else 0, copy=copied)
        self.bind_in_layer(product, forward=f"{'by_address' if by_address else name}.forward")
        if self.training:
            self.set_parameters(0, **self._addresses({"gradient": f"{name}.gradient"}))

    # -- what is set from outside

    @property
    def dropouts(self) -> Iterator[tuple[int, float]]:
        """Layers of the tables that drop units or inputs, and the share that they drop."""
        for i, stage in enumerate(self.strategy.stages):
            if stage.kind is Kind.DROPOUT:
                drop = self.spec.dropout[stage.layer] if stage.layer >= 0 else None
                yield i, self.spec.input_dropout if drop is None else drop

    def bare_products(self, k: int) -> NDArray[Any]:
        """Let the plan's layer k put out z; returns the table as it was."""
        before = self.layers.copy()
        for i, stage in enumerate(self.strategy.stages):
            if stage.layer == k and stage.kind is Kind.DROPOUT:
                self.set_layer(i, keep=1.0, factor=1.0)
            if stage.layer == k and stage.kind is Kind.ACTIVATION:
                self.bind_in_layer(i, activate="identity.forward")
        return before

    def _addresses(self, pieces: dict[str, str]) -> dict[str, int]:
        """Addresses of pieces for these elements, each of the family that its field asks for."""
        return {
            field: piece_address(name, self.element, records.PIECES[field])
            for field, name in pieces.items()
        }

    def bind(self, **pieces: str) -> None:
        """Let fields of the job call the pieces that are named."""
        self.set(**self._addresses(pieces))

    def bind_in_layer(self, i: int, **pieces: str) -> None:
        """Let fields of one layer of the tables call the pieces that are named."""
        self.set_layer(i, **self._addresses(pieces))

    def set(self, **fields: Any) -> None:
        """Set fields of the job record."""
        places = self._fields
        for name, value in fields.items():
            view, at = places[name]
            view[at] = value

    def set_layer(self, i: int, **fields: Any) -> None:
        """Set fields of one layer of the tables."""
        self._layers.set(i, fields)

    def set_parameters(self, k: int, **fields: Any) -> None:
        """Set fields of one block of parameters."""
        self._parameters.set(k, fields)

    def __getitem__(self, name: str) -> Any:
        view, at = self._fields[name]
        return view[at]
