"""Thirteen real tables as they came: text, categories and gaps kept; and how they are split."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.startup import mnist_folder

__all__ = ["CLASSES", "READERS", "REGRESSION", "Split", "Table", "available", "folder", "load"]

CLASSES, REGRESSION = "classes", "regression"
#: Shares of the test and of the validation rows; the rest is for training.
TEST, VALIDATION = 0.2, 0.16
GAPS = ("?", "")
#: The two columns whose sum is the target of `bike`, under a logarithm.
LEAKS = (15, 16)
ATTRIBUTE = re.compile(r"@attribute\s+(?P<name>'[^']*'|\S+)\s+(?P<kind>\{|\w+)", re.IGNORECASE)


class Split(NamedTuple):
    """Row numbers, rising."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
    task : str
        `CLASSES` or `REGRESSION`.
    columns : dict of ndarray
        The inputs: float64 with NaN for gaps, or text (object) with None for gaps.
    target : ndarray
        float64, or text (object).
    """

    name: str
    task: str
    columns: dict[str, np.ndarray]
    target: np.ndarray

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.target)

    @property
    def categories(self) -> list[str]:
        """Names of the columns of text."""
        return [name for name, values in self.columns.items() if values.dtype == object]

    @property
    def deviation(self) -> float:
        """Of the target over all rows: the unit of a regression's error."""
        return float(np.std(self.target))

    def frame(self, rows: np.ndarray | None = None) -> Any:
        """A pandas frame of these rows, as if it had been read from a file."""
        import pandas as pd

        whole = pd.DataFrame(self.columns)
        return whole if rows is None else whole.iloc[rows].reset_index(drop=True)

    def split(self, seed: int, development: bool = False) -> Split:
        """64/16/20, by class where there are classes; the same for whoever asks.

        The development split divides once more what seed 0 has beside its test part: settings may
        be chosen on it, and no row of that test part is ever in it.
        """
        if not development:
            return divide(self._strata(), seed)
        part = divide(self._strata(), 0)
        known = np.sort(np.concatenate([part.train, part.val]))
        return Split(*(known[rows] for rows in divide(self._strata()[known], seed)))

    def _strata(self) -> np.ndarray:
        if self.task == REGRESSION:
            return np.zeros(self.rows, int)
        return np.unique(self.target, return_inverse=True)[1]


def divide(strata: np.ndarray, seed: int) -> Split:
    """Each class is spread evenly over 0..1, then cut: every part has its share, within a row.

    The last row of a class lies beyond a half, in the training part: so a class of two rows can
    be learned, whatever the seed.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        offset = rng.random() if len(rows) > 1 else 1.0
        place[rng.permutation(rows)] = (np.arange(len(rows)) + offset) / len(rows)
    order = np.lexsort((rng.permutation(len(strata)), place))
    test, val = round(TEST * len(order)), round((TEST + VALIDATION) * len(order))
    return Split(*map(np.sort, (order[val:], order[test:val], order[:test])))


# -- files


def folder() -> Path:
    """NBMLP_DATA, else shared/data beside the checkout."""
    return mnist_folder().parent


def text_of(path: Path) -> str:
    """All of a file, unpacked if its name says so."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as f:
        return str(f.read())


def table(name: str, columns: dict[str, np.ndarray], target: str) -> Table:
    """One column of them is the target; where it is text, there are classes."""
    y = columns.pop(target)
    return Table(name, CLASSES if y.dtype == object else REGRESSION, columns, y)


def words(values: Sequence[str]) -> np.ndarray:
    """Text, with None for gaps."""
    filled = np.empty(len(values), object)
    filled[:] = [None if v in GAPS else v for v in values]
    return filled


def numbers_or_words(values: Sequence[str]) -> np.ndarray:
    """A column of numbers, if all are."""
    try:
        return np.array([np.nan if v in GAPS else float(v) for v in values])
    except ValueError:
        return words([v.strip() for v in values])


def arff(name: str) -> Table:
    """Numbers and nominal columns; the last one is the target.

    Read here: scipy's reader refuses `pendigits`, whose labels have spaces before them. Rows of
    `bank8FM` end with a comma.
    """
    text = text_of(folder() / "tabular" / f"{name}.arff.gz")
    lines = [line.rstrip(", ") for line in text.splitlines() if line.strip() and line[0] != "%"]
    start = next(i for i, line in enumerate(lines) if line.lower().startswith("@data"))
    columns = {}
    rows = csv.reader(lines[start + 1 :], quotechar="'", skipinitialspace=True)
    declared = (found for line in lines[:start] if (found := ATTRIBUTE.match(line)))
    for found, values in zip(declared, zip(*rows, strict=True), strict=True):
        read = words if found["kind"] == "{" else numbers_or_words
        columns[found["name"].strip("'")] = read([v.strip() for v in values])
    return table(name, columns, list(columns)[-1])


def nameless(name: str, without: Sequence[int] = ()) -> Table:
    """Numbers without a header; the last column is the target."""
    rows = np.loadtxt(io.StringIO(text_of(folder() / "tabular" / f"{name}.csv.gz")), delimiter=",")
    kept = [i for i in range(rows.shape[1]) if i not in without]
    return table(name, {f"c{i}": rows[:, i].copy() for i in kept}, f"c{kept[-1]}")


def with_header(path: str, name: str, target: str) -> Table:
    """A CSV file with a header."""
    header, *rows = csv.reader(io.StringIO(text_of(folder() / path)))
    columns = zip(*rows, strict=True)
    return table(name, dict(zip(header, map(numbers_or_words, columns), strict=True)), target)


def abalone() -> Table:
    """The variables X and y of a .mat file."""
    from scipy.io import loadmat

    data = loadmat(folder() / "abalone" / "abalone_all.mat")
    names = (
        "infant", "male", "length", "diameter", "height",
        "whole weight", "shucked weight", "viscera weight", "shell weight",
    )  # fmt: skip
    columns = dict(zip(names, data["X"].astype(float).T.copy(), strict=True))
    return Table("abalone", REGRESSION, columns, data["y"].ravel().astype(float))


READERS: dict[str, Callable[[], Table]] = {
    "cpu.act": lambda: arff("cpu.act"),
    "kin8nm": lambda: arff("kin8nm"),
    "bank8FM": lambda: arff("bank8FM"),
    "bike": lambda: nameless("bike", LEAKS),
    "elevators": lambda: nameless("elevators"),
    "spambase": lambda: arff("spambase"),
    "sick": lambda: arff("sick"),
    "nursery": lambda: arff("nursery"),
    "page.blocks": lambda: arff("page.blocks"),
    "pendigits": lambda: arff("pendigits"),
    "adult": lambda: with_header("adult/adult.csv.gz", "adult", "income-per-year"),
    "california": lambda: with_header(
        "california-housing/housing.csv", "california", "median_house_value"
    ),
    "abalone": abalone,
}
#: Where a table that is not in tabular/ lies.
ELSEWHERE = {"adult": "adult", "california": "california-housing", "abalone": "abalone"}


def available() -> list[str]:
    """Names of the tables at hand."""
    return [name for name in READERS if (folder() / ELSEWHERE.get(name, "tabular")).is_dir()]


@cache
def load(name: str) -> Table:
    """A table by name, kept for the next call."""
    return READERS[name]()
