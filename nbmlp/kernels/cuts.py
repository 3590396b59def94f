"""How threads share a step, as numbers in the tables."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Cut", "Share"]


class Cut(IntEnum):
    """What a thread computes of a layer, of the rows that it has at hand."""

    WHOLE = 0  # all of it: every thread has other rows at hand, or does the same as the others
    COLUMNS = 1  # its panels of all rows
    ROWS = 2  # all panels of its rows
    PART = 3  # all of it if it is its turn, else nothing


class Share(IntEnum):
    """What a thread owns of a block of parameters."""

    ROWS = 0  # some update blocks: rows
    PANELS = 1  # some panels of all rows
    UNITS = 2  # the rows of those units below whose columns it owns
