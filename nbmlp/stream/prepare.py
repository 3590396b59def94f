"""From files to rows to train on: the plan column by column, the ready rows in one pass more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.data.columns import ColumnPlan, NumberColumn
from nbmlp.data.columns.access import Columns
from nbmlp.data.columns.choose import check_left, chosen
from nbmlp.data.columns.facts import Column
from nbmlp.data.columns.left_out import gaps
from nbmlp.data.columns.rules import Rules
from nbmlp.data.dataset import ColumnRef, choose
from nbmlp.data.given import Given, division
from nbmlp.data.outliers import Far, lone_values, tell
from nbmlp.errors import DataError, Place, RowError, SpecError
from nbmlp.rows import Names
from nbmlp.spec import TaskSpec
from nbmlp.stream.cells import (
    check_types,
    groups,
    read_columns,
    read_targets,
    read_weights,
    texts_of,
)
from nbmlp.stream.folder import Entry
from nbmlp.stream.making import Making
from nbmlp.stream.ready import mapped, write_rows
from nbmlp.stream.source import Source

__all__ = ["Wanted", "prepare", "prepare_more"]

#: What the state of an entry tells; one that lacks some is made anew.
_KNOWN = frozenset(
    ("plan", "labels", "written", "safe", "rows", "source", "targets", "remark", "texts")
)


@dataclass(frozen=True)
class Wanted:
    """What is to be learned from files.

    Attributes
    ----------
    target, columns : names or numbers, or None
        Columns of targets and of inputs; all others are inputs by default.
    task : TaskSpec
    seed : int
        Of the rows that are set aside.
    share : float or None
        Of the rows, to validate on.
    weights : str, array-like (rows,) or None
        Of the rows of all files, or the column where they are.
    """

    target: ColumnRef | None
    columns: ColumnRef | None
    task: TaskSpec
    seed: int = 0
    share: float | None = None
    weights: ArrayLike | None = None


class Told(NamedTuple):
    """What was seen of the columns of files.

    Attributes
    ----------
    remark : str
        What is odd about their values, in a sentence; empty where nothing is.
    texts : tuple of str
        Columns of text.
    """

    remark: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _Parts:
    """Which rows go where.

    Attributes
    ----------
    train, held : ndarray of int64 (rows,), or None
        Numbers of rows among those of all files; None: all of them, and none of them.
    """

    train: NDArray[np.int64] | None = None
    held: NDArray[np.int64] | None = None

    def files(self, n: int) -> dict[str, NDArray[np.bool_] | None]:
        """Which rows each file of an entry gets."""
        if self.held is None:
            return {"train.f32": None}
        held = np.zeros(n, bool)
        held[self.held] = True
        return {"train.f32": ~held, "held.f32": held}


def prepare(
    files: str | os.PathLike[str], wanted: Wanted, making: Making
) -> tuple[Given, Given | None, Told]:
    """Rows to train on, those set aside, and what else there is to say of the columns.

    Parameters
    ----------
    files : path, folder, pattern or address
    wanted : Wanted
    making : Making

    Returns
    -------
    train : Given
    held : Given or None
    told : Told

    Raises
    ------
    DataError, SpecError
        Whatever is wrong with the files, their columns and values, or the folder of ready rows.
    """
    source = Source.of(files)
    features, targets = _columns(source, wanted.target, wanted.columns, wanted.weights)
    weights = _weights(wanted.weights, source)
    of = {"features": features, "targets": targets, **_wishes(wanted)}
    with making.entry(source, of) as entry:
        state = _intact(entry)
        y = _kept(entry, state) if state else _Targets.read(source, targets)
        parts = _parts(y.values, wanted)
        if not state:
            plan, remark = _plan(source, features, wanted.task, parts.train, making)
            state = _begun(entry, source, plan, y, targets, remark, texts_of(source, features))
        told = Told(state["remark"], tuple(state["texts"]))
        return (*_mapped(entry, source, state, y, parts, weights, making), told)


def prepare_more(
    files: str | os.PathLike[str], plan: ColumnPlan, target: ColumnRef, making: Making | None = None
) -> Given:
    """Further rows with their targets, as a plan that is known has them.

    Raises
    ------
    DataError
        As :func:`prepare`; columns of the plan are missing.
    """
    source = Source.of(files)
    columns = [name for name in plan.columns if name in source.schema]
    _, targets = _columns(source, target, columns or None)
    of = {"plan": plan.to_dict(), "targets": targets}
    with nullcontext(making) if making else Making() as made, made.entry(source, of) as entry:
        state = _intact(entry)
        y = _kept(entry, state) if state else _Targets.read(source, targets)
        if not state:
            state = _begun(entry, source, plan, y, targets)
        return _mapped(entry, source, state, y, _Parts(), None, made)[0]


def _columns(
    source: Source, target: ColumnRef | None, columns: ColumnRef | None, weights: object = None
) -> tuple[list[str], list[str]]:
    """Inputs and targets; a column of weights is an input only where it is said to be one."""
    names = [name for name in source.schema if columns is not None or name != weights]
    if target is None:
        raise SpecError(
            f"target= is missing: name the column of {source.name} that is to be predicted."
        )
    choice = choose(names, target, columns, source.name)
    features = [names[j] for j in choice.features]
    check_types(source, features)
    return features, [names[j] for j in choice.targets]


def _wishes(wanted: Wanted) -> dict[str, Any]:
    """All that decides what becomes of the rows, as plain values."""
    task = wanted.task
    kinds = dict(sorted((task.column_kinds or {}).items()))
    found: dict[str, Any] = {
        "scaling": task.scaling, "bins": task.bins, "embed": task.category_embedding,
        "kinds": kinds,
    }  # fmt: skip
    if wanted.share is not None:
        found |= {"share": wanted.share, "seed": wanted.seed, "classes": task.task == "classes"}
    return found


# -- the entry


def _intact(entry: Entry) -> dict[str, Any]:
    """What is known of the entry; nothing where its files are not as it says."""
    state = entry.state()
    try:
        width = 4 * ColumnPlan.from_dict(state["plan"]).n_features
        for name, rows in state["safe"].items():
            if (entry.folder / name).stat().st_size < width * rows:
                return {}
        return state if state.keys() >= _KNOWN and (entry.folder / "y.npy").exists() else {}
    except (KeyError, DataError, OSError, AttributeError, TypeError):
        return {}


def _begun(
    entry: Entry, source: Source, plan: ColumnPlan, y: _Targets, targets: Sequence[str],
    remark: str = "", texts: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Keep the plan and the targets: what is left to do can be gone on with."""
    for old in entry.folder.glob("*.f32"):
        old.unlink()
    np.save(entry.folder / "y.npy", y.values)
    state = {
        "plan": plan.to_dict(), "labels": y.labels, "written": 0, "safe": {}, "rows": source.rows,
        "source": source.name, "targets": targets, "remark": remark, "texts": texts,
    }  # fmt: skip
    entry.note(state)
    return state


def _kept(entry: Entry, state: dict[str, Any]) -> _Targets:
    return _Targets(np.load(entry.folder / "y.npy"), state["labels"])


def _mapped(
    entry: Entry, source: Source, state: dict[str, Any], y: _Targets, parts: _Parts,
    weights: NDArray[Any] | None, making: Making,
) -> tuple[Given, Given | None]:  # fmt: skip
    """Write what is not yet written, and map all of it."""
    plan = ColumnPlan.from_dict(state["plan"])
    if state["written"] < source.rows:
        write_rows(entry, source, plan, parts.files(source.rows), making.tell)
    entry.touch()
    names = Names(
        columns=plan.columns, targets=tuple(state["targets"]), X=source.name, y=source.name
    )
    whole = Given(None, y.known(), weights, names)
    train = _given(entry.folder / "train.f32", plan, whole, parts.train)
    if parts.held is None:
        return train, None
    return train, _given(entry.folder / "held.f32", plan, whole, parts.held)


def _given(path: Path, plan: ColumnPlan, whole: Given, rows: NDArray[np.int64] | None) -> Given:
    y, weights, names = whole.y, whole.weights, whole.names
    if rows is not None:
        y, names = y[rows], names.take(rows)
        weights = None if weights is None else weights[rows]
    return Given(mapped(path, len(y), plan), y, weights, names)


def _weights(weights: ArrayLike | None, source: Source) -> NDArray[Any] | None:
    if weights is None:
        return None
    if isinstance(weights, str):
        return read_weights(source, weights)
    found = np.asarray(weights)
    if found.shape != (source.rows,):
        raise DataError(
            f"sample_weight has shape {found.shape}: {source.name} has {source.rows} rows."
        )
    return found


# -- the first pass


@dataclass(frozen=True)
class _Targets:
    """Targets of all rows, none of them missing.

    Attributes
    ----------
    values : ndarray (rows,) or (rows, targets)
        Of texts, their numbers among the labels.
    labels : list of str, or None
    """

    values: NDArray[Any]
    labels: list[str] | None = None

    @classmethod
    def read(cls, source: Source, targets: Sequence[str]) -> _Targets:
        """Those of some files. Raises RowError where one is missing."""
        y = read_targets(source, targets)
        missing = gaps(y if y.ndim == 1 else y.sum(axis=1))
        if missing.any():
            place = Place(int(missing.argmax()), None, targets[0] if len(targets) == 1 else "")
            with source.telling():
                raise RowError("y", "has no target", place, ": mend it or leave that row out.")
        if y.dtype != object:
            return cls(y)
        labels = sorted({*y.tolist()})
        number = {label: k for k, label in enumerate(labels)}
        return cls(np.fromiter(map(number.__getitem__, y), np.int32, len(y)), labels)

    def known(self) -> NDArray[Any]:
        """As they are in the files."""
        return self.values if self.labels is None else np.array(self.labels, object)[self.values]


def _parts(y: NDArray[Any], wanted: Wanted) -> _Parts:
    if wanted.share is None:
        return _Parts()
    return _Parts(*division(y, wanted.share, wanted.seed, wanted.task.task == "classes"))


def _plan(
    source: Source, features: list[str], task: TaskSpec, rows: NDArray[np.int64] | None,
    making: Making,
) -> tuple[ColumnPlan, str]:  # fmt: skip
    """What a plan of the whole table would be, a few whole columns at a time."""
    rules = Rules(
        task.scaling, task.bins, embed=task.category_embedding, overrides=task.column_kinds or {}
    )
    wanted = rules.wanted(features)
    columns: list[Column] = []
    lone: list[Far] = []
    for group in groups(source, features):
        making.tell(len(columns) / len(features), f"planning the columns of {source.name}")
        table = read_columns(source, group, rows)
        lone += [replace(one, column=one.column + len(columns)) for one in lone_values(table)]
        with source.telling(rows):
            columns += chosen(Columns(table, None), rules, wanted, beside=True)
    numbers = [j for j, column in enumerate(columns) if isinstance(column, NumberColumn)]
    if len(numbers) == 1:
        alone = read_columns(source, [features[numbers[0]]], rows)
        columns[numbers[0]] = chosen(Columns(alone, None), rules, wanted)[0]
    n = source.rows if rows is None else len(rows)
    check_left(columns, n)
    names = Names(rows=rows, columns=tuple(features), X=source.name)
    return ColumnPlan(tuple(columns), None, n), tell(lone, names)
