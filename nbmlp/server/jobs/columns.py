"""What a job's data cannot be trained on, told before it starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from nbmlp.data.dataset import choose
from nbmlp.errors import DataError, Place, RowError
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.records import Dataset

__all__ = ["FieldError", "check_columns"]

#: What targets beside a matrix are called, which need not be named.
_BESIDE = re.compile(r"y\d*")


class FieldError(DataError):
    """A field of a job does not go with its data.

    Attributes
    ----------
    field : str
        ``"target"``, ``"columns"`` or ``"model.column_kinds"``.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


@contextmanager
def _about(field: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise FieldError(str(error), field) from error


def _check_kinds(kinds: Mapping[str, str], inputs: Sequence[str]) -> None:
    for name in kinds:
        if name not in inputs:
            near = difflib.get_close_matches(name, inputs, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DataError(f"the data set has no input column {name!r}{hint}")


def check_columns(spec: JobSpec, data: Dataset) -> None:
    """Refuse columns that do not exist, and targets with gaps that the job is not to drop.

    Raises
    ------
    FieldError
        The nearest name, or the first row without a target, is named.
    """
    names = [c.name for c in data.columns]
    wanted = [] if spec.target is None else spec.target
    wanted = wanted if isinstance(wanted, list) else [wanted]
    with _about("target"):
        choose(names, wanted or None, None, "the data set")
    with _about("columns"):
        features, targets = choose(names, wanted or None, spec.columns, "the data set")
    with _about("model.column_kinds"):
        _check_kinds(spec.model.column_kinds or {}, [names[j] for j in features])
    if spec.model.on_nonfinite in ("drop_rows", "impute"):  # leave such rows out
        return
    if not targets and data.format not in ("csv", "parquet"):
        targets = [j for j, name in enumerate(names) if _BESIDE.fullmatch(name)]
    for column in (data.columns[j] for j in targets):
        if column.first_gap is not None:
            place = Place(column.first_gap, name=column.name)
            rest = ": each row needs its target; mend it, or take on_nonfinite 'drop_rows'."
            with _about("target"):
                raise RowError("the data set", "has no finite value", place, rest)
