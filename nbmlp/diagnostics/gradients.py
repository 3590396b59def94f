"""The analytic gradient against finite differences, block by block, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.failures.explain import explain
from nbmlp.plan import make_plan
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, new_state
from nbmlp.train.engine import Engine

__all__ = [
    "MOST_ROWS",
    "BlockError",
    "GradientReport",
    "check_gradients",
    "five_point",
    "relative_error",
]

#: Rows looked at: all of them stay in one sub-batch, where the kinks can be seen.
MOST_ROWS = 256


class _Attempt(NamedTuple):
    """Where a block is differentiated.

    The five-point formula's error is of the order step^4, its rounding of 1e-16/step. Behind many
    units some row is always at a kink: fewer rows and a shorter step find places that are not.
    """

    rows: int
    step: float
    nudge: float  # of every parameter, by a random number times this


#: The next one is made for the blocks of which less than a quarter of the entries was smooth.
_ATTEMPTS = (_Attempt(MOST_ROWS, 1e-3, 0.0), _Attempt(32, 1e-4, 0.01), _Attempt(4, 1e-4, 0.01))


@dataclass(frozen=True)
class BlockError:
    """One weight matrix or bias vector.

    Attributes
    ----------
    name : str
        ``"W1"``, ``"b1"``, ...
    error : float
        |g - d| / (|g| + |d|) over the checked entries, g analytic, d by differences.
    checked, kinks : int
        Entries compared; entries left out because the difference straddles a kink.
    moved : str
        Where they were compared instead, if there were too few entries away from kinks.
    """

    name: str
    error: float
    checked: int
    kinks: int
    moved: str = ""

    def __str__(self) -> str:
        kinks = f", {self.kinks} at kinks left out" if self.kinks else ""
        moved = f"; {self.moved}" if self.moved else ""
        error = f"{self.name:4s} relative error {self.error:.1e}"
        return f"{error}   {self.checked} entries checked{kinks}{moved}"


@dataclass(frozen=True)
class GradientReport:
    """Result of a gradient check; prints as a table.

    Attributes
    ----------
    blocks : tuple of BlockError
    tolerance : float
    """

    blocks: tuple[BlockError, ...]
    tolerance: float = 1e-7

    @property
    def worst(self) -> float:
        """Largest error of a block."""
        return max((b.error for b in self.blocks), default=0.0)

    @property
    def passed(self) -> bool:
        """Every block was looked at and is within the tolerance."""
        return all(b.checked > 0 and b.error <= self.tolerance for b in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {"passed": self.passed, **asdict(self)}

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"gradient check {verdict} (tolerance {self.tolerance:g})"]
        lines += [f"  {b}" for b in self.blocks]
        return "\n".join(lines)


def check_gradients(
    spec: ModelSpec,
    train: TrainSpec,
    state: State,
    rows: Rows,
    *,
    entries: int = 60,
    seed: int = 0,
    tolerance: float = 1e-7,
) -> GradientReport:
    """Compare backpropagation with five-point differences of the loss, penalty included.

    Parameters
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Of any element type; the check runs on a float64 copy of its parameters.
    rows : Rows
        With float64 (or label) targets; the first 256 are used.
    entries : int
        Most entries of each block to check, drawn from `seed`. Entries at kinks are left out and
        others drawn; where nearly all are, the block is checked on fewer rows and with all
        parameters a little moved, and its `moved` says so.
    tolerance : float
        Largest error of a block that passes.

    Returns
    -------
    GradientReport
    """
    spec = replace(spec, dtype="float64")
    flat = state.get_flat().astype(np.float64)
    probes: dict[_Attempt, _Probe] = {}

    def probe(attempt: _Attempt) -> _Probe:
        if attempt not in probes:
            twin = new_state(make_plan(spec, 1), train.optimizer)
            noise = np.random.Generator(np.random.Philox(seed)).standard_normal(flat.size)
            twin.set_flat(flat + attempt.nudge * noise)
            probes[attempt] = _Probe(spec, train, twin, rows.first(attempt.rows), attempt)
        return probes[attempt]

    rng = np.random.Generator(np.random.Philox(seed))
    blocks, start = [], 0
    for block, part, values in state.parts():
        places = start + rng.permutation(values.size)
        name = block.symbol_of(part)
        blocks.append(_check_block(name, places, entries, probe))
        start += values.size
    return GradientReport(tuple(blocks), tolerance)


def _check_block(
    name: str, places: NDArray[np.int64], entries: int, probe: Callable[[_Attempt], _Probe]
) -> BlockError:
    """The first attempt that finds enough smooth entries, else the one that found most."""
    best = BlockError(name, 0.0, 0, 0)
    for attempt in _ATTEMPTS:
        found = probe(attempt).compare(name, places, entries)
        if found.checked > best.checked or not best.kinks:
            best = found
        if 4 * best.checked >= min(entries, len(places)):
            break
    return best


def relative_error(g: NDArray[np.float64], d: NDArray[np.float64]) -> float:
    """|g - d| / (|g| + |d|), 0 where both are 0."""
    size = float(np.linalg.norm(g) + np.linalg.norm(d))
    return float(np.linalg.norm(g - d)) / size if size else 0.0


def five_point(low2: float, low1: float, high1: float, high2: float, step: float) -> float:
    """Derivative at 0 from the values at -2, -1, 1 and 2 steps."""
    return (8.0 * (high1 - low1) - (high2 - low2)) / (12.0 * step)


class _Probe:
    """The loss as a function of one parameter."""

    def __init__(
        self, spec: ModelSpec, train: TrainSpec, state: State, rows: Rows, attempt: _Attempt
    ) -> None:
        self._engine = Engine(spec, train, state, rows, 1, True, explain=explain)
        self._state, self._spec, self._rows, self._attempt = state, spec, rows, attempt
        self._flat, self._l1 = state.get_flat(), train.l1 > 0
        _, arena = self._engine.loss_and_gradient()
        self._gradient = state.get_flat(arena)

    def _loss(self, place: int, shift: float) -> float:
        """Loss with one parameter shifted."""
        flat = self._flat.copy()
        flat[place] += shift
        self._state.set_flat(flat)
        return self._engine.loss_and_gradient()[0]

    def _difference(self, name: str, place: int) -> float | None:
        """Derivative by one parameter; None where a unit, residual or penalised weight changes
        sides within the formula's reach."""
        step = self._attempt.step
        if self._l1 and name[0] == "W" and abs(self._flat[place]) <= 2 * step:
            return None
        low, sides = self._loss(place, -2 * step), self._sides()
        high = self._loss(place, 2 * step)
        if not np.array_equal(sides, self._sides()):
            return None
        inner = self._loss(place, -step), self._loss(place, step)
        return five_point(low, *inner, high, step)

    def _sides(self) -> NDArray[np.bool_]:
        """Which side of its kinks every unit and residual of the last pass is on."""
        n, work = len(self._rows), self._engine.work
        sides = [np.zeros((n, 0), np.bool_)]
        layers = zip(self._spec.functions, work.buffers.saved, work.plan.layers, strict=True)
        for function, a, layer in layers:
            if function.row.kinked:  # z, or f(z), which has its sign
                sides.append(a[:n, : layer.n_out] > 0)
        loss = self._spec.loss_function
        if loss.row.kink is not None and self._rows.y is not None:
            residual = work.activations[-1][:n, : self._spec.n_outputs] - self._rows.y
            edge = loss.row.kink(loss.parameter)
            sides += [residual > edge, residual < -edge]
        return np.hstack(sides)

    def compare(self, name: str, places: NDArray[np.int64], entries: int) -> BlockError:
        """Up to `entries` smooth ones of the `places`; three times as many are looked at."""
        numeric: dict[int, float] = {}
        kinks = 0
        for place in places[: 3 * entries].tolist():
            difference = self._difference(name, place)
            if difference is None:
                kinks += 1
            else:
                numeric[place] = difference
            if len(numeric) == entries or (kinks == entries and not numeric):
                break
        moved = f"on {len(self._rows)} rows, every parameter moved by {self._attempt.nudge} N(0, 1)"
        error = relative_error(self._gradient[list(numeric)], np.array([*numeric.values()]))
        return BlockError(name, error, len(numeric), kinks, moved if self._attempt.nudge else "")
