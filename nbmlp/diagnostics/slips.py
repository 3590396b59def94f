"""Which slip of the pen made a gradient what it is: block by block, from the last layer down.

A block is fitted as  data * G + l2 * W + l1 * sign(W), where G is the block under the right
algebra, then under each slip, then under each two. The first G that reproduces it to rounding
says what was written, and the coefficients what it was multiplied by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby, product
from typing import NamedTuple

import numpy as np

from nbmlp.diagnostics.algebra import Slip, Tape, deltas, inputs, rows, sent
from nbmlp.diagnostics.formulas import Array

__all__ = ["Cost", "Finding", "find_slips", "named_factors"]

#: Slips of one block that are tried together, and named factors of one coefficient.
_MOST = 2
#: What a fitted coefficient may differ by from the number that it is taken for.
_CLOSE = 1e-4


@dataclass(frozen=True)
class Cost:
    """loss = data * (mean of the rows' losses) + l2/2 |W|^2 + bias_l2/2 |b|^2 + l1 |W|_1."""

    data: float = 1.0
    l2: float = 0.0
    bias_l2: float = 0.0
    l1: float = 0.0

    def l2_of(self, name: str) -> float:
        """Factor of the parameters themselves in the gradient of block `name`."""
        return self.bias_l2 if name[0] == "b" else self.l2

    def penalty(self, name: str, values: Array) -> Array:
        """Part of the gradient of block `name` that the penalty makes."""
        l1 = 0.0 if name[0] == "b" else self.l1
        return self.l2_of(name) * values + l1 * np.sign(values)


@dataclass(frozen=True)
class Finding:
    """One difference.

    Attributes
    ----------
    blocks : tuple of str
        Where it shows, e.g. ``("W1", "b1")``.
    kind : str
        For programs, e.g. ``"missing_slope"``, ``"l2_factor"``.
    what, fix : str
        A sentence each, without a full stop.
    """

    blocks: tuple[str, ...]
    kind: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{', '.join(self.blocks)}: {self.what}. Fix: {self.fix}."


class _Use(NamedTuple):
    """A slip, and what it is in: the delta of a block itself, the error sent down, or neither."""

    place: str  # "own", "sent" or ""
    slip: Slip


class _Error(NamedTuple):
    """What reached a layer from above; None at the top, where the loss is."""

    known: tuple[_Use, ...]  # found in the layers above
    new: tuple[_Use, ...]
    error: Array | None


class _Trial(NamedTuple):
    """A block under some slips."""

    reached: _Error
    own: tuple[_Use, ...]
    block: Callable[[], Array]

    @property
    def slips(self) -> tuple[_Use, ...]:
        """All but those that are known from the layers above."""
        return (*self.reached.new, *self.own)


class _Fit(NamedTuple):
    """A trial with the coefficients that bring it nearest to the given block."""

    trial: _Trial
    data: float
    l2: float
    residual: float
    size: float  # |G|


def find_slips(
    tape: Tape, cost: Cost, blocks: dict[str, Array], tolerance: float
) -> tuple[Finding, ...]:
    """Say what makes the blocks of a gradient differ from the derivative of `cost`.

    Parameters
    ----------
    tape : Tape
        At the parameters at which the gradient was taken.
    cost : Cost
    blocks : dict of ndarray
        ``"W1"`` (inputs, outputs), ``"b1"`` (outputs,), ... as somebody's code computed them.
    tolerance : float
        Relative size of what counts as rounding.

    Returns
    -------
    tuple of Finding
        The last layer first; empty when every block is right.
    """
    found: list[tuple[str, _Use]] = []
    reached = _Error((), (), None)
    for k in reversed(range(len(tape.z))):
        errors = _errors(tape, k, reached)
        reached = errors[0]
        for name in (f"b{k + 1}", f"W{k + 1}"):  # the weights' word about the error counts
            if name in blocks:
                block = _Block(tape, cost, k, name, blocks[name], tolerance)
                uses, trial = block.explain(errors)
                found += [(name, use) for use in uses]
                reached = reached if trial is None else trial.reached
    return _worded(found, set(blocks))


def _worded(found: list[tuple[str, _Use]], blocks: set[str]) -> tuple[Finding, ...]:
    """One finding for the same slip in several blocks, in the order of the first."""
    slips: dict[Slip, dict[str, set[str]]] = {}
    for name, (place, slip) in found:
        slips.setdefault(slip, {}).setdefault(place, set()).add(name)
    return tuple(
        Finding(tuple(sorted(names, key=lambda n: (n[1:], n))), slip.kind, what, slip.fix)
        for slip, places in slips.items()
        for names, what in _sentences(slip, places, blocks)
    )


def _sentences(
    slip: Slip, places: dict[str, set[str]], blocks: set[str]
) -> Iterator[tuple[set[str], str]]:
    """Where a slip shows, and how to say it."""
    own, sent_down, k = places.get("own", set()), places.get("sent", set()), slip.layer
    if own == {f"W{k}", f"b{k}"} & blocks and (sent_down or k == 1):
        yield own | sent_down, f"delta{k} is one {slip.what}"
        return
    if own:
        names = " and ".join(sorted(own))
        yield own, f"the gradient of {names} is taken from a delta{k} {slip.what}"
    if sent_down:
        yield sent_down, f"the error sent back from layer {k} comes from a delta{k} {slip.what}"
    if "" in places:
        yield places[""], slip.what


def _errors(tape: Tape, k: int, above: _Error) -> list[_Error]:
    """Errors that may have reached layer `k`, given what reached the layer above."""
    if k + 1 == len(tape.z):
        return [above]
    found = []
    known = (*above.known, *above.new)
    for slip, make in deltas(tape, k + 1, above.error).items():
        for other, send in sent(tape, k + 1, make()).items():
            uses = [_Use(place, s) for place, s in (("sent", slip), ("", other)) if s]
            found.append(_Error(known, tuple(uses), send()))
    return found


def _weights(a: Callable[[], Array], average: Callable[[], Array]) -> Array:
    return a().T @ average()


def _biases(average: Callable[[], Array]) -> Array:
    return np.asarray(average().sum(axis=0))


class _Block:
    """One weight matrix or bias vector of somebody's gradient."""

    def __init__(
        self, tape: Tape, cost: Cost, k: int, name: str, given: Array, tolerance: float
    ) -> None:
        self._tape, self._cost, self._k, self._name = tape, cost, k, name
        self._given, self._tolerance = given, tolerance
        values = tape.layers[k].W if name[0] == "W" else tape.layers[k].b
        assert values is not None  # a net without biases has no such block
        self._values = values

    def explain(self, errors: list[_Error]) -> tuple[list[_Use], _Trial | None]:
        """Slips, and the trial that reproduces the block."""
        fit = self._search(errors, self._given)
        found: list[Slip] = []
        if fit is None and self._name[0] == "W":
            swapped = self._given.ravel().reshape(self._given.shape[::-1]).T
            if (fit := self._search(errors, swapped)) is not None:
                found.append(self._reordered("is laid out column by column, as W.T is"))
        if fit is None:
            return [_Use("", self._unknown(errors))], None
        found += self._coefficients(fit)
        uses = (*fit.trial.reached.known, *fit.trial.slips)
        return [*uses, *(_Use("", slip) for slip in found)], fit.trial

    # -- trials

    def _trials(self, errors: list[_Error]) -> Iterator[_Trial]:
        """The block under every combination of slips."""
        is_bias, tape, k = self._name[0] == "b", self._tape, self._k
        below = {None: None} if is_bias else inputs(tape, k)
        for reached in errors:
            made = deltas(tape, k, reached.error)
            for (slip, delta), (other, a) in product(made.items(), below.items()):
                for third, average in rows(self._name, delta).items():
                    places = (("own", slip), ("", other), ("", third))
                    uses = tuple(_Use(place, s) for place, s in places if s)
                    block = partial(_weights, a, average) if a else partial(_biases, average)
                    yield _Trial(reached, uses, block)

    def _search(self, errors: list[_Error], given: Array) -> _Fit | None:
        """The fit with the fewest slips that leaves nothing but rounding."""

        def count(trial: _Trial) -> int:
            return len(trial.slips)

        trials = [t for t in self._trials(errors) if count(t) <= _MOST]
        for _, group in groupby(sorted(trials, key=count), key=count):
            fits = [self._fit(given, trial) for trial in group]
            good = [f for f in fits if f.residual <= self._tolerance]
            if good:
                return min(good, key=lambda f: (len(self._coefficients(f)), f.residual))
        return None

    def _fit(self, given: Array, trial: _Trial) -> _Fit:
        block = trial.block()
        lasso = [np.sign(self._values)] if self._cost.l1 and self._name[0] == "W" else []
        columns = np.stack([t.ravel() for t in (block, self._values, *lasso)], axis=1)
        scale = np.linalg.norm(columns, axis=0)
        if not np.isfinite(scale).all():
            return _Fit(trial, 0.0, 0.0, np.inf, 0.0)
        scale[scale == 0] = 1.0
        found = np.linalg.lstsq(columns / scale, given.ravel(), rcond=None)[0] / scale
        left = float(np.linalg.norm(columns @ found - given.ravel()))
        size = float(np.linalg.norm(given)) or 1.0
        return _Fit(trial, float(found[0]), float(found[1]), left / size, float(scale[0]))

    # -- words

    def _reordered(self, how: str) -> Slip:
        shape = " x ".join(map(str, self._values.shape))
        fix = f"return {self._name} as a {shape} array, row by row"
        return Slip("order", f"the gradient {how}", fix)

    def _coefficients(self, fit: _Fit) -> list[Slip]:
        """What the data part and the penalty are multiplied by, where they should not."""
        least = self._tolerance * max(
            float(np.linalg.norm(self._given)), abs(self._cost.data) * fit.size
        )
        found: list[Slip] = []
        if abs(fit.data - self._cost.data) * fit.size > least:
            found += self._data_factor(fit)
        expected = self._cost.l2_of(self._name)
        if abs(fit.l2 - expected) * float(np.linalg.norm(self._values)) > least:
            found.append(self._penalty_factor(fit.l2, expected))
        return found

    def _data_factor(self, fit: _Fit) -> list[Slip]:
        n, m = self._tape.y.shape
        ratio = fit.data / self._cost.data
        if abs(ratio) < _CLOSE / n:
            fix = "add the gradient of the data's loss"
            what = "the gradient lacks the part of the data"
            return [Slip("data_missing", what, fix)]
        return [
            Slip(kind, f"the data part of the gradient {what}", fix)
            for kind, what, fix in named_factors(ratio, n, m)
        ]

    def _penalty_factor(self, got: float, expected: float) -> Slip:
        n, name = len(self._tape.y), self._name
        if name[0] == "b" and not expected:
            what = f"the gradient of the biases has an L2 penalty, {got:.6g} * b, the loss has none"
            return Slip("l2_on_bias", what, "penalise weights only")
        if not expected:
            what = f"the gradient has {got:.6g} * W, though the loss has no L2 penalty"
            fix = f"leave it out, or add {got / 2:.6g} * sum(W**2) to the loss"
            return Slip("l2_extra", what, fix)
        ratio, fix = got / expected, f"add lambda * W, here {expected:.6g} * W"
        known = {
            2.0: ("l2_factor", "is 2 lambda W where the loss has 1/2 lambda |W|^2"),
            0.0: ("l2_missing", "is missing"),
            1 / n: ("l2_mean", f"is divided by the {n} rows, in the loss it is not"),
            float(n): ("l2_sum", f"is multiplied by the {n} rows, in the loss it is not"),
            -1.0: ("l2_sign", "has the wrong sign"),
        }
        for value, (kind, what) in known.items():
            if abs(ratio - value) < 10 * _CLOSE * max(abs(value), 1 / n):
                return Slip(kind, f"the gradient of the L2 penalty {what}", fix)
        what = f"the gradient of the L2 penalty is {ratio:.6g} times what the loss says"
        return Slip("l2_factor", what, fix)

    def _unknown(self, errors: list[_Error]) -> Slip:
        right = next(t for t in self._trials(errors) if not t.slips).block() * self._cost.data
        right = right + self._cost.penalty(self._name, self._values)
        given, scale = self._given, float(np.abs(right).max()) or 1.0
        if np.allclose(np.sort(given.ravel()), np.sort(right.ravel()), 0, self._tolerance * scale):
            return self._reordered("has the right entries in another order")
        off = np.abs(given - right).reshape(-1, right.shape[-1]).max(axis=0)
        units = np.flatnonzero(off > self._tolerance * scale)
        sizes = float(np.linalg.norm(given)) * float(np.linalg.norm(right))
        cosine = float(np.vdot(given, right)) / (sizes or 1.0)
        what = (
            f"differs in {len(units)} of {right.shape[-1]} units by no slip known here (cosine"
            f" with the right gradient {cosine:.4f})"
        )
        fix = f"compare its lines with the derivative, first for unit {[*units, 0][0]}"
        return Slip("unknown", what, fix)


def named_factors(ratio: float, n: int, m: int) -> list[tuple[str, str, str]]:
    """A factor in words: kind, what is wrong, fix; one for each of the factors it is made of.

    Parameters
    ----------
    ratio : float
    n, m : int
        Rows and outputs.
    """
    known: dict[float, tuple[str, str, str]] = {
        -1.0: ("sign", "has the wrong sign", "begin with a - y, not y - a"),
        float(n): (
            "missing_mean", f"is the sum over the {n} rows, not their mean: 1/n is missing",
            "divide it by the number of rows",
        ),
        1 / n: (
            "mean_twice", f"is divided by the number of rows ({n}) once too often",
            "divide it by the number of rows once",
        ),
        2.0: ("factor_2", "is twice what it should be", "drop the 2: 1/2 (a - y)^2 gives a - y"),
        0.5: ("factor_half", "is half what it should be", "drop the 1/2"),
        float(m): (
            "missing_output_mean", f"is summed over the {m} outputs where the loss is averaged",
            f"divide it by {m}",
        ),
        1 / m: (
            "output_mean", f"is averaged over the {m} outputs where the loss is summed",
            f"multiply it by {m}",
        ),
    }  # fmt: skip
    for count in range(1, _MOST + 1):
        for values in combinations(known, count):
            if abs(ratio / np.prod(values) - 1) < _CLOSE:
                return [known[v] for v in values]
    return [("factor", f"is {ratio:.6g} times what it should be", f"divide it by {ratio:.6g}")]
