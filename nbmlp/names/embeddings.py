"""Embeddings of numbers: what is written ``"pbld(16, 4, 0.1)"``."""

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
    """

    frequencies: int = 16
    width: int = 4
    deviation: float = 0.1

    def __post_init__(self) -> None:
        label = "number_embedding pbld: "
        for name, value in {
            "frequencies": whole(f"{label}frequencies", self.frequencies, 1, _MOST),
            "width": whole(f"{label}width", self.width, 2, WIDEST),
            "deviation": number(f"{label}deviation", self.deviation),
        }.items():
            object.__setattr__(self, name, value)

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
        return f"pbld({self.frequencies}, {self.width}, {self.deviation})"


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
