"""What is wished of a column plan: scaling of numbers, bounds of categories, and so on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nbmlp.checks import flag, whole
from nbmlp.errors import DataError, SpecError, unknown_name
from nbmlp.names import COLUMN_KINDS, SCALINGS

__all__ = ["MOST_BINS", "MOST_LEVELS", "Categorical", "Rules"]

#: Bounds that hold for files as well.
MOST_BINS, MOST_LEVELS = 1024, 1_000_000

Categorical = Literal["auto"] | Sequence[str | int | bool]

_MOST_ONE_HOT, _MOST_BESIDE_EMBEDDED = 100, 8


@dataclass(frozen=True)
class Rules:
    """Wishes, checked; :meth:`nbmlp.ColumnPlan.fit` has the words for each."""

    numbers: str = "standard"
    bins: int = 0
    most_one_hot: int | None = None
    min_count: int = 2
    embed: bool = False
    compact: bool | None = None
    categorical_features: Categorical = "auto"
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.numbers not in SCALINGS:
            raise unknown_name("scaling of numbers", self.numbers, SCALINGS)
        whole("bins", self.bins, low=0, high=MOST_BINS)
        whole("min_count", self.min_count)
        if self.most_one_hot is not None:
            whole("most_one_hot", self.most_one_hot, low=0, high=MOST_LEVELS)
        flag("embed", self.embed)
        for name, kind in self.overrides.items():
            if kind not in COLUMN_KINDS:
                raise unknown_name(f"kind for column {name!r},", kind, COLUMN_KINDS)

    @property
    def one_hot(self) -> int:
        """At most so many categories become zeros and ones."""
        if self.most_one_hot is not None:
            return self.most_one_hot
        return _MOST_BESIDE_EMBEDDED if self.embed else _MOST_ONE_HOT

    @property
    def leaves_out(self) -> bool:
        """Whether columns that nothing can be learned from are left out, and so on."""
        return self.numbers == "robust" or self.embed if self.compact is None else self.compact

    def wanted(self, names: Sequence[str]) -> dict[str, str]:
        """What was said of some of the columns.

        Raises
        ------
        DataError
            There is no such column.
        """
        given = dict.fromkeys(self._categorical(names), "category")
        for name, kind in self.overrides.items():
            if name not in names:
                raise _no_column(name, names)
            given[name] = kind
        return {name: kind for name, kind in given.items() if kind != "auto"}

    def _categorical(self, names: Sequence[str]) -> list[str]:
        said = self.categorical_features
        if isinstance(said, str):
            if said != "auto":
                raise SpecError(
                    f"categorical_features={said!r} must be 'auto', or a list of names, of numbers"
                    " or of true and false."
                )
            return []
        each = np.asarray(said).tolist() if not isinstance(said, list | tuple) else list(said)
        if each and all(isinstance(one, bool | np.bool_) for one in each):
            if len(each) != len(names):
                raise DataError(
                    f"categorical_features says {len(each)} times true or false, and there are"
                    f" {len(names)} columns."
                )
            return [name for name, one in zip(names, each, strict=True) if one]
        return [_named(one, names) for one in each]


def _named(one: object, names: Sequence[str]) -> str:
    if isinstance(one, str) and one in names:
        return one
    if isinstance(one, int | np.integer) and -len(names) <= one < len(names):
        return names[int(one)]
    raise _no_column(one, names, " to take as categorical")


def _no_column(name: object, names: Sequence[str], rest: str = "") -> DataError:
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return DataError(f"there is no column {name!r}{rest}{hint}")
