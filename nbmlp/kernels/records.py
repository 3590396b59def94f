"""The tables that steer the fused epoch: one record per layer, one per job, both plain NumPy.

Addresses and strides are in bytes, counts in elements or rows. `plan` computes the integers,
`workspace` and `state` add the addresses, the kernel writes the fields under "out".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp.kernels import abi

__all__ = ["CLOSED", "FLAGS", "JOB", "LAYER", "LINE", "PIECES", "STATUS", "sync_words"]

#: int64 words of one cache line: every word that threads write has a line of its own.
LINE = 8
#: Bit of the join counter that says: too late.
CLOSED = 1 << 32
#: First word of the per-thread flags in the sync area (join, start and barrier come before).
FLAGS = 3 * LINE


def sync_words(threads: int) -> int:
    """Words of the sync area for so many threads."""
    return FLAGS + threads * LINE


class STATUS:
    """Why a region ended."""

    OK = 0
    BAD_INPUT = 1
    BAD_OUTPUT = 2


_i, _f = np.int64, np.float64

LAYER = np.dtype(
    [
        # shape
        ("n_in", _i), ("n_out", _i), ("depth", _i),  # depth = n_in + 1 with a bias
        ("panels_in", _i), ("panels_out", _i),
        # parameters: W (depth, n_out), the bias its last row
        ("w", _i), ("w_row", _i), ("g", _i), ("slots", _i),
        ("wt", _i), ("wt_row", _i),  # transposed copy (n_out, n_in), 0 for the first layer
        # activations of the sub-batch: input (rows, depth), output (rows, n_out)
        ("x", _i), ("x_row", _i), ("a", _i), ("a_row", _i),
        ("x_own", _i),  # bytes between the threads' copies of x, 0 where they share one
        ("saved", _i),  # what the derivative reads: a itself, z, or a before dropout
        ("dz", _i), ("dz_row", _i),
        ("narrow", _i),  # its few units are computed along the other axis
        ("chunks", _i),  # its products are summed over so many parts of its inputs
        ("flat", _i),  # its weights are always shared by panels
        ("columns", _i),  # in a step cut by columns: each thread has its own panels of this layer
        # functions
        ("forward", _i), ("backward", _i), ("act", _f),
        ("one", _i),  # column of a that the next layer's bias multiplies, or -1
        # dropout behind it: whether; whether it copies a to `saved`; share and factor of the kept
        ("drops", _i), ("copies", _i), ("keep", _f), ("factor", _f),
        # update blocks: rows of W that a rule takes at once; `group` of them are one product
        ("block_rows", _i), ("blocks", _i), ("first_block", _i), ("group", _i),
    ],
    align=True,
)  # fmt: skip

JOB = np.dtype(
    [
        ("layers", _i), ("n_layers", _i), ("size", _i),  # size: bytes of one element
        # data
        ("x", _i), ("x_row", _i), ("x_scale", _f), ("y", _i), ("y_row", _i),
        ("y_scale", _f), ("y_shift", _f), ("given", _i), ("order", _i), ("n_rows", _i),
        ("n_inputs", _i), ("n_outputs", _i), ("n_targets", _i),
        # cuts
        ("batch", _i), ("sub_batch", _i), ("row_block", _i), ("rows_limit", _i),
        # workspace of the sub-batch
        ("x_buffer", _i), ("x_buffer_row", _i), ("x_own", _i), ("x_one", _i),
        ("target", _i), ("target_row", _i), ("weights", _i), ("values", _i),
        ("norms", _i), ("n_blocks", _i), ("layer_norms", _i), ("scratch", _i),
        # pieces
        ("inputs", _i), ("targets", _i), ("gemm", _i), ("transpose", _i), ("loss", _i),
        # of a first layer over listed rows: its product, or 0; whether they lie in the data, and
        # the piece that copies them for a gradient, or 0; bytes of a row; each thread's list
        ("listed", _i), ("list_rows", _i), ("in_place", _i), ("copy_listed", _i), ("x_bytes", _i),
        ("places", _i), ("places_own", _i),
        # of outputs summed over chunks: the sums of each chunk, bytes from one to the next
        ("sum_chunks", _i), ("partial", _i), ("partial_own", _i),
        # of a narrow output layer: its pieces, and where its gradient lies before it is turned
        ("narrow_forward", _i), ("turn", _i), ("turned", _i), ("turned_row", _i),
        # of thin sparse rows: products of the first layer, or 0; a block of its gradient per thread
        ("sparse_forward", _i), ("sparse_gradient", _i), ("block", _i), ("block_own", _i),
        ("fused_output", _i), ("loss_parameter", _f), ("dropout", _i), ("rule", _i),
        ("penalise", _i), ("clip_values", _i), ("scale", _i), ("sum_squares", _i), ("max_norm", _i),
        # training
        ("plain", _i),  # gradient descent without anything added: one product updates W
        ("columns", _i),  # several threads cut a step by columns, not by rows
        ("mean", _i), ("l1", _f), ("l2", _f), ("decay", _f), ("clip_value", _f), ("clip_norm", _f),
        ("norm_bound", _f), ("want_norms", _i), ("rates", _i), ("first_step", _i),
        # l2 divided by the weight of each batch; sums of each batch of the epoch (updates, 3), or
        # 0; squares of W, block by block
        ("l2_shared", _i), ("batches", _i), ("squares", _i),
        ("beta1", _f), ("beta2", _f), ("settings", _i),  # the rule's own (optim.rule_settings)
        ("slot_stride", _i), ("seed", _i),
        ("input_drops", _i), ("input_keep", _f), ("input_factor", _f),
        # prediction
        ("out", _i), ("out_row", _i), ("copy_rows", _i),
        # threads
        ("sync", _i), ("threads", _i),
        # out: where it stands and what it found
        ("cursor", _i), ("batch_start", _i), ("step", _i), ("accumulated", _f),
        ("loss_sum", _f), ("weight_sum", _f), ("joined", _i),
        ("status", _i), ("bad_row", _i),
    ],
    align=True,
)  # fmt: skip

#: Fields that hold the address of a piece (or 0), and the family that it must be of.
PIECES: dict[str, Any] = {
    # of a layer
    "forward": abi.forward, "backward": abi.backward,
    # of a job
    "inputs": abi.inputs, "targets": abi.targets, "gemm": abi.product,
    "transpose": abi.transpose, "loss": abi.loss, "listed": abi.listed_product,
    "list_rows": abi.list_rows, "copy_listed": abi.listed_copy, "sum_chunks": abi.sum_chunks,
    "narrow_forward": abi.narrow_forward, "turn": abi.turn,
    "sparse_forward": abi.sparse_forward, "sparse_gradient": abi.sparse_gradient,
    "dropout": abi.dropout, "rule": abi.rule, "penalise": abi.penalise,
    "clip_values": abi.clip_values, "scale": abi.scale, "sum_squares": abi.sum_squares,
    "max_norm": abi.max_norm, "copy_rows": abi.copy_rows,
}  # fmt: skip
