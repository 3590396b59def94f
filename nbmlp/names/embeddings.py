"""Embeddings of numbers: what is written ``"pbld(16, 4, 0.1)"`` or ``"pbld(16, 4, 0.05, 10)"``."""

from __future__ import annotations

from dataclasses import dataclass

from nbmlp.checks import number, whole
from nbmlp.names.grammar import build

__all__ = ["NO_EMBEDDING", "WIDEST", "Periodic", "read_embedding"]

#: No embedding, as it is written.
NO_EMBEDDING = "none"
#: The most that a number may become: each width has a kernel of its own.
WIDEST = 8
_MOST = 1024


@dataclass(frozen=True)
class Periodic:
    """PBLD: a number x becomes [x, W2.cos(2 pi w1 x + b1) + b2] (Holzmüller et al. 2024).

    Attributes
    ----------
    frequencies : int
        Cosines of each number.
    width : int
        What it becomes, x itself included.
    deviation : float
        Of the first w1, which are normal.
    max_deviation : float, optional
        With it each w1 has a deviation of its own, drawn log-uniformly from `deviation` to it: slow
        and fast waves of each number.
    """

    frequencies: int = 16
    width: int = 4
    deviation: float = 0.1
    max_deviation: float | None = None

    def __post_init__(self) -> None:
        label = "number_embedding pbld: "
        for name, value in {
            "frequencies": whole(f"{label}frequencies", self.frequencies, 1, _MOST),
            "width": whole(f"{label}width", self.width, 2, WIDEST),
            "deviation": number(f"{label}deviation", self.deviation),
        }.items():
            object.__setattr__(self, name, value)
        if self.max_deviation is not None:
            number(f"{label}deviation, with a max_deviation,", self.deviation, closed_low=False)
            most = number(f"{label}max_deviation", self.max_deviation, self.deviation)
            object.__setattr__(self, "max_deviation", most)

    @property
    def outputs(self) -> int:
        """Besides x itself."""
        return self.width - 1

    @property
    def parameters(self) -> int:
        """Of each number: w1, b1, W2, b2."""
        return 2 * self.frequencies + self.frequencies * self.outputs + self.outputs

    def __str__(self) -> str:
        """As specs and model files have it."""
        most = "" if self.max_deviation is None else f", {self.max_deviation}"
        return f"pbld({self.frequencies}, {self.width}, {self.deviation}{most})"


def read_embedding(text: object) -> Periodic | None:
    """Read ``pbld``, ``pbld(16, 4, 0.1)`` or ``none``.

    Raises
    ------
    SpecError
        Unknown name, or numbers that it does not take.
    """
    if str(text).strip() == NO_EMBEDDING:
        return None
    return build(str(text), "number_embedding", {"pbld": Periodic})
