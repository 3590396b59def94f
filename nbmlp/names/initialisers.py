"""Initialisers: one row each, with how the weights are drawn.

Drawn in float64 by NumPy; biases start at zero, whatever the initialiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import number
from nbmlp.errors import SpecError
from nbmlp.names.grammar import Row, parse_call, resolve

__all__ = ["INITIALISERS", "Initialiser", "Start", "deviation", "read_initialiser"]

Weights = NDArray[np.float64]
#: Weights (n_in, n_out) from a generator, n_in, n_out and the numbers behind the name.
Draw = Callable[[np.random.Generator, int, int, Sequence[float]], Weights]


@dataclass(frozen=True, kw_only=True)
class Initialiser(Row):
    """What is to be known of an initialiser.

    Attributes
    ----------
    fewest, most : int
        How many numbers it takes.
    low : float
        The least that each may be; they are written in ascending order.
    draw : callable
        See :data:`Draw`.
    """

    fewest: int
    most: int
    low: float
    draw: Draw


def _deviation_of(scale: float, fan: float) -> float:
    """Standard deviation with which a signal keeps its size through so many inputs."""
    return math.sqrt(scale / fan)


#: Families by name: standard deviation of weights (n_in, n_out).
_FAMILIES: dict[str, Callable[[int, int], float]] = {
    "glorot": lambda n_in, n_out: _deviation_of(1.0, (n_in + n_out) / 2),
    "he": lambda n_in, n_out: _deviation_of(2.0, n_in),
    "lecun": lambda n_in, n_out: _deviation_of(1.0, n_in),
}


def deviation(name: str, n_in: int, n_out: int) -> float:
    """Standard deviation of the weights that Glorot, He or LeCun draws, e.g. ``"he_uniform"``."""
    return _FAMILIES[name.partition("_")[0]](n_in, n_out)


def _uniform_of(family: str) -> Initialiser:
    """Uniform with the family's deviation, times a number."""

    def draw(
        rng: np.random.Generator, n_in: int, n_out: int, numbers: Sequence[float]
    ) -> Weights:
        bound = _gain(numbers) * _FAMILIES[family](n_in, n_out) * math.sqrt(3.0)
        return rng.uniform(-bound, bound, (n_in, n_out))

    return Initialiser(name=f"{family}_uniform", fewest=0, most=1, low=0.0, draw=draw)


def _normal_of(family: str) -> Initialiser:
    """Normal with the family's deviation, times a number."""

    def draw(
        rng: np.random.Generator, n_in: int, n_out: int, numbers: Sequence[float]
    ) -> Weights:
        return rng.normal(0.0, _gain(numbers) * _FAMILIES[family](n_in, n_out), (n_in, n_out))

    return Initialiser(name=f"{family}_normal", fewest=0, most=1, low=0.0, draw=draw)


def _gain(numbers: Sequence[float]) -> float:
    return numbers[0] if numbers else 1.0


def _orthogonal(
    rng: np.random.Generator, n_in: int, n_out: int, numbers: Sequence[float]
) -> Weights:
    """Rows or columns orthonormal, whichever are fewer (Saxe, McClelland and Ganguli 2014)."""
    tall = rng.standard_normal((max(n_in, n_out), min(n_in, n_out)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # uniform over the orthogonal matrices
    return np.asarray(_gain(numbers) * (q if n_in >= n_out else q.T))


_ROWS = (
    _uniform_of("glorot"),
    _normal_of("glorot"),
    _uniform_of("he"),
    _normal_of("he"),
    _uniform_of("lecun"),
    _normal_of("lecun"),
    Initialiser(
        name="uniform", fewest=2, most=2, low=-math.inf,
        draw=lambda rng, n_in, n_out, ends: rng.uniform(ends[0], ends[1], (n_in, n_out)),
    ),
    Initialiser(
        name="normal", fewest=1, most=1, low=0.0,
        draw=lambda rng, n_in, n_out, one: rng.normal(0.0, one[0], (n_in, n_out)),
    ),
    Initialiser(name="orthogonal", fewest=0, most=1, low=0.0, draw=_orthogonal),
    Initialiser(
        name="zeros", fewest=0, most=0, low=0.0,
        draw=lambda rng, n_in, n_out, _: np.zeros((n_in, n_out)),
    ),
)  # fmt: skip
INITIALISERS: dict[str, Initialiser] = {row.name: row for row in _ROWS}


_AUTO = Row(name="auto")


@dataclass(frozen=True)
class Start:
    """The first weights of a net, as ``"uniform(-1, 1)"`` names them.

    Attributes
    ----------
    row : Initialiser or None
        None is ``"auto"``: each layer's activation decides.
    numbers : tuple of float
    """

    row: Initialiser | None
    numbers: tuple[float, ...] = ()

    def __str__(self) -> str:
        """As specs and model files have it."""
        name = (self.row or _AUTO).name
        return f"{name}({', '.join(map(repr, self.numbers))})" if self.numbers else name


def read_initialiser(text: object) -> Start:
    """Read ``name`` or ``name(number, ...)``.

    Raises
    ------
    SpecError
        Unknown name, or numbers that it does not take.
    """
    call = parse_call(text, "init")
    name = resolve(call.name, {"auto": _AUTO, **INITIALISERS}, "init")
    row = INITIALISERS.get(name)
    fewest, most = (row.fewest, row.most) if row else (0, 0)
    if not fewest <= len(call.args) <= most or call.kwargs:
        takes = f"{fewest} to {most}" if fewest != most else fewest or "no"
        raise SpecError(
            f"init {text!r}: {name} takes {takes} plain number(s), {len(call.args)} given."
        )
    low = row.low if row else 0.0
    numbers = tuple(number(f"init {text!r}: value", a, low) for a in call.args)
    if list(numbers) != sorted(numbers):
        raise SpecError(f"init {text!r}: write the lower end of the range first.")
    return Start(row, numbers)
