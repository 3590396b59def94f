"""Rows of a batch by shards of the data, and their gradients' sum by a tree (`plan/shards.py`).

Shards take turns through the epoch: its rows i are dealt to shard i % shards, and what is left at
the end to those that have a row more than others. In a batch rows stand shard by shard. Of how many
rows of each an update consists follows from that by arithmetic, whoever sums them.

What is taken through the layers at once are parts of shards: each shard's rows in parts of a
sub-batch, from its first one on, whoever stands beside it there. A shard's gradient is the sum of
its parts in their order.
"""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.vecmath import vector_of
from nbmlp.tuning import PANEL_BYTES

__all__ = ["add_losses", "add_shards", "next_rows", "sum_gradient", "sum_shards", "totals"]

_words, _doubles = vector_of("int64"), vector_of("float64")
_MERGE = 3  # words of a shard's entry: arena, joins, others


@inner
def rows_before(shard, end, n, shards):
    """Rows of the shards before this one among the first `end` of an epoch of n."""
    rounds, rest, least = end // shards, end % shards, n // shards
    if rounds >= least:  # the last round: those that have a row more than others
        rounds, longer = least, (shard * n + shards - 1) // shards - shard * least
        return shard * rounds + min(end - least * shards, longer)
    return shard * rounds + min(rest, shard)


@piece("deal", abi.deal)
def _make_deal(_: type) -> Any:
    def deal(order: int, drawn: int, n: int, batch: int, shards: int, first: int, end: int) -> int:
        to, own = _words(order, n), _words(drawn, n)
        for start in range(0, n, batch):
            stop, at = min(start + batch, n), start
            for s in range(shards):
                low = rows_before(s, n, n, shards)
                done = rows_before(s + 1, start, n, shards) - rows_before(s, start, n, shards)
                rows = rows_before(s + 1, stop, n, shards) - rows_before(s, stop, n, shards) - done
                for k in range(rows if first <= s < end else 0):
                    to[at + k] = low + own[low + done + k]
                at += rows
        return 0

    return deal


@inner
def _places(job, thread):
    """This thread's list of where each shard's rows begin in the batch, and where the last end."""
    shards = job.shards + 1
    return _words(job.shard_places + thread.rank * shards * 8, shards)


@inner
def next_rows(job, thread, start, end, cursor):
    """Rows that are taken next of the batch start..end: the first, how many, whether the last."""
    places, n, shards = _places(job, thread), job.n_rows, job.shards
    for s in range(shards + 1):
        places[s] = rows_before(s, end, n, shards) - rows_before(s, start, n, shards)
    place = max(cursor - start, places[job.first_shard])
    m = _whole_parts(job, places, place)
    return start + place, m, place + m == places[job.end_shard]


@inner
def _whole_parts(job, places, place):
    """Rows from a place on: as many whole parts of shards as there is room for."""
    most, m = job.sub_batch, 0
    for s in range(job.first_shard, job.end_shard):
        low, high = places[s], places[s + 1]
        while place + m < high:
            at = place + m
            end = min(low + ((at - low) // most + 1) * most, high)
            if end - place > most:
                return m
            m = end - place
    return m


@inner
def add_losses(job, thread, m):
    """Losses and weights of the rows at hand, each shard's in row order; by one thread."""
    places, place = _places(job, thread), thread.place
    values, weights = _doubles(job.values, m), _doubles(job.weights, m)
    sums = _doubles(job.shard_sums, 2 * job.shards)
    for s in range(job.first_shard, job.end_shard):
        loss, weight = 0.0, 0.0
        for i in range(max(places[s] - place, 0), min(places[s + 1] - place, m)):
            loss += values[i]
            weight += weights[i]
        if places[s] < place:  # a further part of this shard, or none
            sums[2 * s] += loss
            sums[2 * s + 1] += weight
        else:
            sums[2 * s], sums[2 * s + 1] = loss, weight


@inner
def add_shards(job):
    """Losses and weights of all shards by the tree, into the first one's place; by one thread."""
    sums, span = _doubles(job.shard_sums, 2 * job.shards), 1
    while span < job.shards:
        for s in range(0, job.shards - span, 2 * span):
            sums[2 * s] += sums[2 * (s + span)]
            sums[2 * s + 1] += sums[2 * (s + span) + 1]
        span *= 2


@inner
def totals(job):
    """Loss and weight of the batch, once all of it is added up."""
    sums = _doubles(job.shard_sums, 2)
    return sums[0], sums[1]


@inner
def sum_gradient(own, at, c, part, start, m, alpha, beta):
    """c <- alpha * gradient + beta * c for a part (first row, rows, first panel, behind the last).

    at: addresses of job and thread; start, m: rows of the sub-batch.
    """
    first, rows, low, high = part
    if own.gradient == 0:  # it follows from another block's
        return
    abi.layer_gradient(
        own.gradient, job=at[0], layer=own.layer, thread=at[1], c=c, first=first, rows=rows,
        low=low, high=high, start=start, m=m, alpha=alpha, beta=beta,
    )  # fmt: skip


@inner
def sum_shards(job, own, at, thread, part, m, last):
    """Gradients of the parts of shards at hand, and the sums that are complete by that.

    last: the batch ends with them. A shard without rows is a sum of nothing, 0.
    """
    places, place, most = _places(job, thread), thread.place, job.sub_batch
    for s in range(job.first_shard, job.end_shard):
        low, high = places[s], places[s + 1]
        start, end = max(low, place), min(high, place + m)
        if low == high and low >= place and (low < place + m or last):
            end = start + 1
        for row in range(start, end, most):
            _sum_part(job, own, at, part, s, row - place, (row - low, high - low))


@inner
def _sum_part(job, own, at, part, s, start, of_shard):
    """One part of a shard, of whose rows some come before; the tree's sums, if it is the last."""
    before, all_rows = of_shard
    rows = min(job.sub_batch, all_rows - before)
    entry = _words(job.merges + (s - job.first_shard) * _MERGE * 8, _MERGE)
    to, joins = own.g + entry[0] * job.arena, entry[1] != 0
    apart = joins and (own.apart != 0 or rows < all_rows or rows == 0)
    c = own.g + job.spare * job.arena if apart else to
    if rows > 0:
        fresh = before == 0 and (apart or not joins)
        sum_gradient(own, at, c, part, start, rows, 1.0, 0.0 if fresh else 1.0)
    else:
        _clear(job, own, part, c)
    if before + rows == all_rows:
        if apart:
            _add(job, own, part, to, c)
        others, waiting = entry[2], own.g + job.waiting * job.arena
        while others != 0:
            if others & 1:
                _add(job, own, part, to, waiting)
            others, waiting = others >> 1, waiting + job.arena


@inner
def _add(job, own, part, to, other):
    first, rows, low, high = part
    at = first * own.row + low * PANEL_BYTES
    abi.add(job.add, g=to + at, other=other + at, rows=rows, row=own.row, panels=high - low)


@inner
def _clear(job, own, part, c):
    first, rows, low, high = part
    at = first * own.row + low * PANEL_BYTES
    abi.clear(job.clear, g=c + at, rows=rows, row=own.row, panels=high - low)
