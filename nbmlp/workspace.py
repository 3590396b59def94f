"""What may be discarded: activations, deltas, gradients, scratch; and the tables that point to it.

Sized once from a plan, allocated once, handed out as addresses. No step allocates anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.kernels.pieces import piece_address
from nbmlp.kernels.run import Task
from nbmlp.plan import LayerPlan, Plan
from nbmlp.spec import ModelSpec
from nbmlp.state import State, aligned

__all__ = ["Workspace"]


def _places(record: NDArray[Any]) -> dict[str, tuple[memoryview, int]]:
    """Where each field of a record (1,) lies, all of 8 bytes: a view of the memory, and an index.

    Writing there takes a tenth of the time that NumPy takes for a field of a structured array.
    """
    views = {kind: record.view(kind).data for kind in (np.int64, np.float64)}
    fields: Any = record.dtype.fields
    return {name: (views[kind.type], at // 8) for name, (kind, at, *_) in fields.items()}


class Workspace:
    """Buffers of one plan, and the job and layer records over them.

    Parameters
    ----------
    plan : Plan
    spec : ModelSpec
    state : State
        Whose parameters the job reads (and, when training, updates).
    threads : int
        Most threads that will run.
    training : bool
        With gradients and deltas; else forward only.
    columns : tuple of bool
        Layers that threads cut by columns; empty for steps cut by rows.
    """

    def __init__(
        self,
        plan: Plan,
        spec: ModelSpec,
        state: State,
        threads: int,
        training: bool,
        columns: tuple[bool, ...] = (),
    ) -> None:
        self.plan, self.spec, self.state = plan, spec, state
        self.threads, self.training, self.columns = threads, training, columns
        self.dtype = state.theta.dtype.type
        # Prediction: each thread has its own block of rows; training: the sub-batch's rows.
        self.rows = plan.sub_batch if training else threads * plan.row_block
        self._kept: list[NDArray[Any]] = []
        #: Kind, thinness and scale of the rows that are read.
        self._reads: tuple[np.dtype[Any] | str, bool, float] | None = None
        #: Output of each layer for the rows at hand, (rows, stride).
        self.activations: list[NDArray[Any]] = []
        #: Delta of each layer, likewise; of a prediction only the last layer's.
        self.deltas: list[NDArray[Any]] = []
        self.job = np.zeros(1, records.JOB)
        self._places = _places(self.job)
        self.layers = np.zeros(len(plan.layers), records.LAYER)
        self.sync = self._words(records.sync_words(threads))
        self.task = Task(self.job, self.sync, self.job.ctypes.data)
        self.gradient = self._new(plan.n_parameters if training else 0)
        self.transposed = self._new(plan.n_transposed if training else 0)
        self.norms = np.zeros(plan.n_blocks)
        #: Of the optimizer's rule, in its order.
        self.settings = np.zeros(0)
        self.layer_norms = np.zeros(len(plan.layers))
        self._bind_job()
        for k, layer in enumerate(plan.layers):
            self._bind_layer(k, layer)
        if columns and plan.layers[-1].chunks > 1:
            self._bind_chunks(plan.layers[-1].chunks)
        if training and plan.layers[-1].narrow:
            self._bind_narrow(plan.layers[-1])

    # -- memory

    def _new(self, length: int) -> NDArray[Any]:
        array = aligned(length, self.dtype)
        self._kept.append(array)
        return array

    def _words(self, length: int) -> NDArray[Any]:
        array = aligned(length, np.int64)
        self._kept.append(array)
        return array

    def _rows_of(self, stride: int) -> int:
        return int(self._new(self.rows * stride).ctypes.data)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, the gradient and the transposed copies included."""
        return sum(a.nbytes for a in self._kept) + self.norms.nbytes + self.layer_norms.nbytes

    # -- tables

    def _bind_job(self) -> None:
        plan, spec, size = self.plan, self.spec, self.plan.itemsize
        loss = spec.loss_function
        #: Weight, and weighted loss, of the rows at hand.
        self.row_weights, self.losses = (aligned(self.rows, np.float64) for _ in range(2))
        self._kept += [self.row_weights, self.losses]
        inputs = self._new(self.rows * plan.x_row * (self.threads if self.columns else 1))
        self.set(
            layers=self.layers.ctypes.data, n_layers=len(plan.layers), size=size,
            n_inputs=spec.n_inputs, n_outputs=spec.n_outputs, n_targets=spec.n_outputs,
            sub_batch=plan.sub_batch, row_block=plan.row_block,
            x_buffer=inputs.ctypes.data, x_buffer_row=plan.x_row * size, x_one=plan.x_one,
            columns=bool(self.columns),
            x_own=self.rows * plan.x_row * size if self.columns else 0,
            target=self._rows_of(plan.target_row), target_row=plan.target_row * size,
            weights=self.row_weights.ctypes.data, values=self.losses.ctypes.data,
            norms=self.norms.ctypes.data, n_blocks=plan.n_blocks,
            layer_norms=self.layer_norms.ctypes.data,
            scratch=self._new(self.threads * 32).ctypes.data, sync=self.sync.ctypes.data,
            fused_output=plan.fused_output, loss_parameter=loss.parameter,
            y_scale=1.0, x_scale=1.0,
        )  # fmt: skip
        self.bind(gemm="gemm", loss=f"{loss.name}.loss")
        if spec.label_smoothing:
            scale, shift = spec.smoothing
            self.set(y_scale=scale, y_shift=shift)

    def _bind_layer(self, k: int, plan: LayerPlan) -> None:
        size, state = self.plan.itemsize, self.state
        first, last = k == 0, k == len(self.plan.layers) - 1
        below = self.layers[k - 1]
        function = self.spec.functions[k]
        a = self._rows_of(plan.a_row)
        self.activations.append(self._kept[-1].reshape(self.rows, plan.a_row))
        own = self.training and (plan.needs_z or plan.copies)
        # Prediction has no use for z: a piece that keeps it may do so over a, which it reads first.
        saved = self._rows_of(plan.a_row) if own else a
        self.layers[k : k + 1] = 0
        self.set_layer(
            k, n_in=plan.n_in, n_out=plan.n_out, depth=plan.depth,
            panels_in=plan.panels_in, panels_out=plan.panels_out,
            w=state.theta.ctypes.data + plan.offset * size, w_row=plan.row * size,
            x=int(self.job["x_buffer"][0]) if first else int(below["a"]),
            x_row=self.plan.x_row * size if first else int(below["a_row"]),
            x_own=self["x_own"] if first else 0,
            columns=bool(self.columns) and self.columns[k],
            a=a, a_row=plan.a_row * size, saved=saved, one=plan.one, act=function.parameter,
            block_rows=plan.block_rows, blocks=plan.blocks, first_block=plan.first_block,
            group=plan.group, flat=plan.flat, chunks=plan.chunks,
            narrow=plan.narrow and self.training,
            keep=1.0, factor=1.0,
        )  # fmt: skip
        self.bind_in_layer(k, forward=f"{function.name}.forward")
        if self.training or last:  # a prediction with a loss writes the last delta
            self.set_layer(k, dz=self._rows_of(plan.row), dz_row=plan.row * size)
            self.deltas.append(self._kept[-1].reshape(self.rows, plan.row))
        if self.training:
            self.set_layer(k, g=self.gradient.ctypes.data + plan.offset * size)
            if not (last and self.plan.fused_output):
                self.bind_in_layer(k, backward=f"{function.name}.backward")
            if not first:
                start = self.transposed.ctypes.data + plan.transposed_offset * size
                self.set_layer(k, wt=start, wt_row=plan.transposed_row * size)

    def _bind_chunks(self, chunks: int) -> None:
        rows = self._new(chunks * self.rows * tuning.PANEL_BYTES // self.plan.itemsize)
        self.bind(sum_chunks="sum_chunks")
        self.set(partial=rows.ctypes.data, partial_own=self.rows * tuning.PANEL_BYTES)

    def _bind_narrow(self, plan: LayerPlan) -> None:
        row = int(self.layers["x_row"][-1])
        turned = self._new(plan.n_out * row // self.plan.itemsize)
        self.bind(narrow_forward="narrow_forward", turn="turn")
        self.set(turned=turned.ctypes.data, turned_row=row)

    def _bind_sparse(self, kind: str) -> None:
        """Read thin rows of a CSR matrix where they lie."""
        self.bind(inputs=f"{kind}.at", sparse_forward=f"{kind}.forward")
        if not self.training:
            return
        self.bind(sparse_gradient=f"{kind}.gradient")
        if not self["block"]:
            first = self.plan.layers[0]
            length = first.group * first.block_rows * first.row
            block = self._new(self.threads * length)
            self.set(block=block.ctypes.data, block_own=length * self.plan.itemsize)

    def _bind_listed(self, kind: np.dtype[Any], in_place: bool) -> None:
        """Let the first layer ask memory for the next rows, read where they lie or written out."""
        list_rows = piece_address("listed.places", np.float64, records.PIECES["list_rows"])
        self.bind(listed="listed.product")
        self.set(
            in_place=in_place, list_rows=list_rows, copy_listed=0,
            x_bytes=self.spec.n_inputs * kind.itemsize,
        )  # fmt: skip
        if in_place and self.training:
            self.bind(copy_listed="listed.copy")
        if not self["places"]:
            rows = self.rows if self.columns else min(self.rows, self.plan.row_block)
            room = 2 * (rows + tuning.LISTED_ROWS)
            places = self._words(self.threads * room)
            self.set(places=places.ctypes.data, places_own=room * 8)

    def bind_inputs(self, kind: np.dtype[Any] | str, thin: bool, scale: float) -> None:
        """How rows are read: sparse and `thin` ones, and dense ones that need no change, in place.

        Others are written out times `scale`.
        """
        if self._reads == (kind, thin, scale):  # as in the last prediction: it may take 7 us in all
            return
        first, changed = self.plan.layers[0], self.spec.input_dropout > 0
        self.set(listed=0, sparse_forward=0)
        long = first.chunks == 1 and first.panels_in >= tuning.LISTED_PANELS
        in_place = long and kind == self.dtype and scale == 1.0 and not changed
        if thin and first.chunks == 1 and not changed:
            self._bind_sparse(str(kind))
        elif long and isinstance(kind, np.dtype):
            self._bind_listed(kind, in_place)
        if not (in_place or self["sparse_forward"]):
            self.bind(inputs=f"inputs.{getattr(kind, 'name', kind)}")
        self._reads = kind, thin, scale

    def _addresses(self, pieces: dict[str, str]) -> dict[str, int]:
        """Addresses of pieces for this element type, each of the family that its field asks for."""
        return {
            field: piece_address(name, self.dtype, records.PIECES[field])
            for field, name in pieces.items()
        }

    def bind(self, **pieces: str) -> None:
        """Let fields of the job call the pieces that are named."""
        self.set(**self._addresses(pieces))

    def bind_in_layer(self, k: int, **pieces: str) -> None:
        """Let fields of one layer call the pieces that are named."""
        self.set_layer(k, **self._addresses(pieces))

    def set(self, **fields: Any) -> None:
        """Set fields of the job record."""
        places = self._places
        for name, value in fields.items():
            view, index = places[name]
            view[index] = value

    def set_layer(self, k: int, **fields: Any) -> None:
        """Set fields of one layer record."""
        for name, value in fields.items():
            self.layers[name][k] = value

    def __getitem__(self, name: str) -> Any:
        view, index = self._places[name]
        return view[index]
