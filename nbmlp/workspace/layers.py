"""What the tables say of each layer and each block of parameters: fields, and pieces by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbmlp import tuning
from nbmlp.kernels.records import STATUS
from nbmlp.plan import ParameterBlock, Role
from nbmlp.plan.strategy import Kind, Stage
from nbmlp.spec import ModelSpec
from nbmlp.state import State, address
from nbmlp.workspace.buffers import Buffers

__all__ = ["STAGES", "Places", "describe", "describe_parameters"]

#: Fields of a record, and names of the pieces that other fields call.
Record = tuple[dict[str, Any], dict[str, str]]


class Places:
    """Where everything lies."""

    def __init__(self, spec: ModelSpec, state: State, buffers: Buffers) -> None:
        self.spec, self.state, self.buffers = spec, state, buffers
        self.plan, self.strategy = buffers.strategy.plan, buffers.strategy
        self.training, element = self.strategy.training, self.plan.element
        #: Bytes of one element of the masters, and of what products read.
        self.size, self.stored = element.compute_bytes, element.storage_bytes
        self.last = len(self.plan.layers) - 1
        self.theta, self.transposed = address(state.theta), address(buffers.transposed)
        #: Bytes between the threads' copies of the inputs.
        self.own = buffers.rows * self.plan.x_row * self.stored if self.strategy.columns else 0

    def inputs(self) -> dict[str, Any]:
        """The net's inputs, as an output."""
        plan, n = self.plan, self.spec.n_inputs
        return {
            "a": address(self.buffers.x), "a_row": plan.x_row * self.stored, "own": self.own,
            "n": n, "panels": plan.layers[0].panels_in, "one": plan.x_one,
        }  # fmt: skip

    def output(self, k: int) -> dict[str, Any]:
        """Output of a layer of the plan, with its delta."""
        layer = self.plan.layers[k]
        found = {
            "a": address(self.buffers.activations[k]), "a_row": layer.a_row * self.stored,
            "n": layer.n_out, "panels": layer.panels_out, "one": layer.one,
        }  # fmt: skip
        return found | self.delta(k, "dz")

    def delta(self, k: int, name: str) -> dict[str, Any]:
        """Delta of a layer of the plan, if there is one."""
        if not self.training and k < self.last:
            return {}
        delta = self.buffers.deltas[k if self.training else -1]
        return {name: address(delta), f"{name}_row": self.plan.layers[k].dz_row * self.stored}

    def below(self, k: int) -> dict[str, Any]:
        """Output of the layer below as an input, with its delta."""
        layer = self.plan.layers[k - 1]
        return self.delta(k - 1, "dx") | {
            "x": address(self.buffers.activations[k - 1]), "x_row": layer.a_row * self.stored,
            "back_panels": layer.panels_out,
        }  # fmt: skip

    def embedded(self) -> dict[str, Any]:
        """Delta of the inputs from the first on that are embedded, if there are any."""
        kind = self.plan.embedding
        if kind is None or not self.training:
            return {}
        return {
            "dx": address(self.buffers.embedded), "dx_row": kind.row * self.stored,
            "back_panels": self.plan.layers[0].panels_in - kind.low,
        }  # fmt: skip

    def learned(self, role: Role) -> dict[str, Any]:
        """Parameters of an embedding; factors and deltas of what it puts out."""
        plan, size, kind = self.plan, self.size, self.plan.embedding
        block, scale = plan.blocks[plan.block_of(role, -1)], plan.block_of(Role.SCALE, 0)
        fields = {
            "w": self.theta + block.offset * size, "w_row": block.row * size,
            "factors": address(self.buffers.ones),
        }  # fmt: skip
        if scale >= 0:
            fields["factors"] = self.theta + plan.blocks[scale].offset * size
        if self.training and kind:  # counted from the first input, of which there is none
            fields["dz"] = address(self.buffers.embedded) - kind.low * tuning.PANEL_BYTES
            fields["dz_row"] = kind.row * self.stored
        return fields

    def vectors(self, k: int, role: Role) -> dict[str, Any]:
        """A layer's vectors of parameters, and room for the terms of their gradients."""
        block = self.plan.blocks[self.plan.block_of(role, k)]
        fields = {"w": self.theta + block.offset * self.size, "w_row": block.row * self.size}
        room, a_row = self.buffers.terms[k].get(role), self.plan.layers[k].a_row
        if room is not None:
            own = self.buffers.rows * a_row * self.stored
            one = address(self.buffers.one)
            fields |= {"room": address(room), "room_own": own, "x": one}
        return fields


def _inputs(net: Places, stage: Stage) -> Record:
    return net.inputs() | {"status": STATUS.BAD_INPUT}, {}  # its piece comes with the rows


def _product(net: Places, stage: Stage) -> Record:
    k, c, size, stored = stage.layer, stage.part, net.size, net.stored
    layer, own = net.plan.layers[k], net.strategy.layers[k]
    panel = tuning.PANEL_BYTES // size
    start = c * layer.panels_in // own.parts
    end, whole = (c + 1) * layer.panels_in // own.parts, c == own.parts - 1
    n_in = (layer.n_in if whole else end * panel) - start * panel
    fields = net.output(k) | {
        "n_in": n_in, "depth": n_in + (layer.depth - layer.n_in if whole else 0),
        "w": net.theta + (layer.offset + start * panel * layer.row) * size,
        "back_beta": 1.0 if net.spec.skips[k] else 0.0,
        "w_row": layer.row * size, "beta": 1.0 if c and not own.spread else 0.0, "turn": c,
        "status": STATUS.BAD_INPUT,
    }  # fmt: skip
    if own.spread:
        part = net.buffers.rows * tuning.PANEL_BYTES
        a = address(net.buffers.parts) + c * part
        fields |= {"a": a, "a_row": tuning.PANEL_BYTES}
    if k == 0:
        fields |= {
            "x": address(net.buffers.x), "x_row": net.plan.x_row * stored, "own": net.own,
            "copy_row": net.plan.x_row * stored, "copy_one": net.plan.x_one,
        }  # fmt: skip
        fields |= net.embedded()
        if net.plan.scaled_copy:
            fields["w"] += address(net.buffers.scaled) - net.theta - layer.offset * size
    else:
        fields |= net.below(k)
    fields["x"] += start * panel * stored
    # What multiplies rows of data depends on how these are read.
    pieces = {"forward": f"{own.product}.forward"} if k or c else {}
    if net.training and layer.transposed_row:
        wt = layer.transposed_offset + start * panel
        if k == 0 and net.plan.embedding:
            wt += net.plan.embedding.low * panel
        fields |= {
            "wt": net.transposed + wt * stored,
            "wt_row": layer.transposed_row * stored, "room": address(net.buffers.turned),
        }  # fmt: skip
        if c == 0:  # the way back through all parts is one product
            pieces["backward"] = "dense.backward"
    return fields, pieces


def _codes(net: Places, stage: Stage) -> Record:
    kind = net.plan.embedding
    assert kind is not None
    return net.inputs() | {
        "n": len(kind.counts), "added": kind.first * net.stored,
        "kept": kind.kept * net.stored, "starts": address(net.buffers.starts),
    }, {"forward": "codes.forward"}  # fmt: skip


def _embedding(net: Places, stage: Stage) -> Record:
    kind = net.plan.embedding
    assert kind is not None
    return net.inputs() | net.learned(Role.EMBEDDING) | {
        "n": kind.numbers, "n_in": kind.frequencies, "added": kind.first * net.stored,
    }, {"forward": f"pbld_{kind.outputs}.forward"}  # fmt: skip


def _tables(net: Places, stage: Stage) -> Record:
    kind = net.plan.embedding
    assert kind is not None
    return net.inputs() | net.learned(Role.TABLES) | {
        "n": len(kind.counts), "n_in": kind.width, "added": kind.first_code * net.stored,
        "kept": kind.kept * net.stored,
    }, {"forward": "tables.forward"}  # fmt: skip


def _parts(net: Places, stage: Stage) -> Record:
    fields = net.output(stage.layer) | {
        "x": address(net.buffers.parts), "x_row": tuning.PANEL_BYTES,
        "own": net.buffers.rows * tuning.PANEL_BYTES,
    }  # fmt: skip
    return fields, {"forward": "parts.forward"}


def _activation(net: Places, stage: Stage) -> Record:
    k, function = stage.layer, net.spec.functions[stage.layer]
    fields = net.output(k) | {
        "saved": address(net.buffers.saved[k]), "act": function.parameter,
        "back_panels": net.plan.layers[k].panels_out,
    }  # fmt: skip
    pieces = {"forward": "activation.forward", "activate": f"{function.name}.forward"}
    if net.training and k < net.last:
        pieces |= {"backward": "activation.backward", "derive": f"{function.name}.backward"}
    return fields, pieces


def _parametric(net: Places, stage: Stage) -> Record:
    k, function = stage.layer, net.spec.functions[stage.layer]
    fields = net.output(k) | net.vectors(k, Role.PARAMETRIC) | {
        "saved": address(net.buffers.saved[k]), "act": function.parameter,
        "back_panels": net.plan.layers[k].panels_out,
    }  # fmt: skip
    pieces = {"forward": f"{function.name}.parametric_forward"}
    if net.training:
        pieces["backward"] = f"{function.name}.parametric_backward"
    return fields, pieces


def _norm(net: Places, stage: Stage) -> Record:
    k = stage.layer
    fields = net.output(k) | net.vectors(k, Role.NORM)
    fields["back_panels"] = net.plan.layers[k].panels_out
    pieces = {"forward": "norm.forward"}
    if net.training:
        pieces["backward"] = "norm.backward"
    return fields, pieces


def _residual(net: Places, stage: Stage) -> Record:
    k = stage.layer
    fields, pieces = net.below(k) | net.output(k), {"forward": "residual.forward"}
    if net.training:
        pieces["backward"] = "residual.backward"
        if net.plan.layers[k].copies and not net.spec.dropout[k]:  # else it was copied there
            fields["saved"] = address(net.buffers.saved[k])
    return fields, pieces


def _dropout(net: Places, stage: Stage) -> Record:
    k = stage.layer
    fields: dict[str, Any] = {"stream": k + 1, "keep": 1.0, "factor": 1.0}
    pieces = {"forward": "dropout.forward"}
    if k < 0:
        return fields | net.inputs(), pieces
    fields |= net.output(k) | {"back_panels": net.plan.layers[k].panels_out}
    if net.training:
        pieces["backward"] = "dropout.backward"
        if net.plan.layers[k].copies:
            fields["saved"] = address(net.buffers.saved[k])
    return fields, pieces


def _loss(net: Places, stage: Stage) -> Record:
    k, function = stage.layer, net.spec.functions[stage.layer]
    fields = net.output(k) | {"status": STATUS.BAD_OUTPUT}
    pieces = {"forward": "loss.forward"}
    if net.training and not net.plan.fused_output:
        fields |= {"saved": address(net.buffers.saved[k]), "act": function.parameter}
        pieces["derive"] = f"{function.name}.backward"
    return fields, pieces


_KINDS: dict[Kind, Callable[[Places, Stage], Record]] = {
    Kind.INPUTS: _inputs, Kind.PRODUCT: _product, Kind.PARTS: _parts,
    Kind.CODES: _codes, Kind.EMBEDDING: _embedding, Kind.TABLES: _tables,
    Kind.NORM: _norm, Kind.ACTIVATION: _activation, Kind.PARAMETRIC: _parametric,
    Kind.DROPOUT: _dropout, Kind.RESIDUAL: _residual, Kind.LOSS: _loss,
}  # fmt: skip
#: Which layer of the tables a block of parameters belongs to.
STAGES = {
    Role.PRODUCT: Kind.PRODUCT, Role.SCALE: Kind.PRODUCT, Role.NORM: Kind.NORM,
    Role.PARAMETRIC: Kind.PARAMETRIC, Role.EMBEDDING: Kind.EMBEDDING, Role.TABLES: Kind.TABLES,
}  # fmt: skip


def describe(net: Places, stage: Stage) -> Record:
    """Fields and pieces of one layer of the tables."""
    fields, pieces = _KINDS[stage.kind](net, stage)
    cuts = {
        "cut": int(stage.cut), "back_cut": int(stage.back_cut), "barrier": stage.barrier,
        "back_barrier": stage.back_barrier,
    }  # fmt: skip
    return fields | cuts, pieces


def describe_parameters(net: Places, k: int) -> Record:
    """Fields and pieces of the plan's block k of parameters, but for addresses of other records."""
    size, block, blocks = net.size, net.plan.blocks[k], net.strategy.blocks[k]
    panel = tuning.PANEL_BYTES // size
    fields = {
        "w": net.theta + block.offset * size, "row": block.row * size,
        "slots": address(net.state.slots) + block.offset * size,
        "g": address(net.buffers.gradient) + block.offset * size,
        "rows": block.rows, "weights": block.weights, "panels": -(-block.columns // panel),
        "rate": block.rate, "decay": block.decay, "clip": block.clip,
        "block_rows": blocks.rows, "blocks": blocks.count, "first_block": blocks.first,
        "group": blocks.group, "share": int(blocks.share),
        "first_own": 0, "end_own": blocks.count,
    }  # fmt: skip
    if block.role is Role.PRODUCT:
        return _describe_weights(net, block, fields)
    if block.role is Role.SCALE:
        return fields, {}
    outputs = net.plan.embedding.outputs if net.plan.embedding else 0
    own = {Role.EMBEDDING: f"pbld_{outputs}.gradient", Role.TABLES: "tables.gradient"}
    fields["apart"] = block.role is Role.TABLES
    return fields, {"gradient": own.get(block.role, "sums.gradient")}


def _describe_weights(net: Places, block: ParameterBlock, fields: dict[str, Any]) -> Record:
    layer = net.plan.layers[block.layer]
    pieces = {"gradient": f"{net.strategy.layers[block.layer].product}.gradient"}
    if layer.transposed_row:
        fields |= {
            "wt": net.transposed + layer.transposed_offset * net.stored,
            "wt_row": layer.transposed_row * net.stored,
        }  # fmt: skip
    if block.layer == 0 and net.plan.scaled_copy:
        fields["copy"] = address(net.buffers.scaled)
        pieces |= {"complete": "scale.complete", "refresh": "scale.refresh"}
    return fields, pieces
