"""``python -m bench.reading``: how fast text tables are read, beside polars and pandas.

Tables of ten columns of numbers with all their digits, and one of text, as several programs write
them. Turns of one reader after the other in one process, one thread each; medians over the rounds
of the CPU's time, which is the clock's on a machine that is not busy. The others are told the
separator and the decimal mark, and check less: see ``docs/decisions/0018-csv-intake.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import machine
from bench.options import whole
from bench.results import machine_lines, markdown

__all__ = ["TABLES", "main", "write_table"]

COLUMNS, TOWNS = 10, ("Bonn", "Rome", "Ulm", "Kiel", "Oslo")
#: Separator, decimal mark, quotes around text, share of missing numbers; None: no text.
TABLES: dict[str, tuple[str, str, str | None, float]] = {
    "numbers only": (",", ".", None, 0.0),
    "text": (",", ".", "", 0.0),
    "text in quotes": (",", ".", '"', 0.0),
    "text, 5 % of the numbers missing": (",", ".", "", 0.05),
    "text, decimal commas": (";", ",", "", 0.0),
}
Reader = Callable[[Path, str, str], Any]


def write_table(path: Path, kind: str, megabytes: float, seed: int = 0) -> None:
    """A table of `TABLES`, some `megabytes` large."""
    separator, decimal, quote, gaps = TABLES[kind]
    rng = np.random.default_rng(seed)
    names = [f"x{j}" for j in range(COLUMNS)] + (["town"] if quote is not None else [])
    with path.open("w", encoding="utf-8") as file:
        file.write(separator.join(names) + "\n")
        while file.tell() < megabytes * 1e6:
            for row in rng.normal(size=(1000, COLUMNS)).tolist():
                cells = [repr(value).replace(".", decimal) for value in row]
                if gaps:
                    cells = [cell if rng.random() > gaps else "" for cell in cells]
                if quote is not None:
                    cells.append(f"{quote}{TOWNS[rng.integers(len(TOWNS))]}{quote}")
                file.write(separator.join(cells) + "\n")


def ours(path: Path, separator: str, decimal: str) -> Any:
    from nbmlp.data import read

    return read(path)


def ours_alone(path: Path, separator: str, decimal: str) -> Any:
    with without_polars():
        return ours(path, separator, decimal)


@contextmanager
def without_polars() -> Iterator[None]:
    """As where only the base package is installed."""
    from nbmlp.data import quick

    found = quick._polars
    quick._polars = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        quick._polars = found


def polars(path: Path, separator: str, decimal: str) -> Any:
    import polars as pl

    return pl.read_csv(
        path, separator=separator, decimal_comma=decimal == ",", infer_schema_length=None
    )


def pandas(path: Path, separator: str, decimal: str) -> Any:
    import pandas as pd

    return pd.read_csv(path, sep=separator, decimal=decimal)


READERS: dict[str, Reader] = {
    "nbmlp": ours, "nbmlp without polars": ours_alone, "polars": polars, "pandas": pandas,
}  # fmt: skip


def measure(path: Path, kind: str, rounds: int) -> dict[str, float]:
    """Reader -> MB/s."""
    separator, decimal, *_ = TABLES[kind]
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, reader in READERS.items():
            start = time.process_time()
            reader(path, separator, decimal)
            seconds[name].append(time.process_time() - start)
    return {name: path.stat().st_size / 1e6 / median(took) for name, took in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__)
    parser.add_argument("--megabytes", type=whole, default=81, help="Of each table.")
    parser.add_argument("--rounds", type=whole, default=3)
    given = parser.parse_args(arguments)
    os.environ["POLARS_MAX_THREADS"] = "1"  # before it is imported
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for kind in TABLES:
            write_table(path, kind, given.megabytes)
            speeds = measure(path, kind, given.rounds)
            lines.append([kind, *(f"{speed:.0f}" for speed in speeds.values())])
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{machine_lines(machine.describe())}\nMB/s, tables of {given.megabytes} MB\n")
    print(markdown([["table", *READERS], *lines]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
