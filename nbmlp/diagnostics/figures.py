"""Figures in sentences: as many digits as it takes to see what is said of them."""

from __future__ import annotations

__all__ = ["apart", "beside_usual", "moved"]

#: A quotient between 1 / _NEAR and _NEAR is no difference worth a word.
_NEAR = 2.0
_MANY = 1000.0
_MOST_DIGITS = 17


def apart(a: float, b: float, digits: int = 3) -> tuple[str, str]:
    """Two numbers in as many digits as make them differ.

    Parameters
    ----------
    a, b : float
    digits : int
        Significant digits, at least.

    Returns
    -------
    tuple of str
        Equal only if the numbers are.
    """
    for n in range(digits, _MOST_DIGITS + 1):
        first, second = f"{a:.{n}g}", f"{b:.{n}g}"
        if first != second or a == b:
            break
    return first, second


def moved(before: float, after: float, digits: int = 4) -> str:
    """``"2.352 -> 0.0771"``; ``"stays at 2.352"`` where so many digits show no difference."""
    first, second = f"{before:.{digits}g}", f"{after:.{digits}g}"
    return f"stays at {first}" if first == second else f"{first} -> {second}"


def beside_usual(value: float, usual: float) -> str:
    """A setting beside its usual value, as part of a sentence."""
    ratio = value / usual
    if 1.0 / _NEAR <= ratio <= _NEAR:
        return f"about the usual {usual:g}"
    times = f"{ratio:.3g}" if ratio < _MANY else f"{ratio:,.0f}"
    return f"{times} times the usual {usual:g}"
