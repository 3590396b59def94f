"""The tables that steer the fused epoch: records of NumPy, read by compiled code.

A net is a table of layers, each of which turns one buffer into another: rows of data that are read,
a product, an activation, dropout, the loss. Beside it stands a table of parameters, what an update
changes and how threads share it; a layer may have none, one or several. One record is for all
layers (JOB), one is each thread's own (THREAD).

Addresses and strides are in bytes, counts in elements or rows. `workspace` is the only one who
writes them; compiled code writes a job's "cursor" and "out".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp.kernels import abi

__all__ = [
    "CLOSED", "COLLECT", "JOB", "JOB_GROUPS", "LAYER", "LINE", "PARAMETER", "PIECES", "STATUS",
    "SYNC_WORDS", "THREAD", "TREE",
]  # fmt: skip

#: int64 words of one cache line: every word that threads write has a line of its own.
LINE = 8
#: Bit of the join counter that says: too late.
CLOSED = 1 << 32
#: Words of the area where threads meet: join, start and barrier.
SYNC_WORDS = 3 * LINE


class STATUS:
    """Why a region ended."""

    OK = 0
    BAD_INPUT = 1
    BAD_OUTPUT = 2
    ELSEWHERE = 3  # another of those who train together cannot go on


class COLLECT:
    """What processes have made for all, each of its update blocks; all lie block by block."""

    WEIGHTS = 0
    NORMS = 1
    LENGTHS = 2


_i, _f = np.int64, np.float64

LAYER = np.dtype(
    [
        # its pieces, or 0: input -> output, delta of the output -> delta of the input
        ("forward", _i), ("backward", _i),
        # how each is cut, by how many panels, and whether all threads wait behind it
        ("cut", _i), ("panels", _i), ("barrier", _i),  # cut: of `cuts`
        ("back_cut", _i), ("back_panels", _i), ("back_barrier", _i),
        ("turn", _i),  # of a part: which thread's it is
        ("status", _i),  # what a bad row found here is
        # buffers of the sub-batch: input and its delta, output (rows, n) and its delta
        ("x", _i), ("x_row", _i), ("dx", _i), ("dx_row", _i),
        ("a", _i), ("a_row", _i), ("dz", _i), ("dz_row", _i), ("n", _i),
        ("own", _i),  # bytes between the threads' copies of the net's inputs, if it handles these
        ("saved", _i),  # what the derivative reads: a itself, z, or a before dropout
        ("one", _i),  # column of a that the next layer's bias multiplies, or -1
        # of a product: W (depth, n), the bias its last row if depth > n_in; its transposed copy
        ("w", _i), ("w_row", _i), ("wt", _i), ("wt_row", _i), ("n_in", _i), ("depth", _i),
        # 1 adds to what is in a, or in dx, 0 does not read it
        ("beta", _f), ("back_beta", _f),
        # of a product: a room of its own for each thread, bytes between two of them; of what has
        # vectors of parameters: terms of their gradients, one after the other (rows, n) as a
        ("room", _i), ("room_own", _i),
        # of a product over rows by address: entries from a row to the one that memory is asked for
        # meanwhile (0: as many as there are rows); where rows are copied to, or 0
        ("ahead", _i), ("copy", _i), ("copy_row", _i), ("copy_one", _i),
        # of an activation, or of the loss behind one: its kernels and its number
        ("activate", _i), ("derive", _i), ("act", _f),
        # of an embedding of n numbers, w their parameters by n_in cosines, or of n codes, w their
        # tables of rows of n_in: bytes from the first input to the first output, and to the rows
        # that codes mean; factors of outputs, or ones; the tables' first rows (n + 1) int64
        ("added", _i), ("kept", _i), ("factors", _i), ("starts", _i),
        # of dropout: which layer's masks; share and factor of the kept
        ("stream", _i), ("keep", _f), ("factor", _f),
    ],
    align=True,
)  # fmt: skip

PARAMETER = np.dtype(
    [
        ("gradient", _i), ("layer", _i),  # its piece, and the layer that it looks at
        ("apart", _i),  # what that adds to is no term of its own: rows are added to it one by one
        # w, gradient and slots (rows, panels) alike, so many bytes from row to row; rows behind
        # the first `weights` are biases, which have no penalty, decay or bound
        ("w", _i), ("g", _i), ("slots", _i), ("row", _i),
        ("rows", _i), ("weights", _i), ("panels", _i),
        ("wt", _i), ("wt_row", _i),  # transposed copy of the weights, or 0
        # or 0: what finishes a gradient once all of it is there; what renews a copy of w (rows,
        # panels) after an update; the record of the block that both also look at
        ("complete", _i), ("refresh", _i), ("copy", _i), ("other", _i),
        # update blocks: rows that a rule takes at once; `group` of them are one gradient
        ("block_rows", _i), ("blocks", _i), ("first_block", _i), ("group", _i),
        ("share", _i),  # how threads share it, of `cuts`
        ("rate", _f), ("decay", _f), ("clip", _f),  # factors on rate, decay and penalty, bounds
        # or 0: runs of rows with further factors: the first row, the one behind the last, on rate,
        # on decay (runs, 4) float64; none has rows on both sides of `weights`
        ("factors", _i), ("runs", _i),
        # update blocks that are updated here: all, unless processes share them
        ("first_own", _i), ("end_own", _i),
    ],
    align=True,
)  # fmt: skip

_THREAD = (
    "rank", "size", "passed",  # which of how many; barriers so far
    "columns",  # threads work on the same rows, and each has a copy of the inputs
    "copy",  # which copy it reads and writes
    "key", "start", "place",  # of the sub-batch: key of its step, its row of epoch and of batch
    "update",  # number in the epoch of the update that it is for
    "first", "rows", "after",  # rows of the sub-batch at hand; row of the epoch that is read next
    # out: what it found first
    "status", "bad_row",
)  # fmt: skip
#: Two lines each: what lies side by side is fetched together.
THREAD = np.dtype(
    {
        "names": list(_THREAD), "formats": [_i] * len(_THREAD),
        "offsets": [8 * i for i in range(len(_THREAD))], "itemsize": 16 * LINE,
    },
    align=True,
)  # fmt: skip

#: Fields of the job by what they tell; one name is in one group only.
JOB_GROUPS: dict[str, list[tuple[str, Any]]] = {
    "data": [
        ("x", _i), ("x_row", _i), ("x_bytes", _i), ("x_scale", _f), ("y", _i), ("y_row", _i),
        ("y_scale", _f), ("y_shift", _f), ("given", _i), ("order", _i), ("n_rows", _i),
        ("n_outputs", _i), ("n_targets", _i),
        # prediction: outputs (rows, n_outputs)
        ("out", _i), ("out_row", _i),
        # pieces
        ("inputs", _i), ("targets", _i), ("copy_rows", _i),
    ],
    "cuts": [
        ("batch", _i), ("sub_batch", _i), ("row_block", _i), ("rows_limit", _i), ("threads", _i),
        ("columns", _i),  # several threads cut a step by columns, not by rows
        # shards of the data; which of them are summed here; of each of these, the arena of its sum,
        # whether the one before it is added to there, and a bit for each sum added then
        ("shards", _i), ("first_shard", _i), ("end_shard", _i), ("merges", _i),
        ("size", _i), ("panel", _i),  # bytes of one parameter; how many are a panel
    ],
    "buffers": [
        ("layers", _i), ("n_layers", _i), ("parameters", _i), ("n_parameters", _i),
        ("thread_records", _i), ("sync", _i),  # sync: where threads meet
        # of the sub-batch
        ("target", _i), ("target_row", _i), ("weights", _i), ("values", _i),
        ("a", _i), ("a_row", _i),  # the last layer's output
        ("norms", _i), ("n_blocks", _i), ("block_norms", _i), ("scratch", _i),
        ("gradient", _i), ("n_gradient", _i),  # of all parameters, and its elements
        ("lengths", _i),  # squares of weights and direction (blocks, 2) float64
        # of several shards: bytes from one arena of gradients to the next, the job's own being the
        # first; which of them has the first sum that waits for another, and which is scratch; each
        # thread's places of the shards in the batch (shards + 1); sums of losses and weights of
        # each shard's rows in it (shards, 2) float64
        ("arena", _i), ("waiting", _i), ("spare", _i), ("shard_places", _i), ("shard_sums", _i),
    ],
    "update": [
        # pieces
        ("gemm", _i), ("dropout", _i), ("loss", _i), ("loss_parameter", _f), ("transpose", _i),
        ("rule", _i), ("penalise", _i), ("clip_values", _i), ("scale", _i), ("sum_squares", _i),
        ("max_norm", _i), ("descend", _i),  # descend: steps as long as their block; or 0
        ("add", _i), ("clear", _i),
        # sums over those who train together: or 0; what it is given besides; its two sums float64
        ("exchange", _i), ("exchange_context", _i), ("sums", _i),
        ("collect", _i),  # where each updates a part of the parameters: how all get it; or 0
        ("completes", _i),  # there are gradients to be finished, and copies to be renewed
        ("plain", _i),  # gradient descent without anything added: one product updates W
        ("mean", _i), ("l1", _f), ("l2", _f), ("decay", _f), ("clip_value", _f), ("clip_norm", _f),
        ("norm_bound", _f), ("want_norms", _i), ("seed", _i), ("rates", _i), ("first_step", _i),
        # l2 divided by the weight of each batch; sums of each batch of the epoch (updates, 3), or
        # 0; squares of W, block by block
        ("l2_shared", _i), ("batches", _i), ("squares", _i),
        ("beta1", _f), ("beta2", _f), ("settings", _i),  # the rule's own (optim.rule_settings)
        ("slot_stride", _i),
        # factors of each of the epoch's updates on decay, and on the shares that are dropped; or 0
        ("decays", _i), ("drops", _i),
        # moving average of all parameters (n_gradient), or 0; its decay; the piece that adds to it
        ("mean_weights", _i), ("ema", _f), ("average", _i),
    ],
    # where it stands: read when a region begins, written when it ends
    "cursor": [
        ("cursor", _i), ("batch_start", _i), ("step", _i),
        ("accumulated", _f), ("loss_sum", _f), ("weight_sum", _f),
    ],
    # what a region has found
    "out": [("joined", _i), ("status", _i), ("bad_row", _i)],
}  # fmt: skip
JOB = np.dtype([field for group in JOB_GROUPS.values() for field in group], align=True)

#: What `exchange.tree` is given besides: of processes, each of which has some shards and a slice of
#: all parameters. Counts and starts are int32 (processes).
TREE = np.dtype(
    [
        # MPI's functions, by their C addresses; the communicator and the types of a float64 and of
        # a parameter, as these take them
        ("allgatherv", _i), ("alltoallv", _i), ("comm", _i), ("doubles", _i), ("elements", _i),
        ("processes", _i), ("size", _i), ("panel", _i),  # as the job's
        # sums of losses and weights: of all shards (shards, 2) float64; what this process says, its
        # shards' from the first on and whether it cannot go on, and what all say
        ("shard_sums", _i), ("shards", _i), ("first_shard", _i),
        ("said", _i), ("n_said", _i), ("heard", _i), ("heard_counts", _i), ("heard_starts", _i),
        # subtrees here, bytes from one to the next; what each process gets of them, copied together
        # unless there is but one; what this one gets of all, (subtrees of all, own slice)
        ("parts", _i), ("n_parts", _i), ("arena", _i),
        ("sent", _i), ("sent_counts", _i), ("sent_starts", _i),
        ("got", _i), ("got_counts", _i), ("got_starts", _i),
        # additions that are left: to which row of these which one is added (additions, 2) int64
        ("add", _i), ("additions", _i), ("n_additions", _i),
        # the slice of each process
        ("lengths", _i), ("starts", _i), ("start", _i), ("length", _i),  # start, length: this one's
        ("whole", _i),  # whether all get the sum, or each its slice of it
        # MPI's word for what is sent where it is received; of each of COLLECT: the address of all,
        # those of counts and starts, and their type (3, 4) int64
        ("in_place", _i), ("collected", _i),
        # out: whether it was called; what MPI has returned, if that is an error
        ("met", _i), ("code", _i),
    ],
    align=True,
)  # fmt: skip

#: Fields that hold the address of a piece (or 0), and the family that it must be of.
PIECES: dict[str, Any] = {
    # of a layer
    "forward": abi.layer_pass, "backward": abi.layer_pass,
    "activate": abi.forward, "derive": abi.backward,
    # of parameters
    "gradient": abi.layer_gradient,
    "complete": abi.parameter_pass, "refresh": abi.parameter_pass,
    # of a job
    "inputs": abi.inputs, "targets": abi.targets, "gemm": abi.product,
    "transpose": abi.transpose, "loss": abi.loss, "dropout": abi.dropout, "rule": abi.rule,
    "penalise": abi.penalise, "clip_values": abi.clip_values, "scale": abi.scale,
    "sum_squares": abi.sum_squares, "descend": abi.descend, "average": abi.average,
    "add": abi.add, "clear": abi.clear,
    "exchange": abi.exchange, "collect": abi.collect,
    "max_norm": abi.max_norm, "copy_rows": abi.copy_rows,
}  # fmt: skip
