"""The signatures: what is passed to each family of pieces, in one place.

``int`` is an int64: an address, a stride (``..._row``, ``..._col``: bytes from one to the next) or
a count. ``float`` is a float64. Elements are of the type that a piece is built for, unless it says
otherwise; sizes stand behind what they belong to, (rows, columns). A *panel* is 64 bytes of a row.
A piece returns 0 unless it says what else.

A parameter is added here, in the functions of the family's pieces and in its calls; where one is
forgotten it does not compile.
"""

from __future__ import annotations

from nbmlp.kernels.family import family

__all__ = [
    "add",
    "all_finite",
    "average",
    "backward",
    "clear",
    "clip_values",
    "collect",
    "copy_rows",
    "deal",
    "descend",
    "dropout",
    "exchange",
    "forward",
    "inputs",
    "layer_gradient",
    "layer_pass",
    "loss",
    "max_norm",
    "parameter_pass",
    "penalise",
    "product",
    "region",
    "rule",
    "scale",
    "shuffle",
    "sum_squares",
    "targets",
    "transpose",
]

# ------------------------------------------------------------------------------------ regions

#: One thread's part of a parallel region. job_address: of a record JOB; tid: which thread.
region = family("region", job_address=int, tid=int)

# ------------------------------------------------------------------------------------- layers

#: A layer's way forward or back, for a rectangle of what it computes: rows `first`... of the
#: sub-batch by panels low..high (forward of its output, back of the delta of its input). All else
#: is found in the records at the addresses job, layer, thread.
#: Returns the first bad row, counted from `first`, or -1.
layer_pass = family(
    "layer_pass", job=int, layer=int, thread=int, first=int, rows=int, low=int, high=int
)

#: c <- alpha * gradient + beta * c, the gradient summed over rows start... of the sub-batch, m of
#: them, for rows `first`... by panels low..high of a block of parameters; with beta = 0 c is not
#: read. c: the gradient's own place, the parameters' or another one, laid out alike.
layer_gradient = family(
    "layer_gradient", job=int, layer=int, thread=int, c=int, first=int, rows=int, low=int, high=int,
    start=int, m=int, alpha=float, beta=float,
)  # fmt: skip

#: What is to be done with rows `first`... of a block of parameters besides the update, all panels
#: of them: `own` is the address of its record, which leads to a second one.
parameter_pass = family("parameter_pass", job=int, own=int, first=int, rows=int)

# --------------------------------------------------------------------------------- rows of data

#: Rows `start`... of the epoch out of the user's array into `out` (rows, n), times scale; column
#: `one` (if >= 0) becomes 1. order: which row comes when, or 0. x of a CSR matrix: addresses of
#: values, columns and starts of rows. Returns the first row with a value that is not finite or does
#: not fit the element type, counted from `start`, or -1.
#:
#: A shard of a batch needs nothing else: it is other rows of the same order. A product of bfloat16
#: wants rows in a second layout, by pairs: it will come as `pairs, pairs_row` behind `out, out_row`
#: (in `forward` and `backward` likewise), with the pieces that write it.
inputs = family(
    "inputs", x=int, x_row=int, order=int, start=int, rows=int, n=int,
    out=int, out_row=int, one=int, scale=float,
)  # fmt: skip

#: Targets of the same rows (rows, n), times scale plus shift, labels as one-hot rows; and their
#: weights (rows) float64. given: float64 weights of all the data, or 0 for 1 each. n counts
#: columns of targets, which need not be as many as the net's outputs.
targets = family(
    "targets", y=int, y_row=int, order=int, start=int, rows=int, n=int,
    out=int, out_row=int, given=int, weights=int, scale=float, shift=float,
)  # fmt: skip

#: Rows a (rows, n) to `out`.
copy_rows = family("copy_rows", a=int, a_row=int, out=int, out_row=int, rows=int, n=int)

#: Fill order (n) int64 with a permutation of 0..n-1. stream: which of several orders of an epoch,
#: 0 where there is one.
shuffle = family("shuffle", order=int, n=int, seed=int, epoch=int, stream=int)

#: The order of an epoch's rows (n) int64, batch by batch and in each shard by shard, of those that
#: each shard has on its own: drawn (n) int64 holds permutations of 0..rows - 1, shard after shard.
#: Only places of the shards first..end are written.
deal = family("deal", order=int, drawn=int, n=int, batch=int, shards=int, first=int, end=int)

# ----------------------------------------------------------------------------------- products

#: C (m, panels) = alpha * A (m, depth) . B (depth, panels) + beta * C; with beta = 0 C is not read.
#: A is read through both strides, X and its transpose alike. B and C are rows of whole panels.
#:
#: That is a layer's product forward (B = W), back (B = W'; of the first layer: the gradient by the
#: inputs), and its gradient (A = X'), where beta adds up sub-batches, and a C of its own takes a
#: shard's. A product of bfloat16 has the same signature: depth counts pairs, a_col and b_row
#: lead from one pair to the next, C stays float32.
product = family(
    "product", a=int, a_row=int, a_col=int, b=int, b_row=int, c=int, c_row=int,
    m=int, panels=int, depth=int, alpha=float, beta=float,
)  # fmt: skip

#: wt[c, first + r] = w[first + r, c] for r < rows; `first` a multiple of a panel's elements. Other
#: copies that are derived of W (pairs of rows in bfloat16) are pieces of this family.
transpose = family(
    "transpose", w=int, w_row=int, first=int, rows=int, panels=int, wt=int, wt_row=int
)

# ------------------------------------------------------------------- activations, dropout, losses

#: z (rows, n) at `a` becomes its activation; column `one` (if >= 0) becomes 1. saved: where z is
#: kept, by those whose derivative needs it. p: the activation's number.
#: One with parameters to be learned is a layer of its own kind, with a gradient (`parametric`).
forward = family("forward", a=int, saved=int, row=int, rows=int, n=int, p=float, one=int)

#: da (rows, n) at `dz` becomes dz = da * f'(saved).
backward = family(
    "backward", dz=int, dz_row=int, saved=int, saved_row=int, rows=int, n=int, p=float
)

#: Multiply a (rows, n) by factor where a unit is kept, by 0 where not. seed, stream: the step's key
#: and the layer; first: the first row's place in the batch (a shard draws what the whole does);
#: column: the first column's in the layer. A non-zero `saved` receives a copy of what a was; column
#: `one` (if >= 0) stays 1.
dropout = family(
    "dropout", a=int, row=int, saved=int, rows=int, n=int, seed=int, stream=int, first=int,
    column=int, keep=float, factor=float, one=int,
)  # fmt: skip

#: Weighted value of each row and its gradient dz by y, for outputs y (rows, n), which are logits
#: where the output is the loss's canonical one. target (rows, n_targets): more than n where a loss
#: takes several for each output. dz (rows, n padded): its padding becomes 0. weights, values (rows)
#: float64: what a row counts, and its loss times that. p: the loss's number.
#: Returns the first row whose output or loss is not finite, or -1.
loss = family(
    "loss", y=int, y_row=int, dz=int, dz_row=int, target=int, target_row=int,
    rows=int, n=int, n_targets=int, weights=int, values=int, p=float,
)  # fmt: skip

# ------------------------------------------------------------------------ gradients and updates

#: Sum the gradient (n, all parameters with their padding) and `sums` (2) float64 over all who train
#: together, in place; called once an update, by one thread while the others wait. sums: weight of
#: the batch; how many cannot go on. Whoever cannot calls, too, and then the update is nobody's.
#: context: what the exchange was bound with.
exchange = family("exchange", context=int, gradient=int, n=int, sums=int)

#: Let all who train together have what each has made of the parameters that it updates. what: of
#: `records.COLLECT`; context, sums: as of an exchange, the second sum is set where it has failed.
collect = family("collect", context=int, what=int, sums=int)

#: Update weights w (rows, panels) by their gradient g. Rows of both, and of the rule's slots, are
#: `row` bytes apart; the next slot lies `stride` bytes on. rate: learning rate; decay: decoupled
#: weight decay, both those of this block of parameters; power1, power2: beta1^t, beta2^t; settings:
#: the rule's own, as many float64 as it was registered with, by name.
rule = family(
    "rule", w=int, g=int, slots=int, stride=int, rows=int, row=int, panels=int,
    rate=float, decay=float, power1=float, power2=float, settings=int,
)  # fmt: skip

#: w (rows, panels) -= step * g, where a rule has left its direction in g.
descend = family("descend", w=int, g=int, rows=int, row=int, panels=int, step=float)

#: g (rows, panels) += l2*w + l1*sign(w).
penalise = family("penalise", w=int, g=int, rows=int, row=int, panels=int, l1=float, l2=float)

#: Each entry of g (rows, panels) into [-bound, bound]; NaN stays.
clip_values = family("clip_values", g=int, rows=int, row=int, panels=int, bound=float)

#: g (rows, panels) += other, laid out alike.
add = family("add", g=int, other=int, rows=int, row=int, panels=int)

#: g (rows, panels) becomes 0, whatever lies there.
clear = family("clear", g=int, rows=int, row=int, panels=int)

#: g (rows, panels) *= factor.
scale = family("scale", g=int, rows=int, row=int, panels=int, factor=float)

#: Sum of squares of g (n, whole panels) into the float64 at `out`.
sum_squares = family("sum_squares", g=int, n=int, out=int)

#: Scale each column of one panel of W (rows, panel) to at most `bound` in norm. scratch: a panel.
max_norm = family("max_norm", w=int, row=int, rows=int, scratch=int, bound=float)

#: mean (n, whole panels) += share * (w - mean), for weights w.
average = family("average", w=int, mean=int, n=int, share=float)

#: Returns 1 when every one of the n elements at x is finite, else 0.
all_finite = family("all_finite", x=int, n=int)
