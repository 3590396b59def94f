"""What a model was trained on, so that later rows are read in the same way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbmlp.data.arrays import Variables
from nbmlp.data.columns import first_text
from nbmlp.data.dataset import ColumnRef, Dataset
from nbmlp.data.readers import read
from nbmlp.data.samples import SAMPLES
from nbmlp.data.table import Table
from nbmlp.errors import DataError, Place
from nbmlp.rows import Names

__all__ = ["Origin"]

#: What readers call a column that has no name.
_NAMELESS = re.compile(r"x\d+")


@dataclass(frozen=True)
class Origin:
    """Names and kind of the columns that a model learned from.

    Attributes
    ----------
    feature_names, target_names : tuple of str
        Columns of X and y, in order.
    table : bool
        X went through a column plan, which takes text as well.
    source : str
        Where the rows came from.
    text : tuple of str
        Columns of text: they stay so where further rows happen to hold nothing but numbers.
    """

    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    table: bool
    source: str = ""
    text: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Dataset) -> Origin:
        """The origin of a model trained on `data`; a plan is taken to be used for a Table."""
        table = data.X if isinstance(data.X, Table) else None
        text = [name for name in table or () if table and table[name].dtype == object]
        if data.y is not None and data.y.dtype == object:
            text += data.target_names
        return cls(
            data.feature_names, data.target_names, table is not None, data.source, tuple(text)
        )

    def read(
        self,
        source: str | os.PathLike[str],
        *,
        target: ColumnRef | None = None,
        columns: ColumnRef | None = None,
        variables: Variables | None = None,
        header: bool | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
        separator: str | None = None,
    ) -> Dataset:
        """Read rows for the model: the same columns by name, or by place where they have none.

        Parameters
        ----------
        source, variables, header, decimal, encoding, separator
            See :func:`nbmlp.data.read`.
        target, columns : str, int or sequence of them, optional
            Where `source` calls them otherwise than the training data did.

        Returns
        -------
        Dataset
            y is None where the source has no target column; further columns are ignored.

        Raises
        ------
        DataError
            As :func:`nbmlp.data.read`; columns are missing or too many, or hold another kind of
            values than the model learned from.
        """
        if Path(source).is_dir() or (str(source) in SAMPLES and not Path(source).exists()):
            data = read(source)
        else:
            data = self._read_file(
                source, target, columns, variables=variables, header=header, decimal=decimal,
                encoding=encoding, separator=separator,
            )  # fmt: skip
        for part in (data, data.test):
            if part is not None:
                self._check(part)
        return data

    def _read_file(
        self,
        source: str | os.PathLike[str],
        target: ColumnRef | None,
        columns: ColumnRef | None,
        **form: Any,
    ) -> Dataset:
        known = self.target_names[0] if len(self.target_names) == 1 else self.target_names
        form |= {"target": target if target is not None else known or None}
        form |= {"require_target": target is not None, "text": self.text}
        named = columns if columns is not None else self.feature_names
        if not all(map(_NAMELESS.fullmatch, self.feature_names)):
            return read(source, columns=named, **form)
        try:
            return read(source, columns=named, **form)
        except DataError:  # nameless columns may be counted otherwise when the target is left out
            form["target"] = target
            return read(source, columns=columns, **form)

    def _check(self, data: Dataset) -> None:
        found, wanted = data.X.shape[1], len(self.feature_names)
        if found != wanted:
            raise DataError(
                f"{data.source} has {found} input columns: the model learned from {wanted}."
            )
        if isinstance(data.X, Table) and not self.table:
            raise _text_found(data.X, data.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def noted(cls, notes: Mapping[str, Any]) -> Origin | None:
        """What :meth:`to_dict` left at "origin" in a model's notes.

        None where there is nothing, or something else: notes are the user's.
        """
        values: Any = notes.get("origin")
        try:
            names = {k: tuple(map(str, values[k])) for k in ("feature_names", "target_names")}
            text = tuple(map(str, values.get("text", ())))
            return cls(**{**values, **names, "text": text})
        except (AttributeError, KeyError, TypeError):
            return None


def _text_found(table: Table, source: str) -> DataError:
    name = next(n for n in table if table[n].dtype == object)
    error = first_text(table[name], Place(0, name=name), ", and the model learned from numbers.")
    return Names(X=source).called(error)
