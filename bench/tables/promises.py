"""What the presets promise, each a line with its figures: kept, BROKEN, or cells missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.tables.data import READERS
from bench.tables.report import (
    SECONDS,
    Comparison,
    Results,
    geometric_ratio,
    normalised,
    total_ratio,
    wins,
)

__all__ = ["PROMISES", "Promise", "Verdict", "verdicts"]

ALL = tuple(READERS)
#: Where nets are compared with RealMLP-TD, which takes minutes a table.
NETS = ("cpu.act", "kin8nm", "bank8FM", "spambase", "page.blocks", "abalone")
#: Where presets and searches of minutes are compared.
LONG = ("cpu.act", "elevators", "adult", "california")
FAST, DEFAULT, BEST = "nbmlp-fast", "nbmlp-default", "nbmlp-best"
TREES = ("lightgbm", "catboost")
TUNED = ("lightgbm-tuned", "catboost-tuned")


@dataclass(frozen=True)
class Promise:
    """What is said, and of which cells.

    Attributes
    ----------
    text : str
    names : tuple of str
        Contestants, compared on the seeds that all of them have.
    tables : tuple of str
    judge : function
        Errors (or seconds) -> whether it is kept, the figures.
    field : str
        Of the cells.
    """

    text: str
    names: tuple[str, ...]
    tables: tuple[str, ...]
    judge: Callable[[Comparison], tuple[bool, str]]
    field: str = "error"


@dataclass(frozen=True)
class Verdict:
    """Of one promise; `kept` is None where cells are missing."""

    text: str
    kept: bool | None
    figures: str

    def __str__(self) -> str:
        mark = {True: "kept", False: "BROKEN", None: "open"}[self.kept]
        return f"{mark}: {self.text}: {self.figures}"


def below(ours: str, theirs: Sequence[str]) -> Callable[[Comparison], tuple[bool, str]]:
    """The mean normalised error is below that of each other."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        found = normalised(errors)
        figures = ", ".join(f"{name} {found[name]:.3f}" for name in (ours, *theirs))
        return all(found[ours] < found[name] for name in theirs), figures

    return judge


def won(ours: str, theirs: str, needed: int) -> Callable[[Comparison], tuple[bool, str]]:
    """Better on so many tables."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        count = wins(errors, ours, theirs)
        lost = [table for table, v in errors.items() if not v[ours] < v[theirs]]
        return count >= needed, f"{count} of {len(errors)} (not on {', '.join(lost) or 'none'})"

    return judge


def won_of_all(
    ours: str, theirs: Sequence[str], needed: int
) -> Callable[[Comparison], tuple[bool, str]]:
    """Better than each of several on so many tables."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        count = sum(values[ours] < min(values[n] for n in theirs) for values in errors.values())
        return count >= needed, f"{count} of {len(errors)}"

    return judge


def sooner(ours: str, theirs: str, factor: float) -> Callable[[Comparison], tuple[bool, str]]:
    """All fits of ours take at most `factor` times as long as theirs."""

    def judge(seconds: Comparison) -> tuple[bool, str]:
        ratio = total_ratio(seconds, ours, theirs)
        shown = f"{ratio:.2f} times" if ratio >= 1 else f"{1 / ratio:.1f} times sooner"
        return ratio <= factor, shown

    return judge


def mean_at_most(ours: str, theirs: str) -> Callable[[Comparison], tuple[bool, str]]:
    """The mean error over the tables is no greater."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        a, b = (sum(v[n] for v in errors.values()) / len(errors) for n in (ours, theirs))
        return a <= b, f"{a:.4f} against {b:.4f}"

    return judge


def ratio_at_most(ours: str, theirs: str, most: float) -> Callable[[Comparison], tuple[bool, str]]:
    """The geometric mean of ours / theirs."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        ratio = geometric_ratio(errors, ours, theirs)
        return ratio <= most, f"{ratio:.3f}"

    return judge


def within(
    ours: str, theirs: Sequence[str], factor: float
) -> Callable[[Comparison], tuple[bool, str]]:
    """On the one table that there is, at most `factor` times the better one's."""

    def judge(errors: Comparison) -> tuple[bool, str]:
        (values,) = errors.values()
        least = min(values[name] for name in theirs)
        return values[ours] <= factor * least, f"{values[ours]:.4f} against {least:.4f}"

    return judge


PROMISES = (
    Promise("default: mean normalised error below LightGBM's and CatBoost's",
            (DEFAULT, *TREES), ALL, below(DEFAULT, TREES)),
    Promise("default beats LightGBM on at least 9 of 13",
            (DEFAULT, *TREES), ALL, won(DEFAULT, "lightgbm", 9)),
    Promise("default beats CatBoost on at least 8 of 13",
            (DEFAULT, *TREES), ALL, won(DEFAULT, "catboost", 8)),
    Promise("default: fits take at most 6 times CatBoost's",
            (DEFAULT, "catboost"), ALL, sooner(DEFAULT, "catboost", 6), "fit"),
    Promise("fast beats scikit-learn's MLP on at least 12 of 13",
            (FAST, "sklearn-mlp"), ALL, won(FAST, "sklearn-mlp", 12)),
    Promise("fast: mean error on six tables at most RealMLP-TD's",
            (FAST, "realmlp"), NETS, mean_at_most(FAST, "realmlp")),
    Promise("fast: at least 8 times sooner than RealMLP-TD",
            (FAST, "realmlp"), NETS, sooner(FAST, "realmlp", 1 / 8), "fit"),
    Promise("fast: fits take at most as long as CatBoost's",
            (FAST, "catboost"), ALL, sooner(FAST, "catboost", 1), "fit"),
    Promise("best: geometric mean of best / default at most 0.97",
            (BEST, DEFAULT), LONG, ratio_at_most(BEST, DEFAULT, 0.97)),
    Promise("best beats tuned LightGBM and tuned CatBoost on at least 2 of 4",
            (BEST, *TUNED), LONG, won_of_all(BEST, TUNED, 2)),
    Promise("california: default at most CatBoost's error",
            (DEFAULT, "catboost"), ("california",), within(DEFAULT, ("catboost",), 1)),
    Promise("adult: default at most 4 % above the better of LightGBM and CatBoost",
            (DEFAULT, *TREES), ("adult",), within(DEFAULT, TREES, 1.04)),
)  # fmt: skip


def sick(results: Results, most: float = 1.5) -> Verdict:
    """Errors are counted there: the classes are so uneven that shares say little."""
    text = f"sick: default at most {most} more errors a seed than the better of the two"
    found = results.compared((DEFAULT, *TREES), tables=("sick",))
    if not found:
        return Verdict(text, None, "cells are missing")
    rows = next(iter(results.cells["sick", DEFAULT].values())).rows
    values = {name: rows * share for name, share in found["sick"].items()}
    more = values[DEFAULT] - min(values[name] for name in TREES)
    return Verdict(text, more <= most, f"{more:+.1f} of {rows} rows")


def verdict(promise: Promise, results: Results) -> Verdict:
    """Judge it on the cells that there are, if none is missing."""
    timed = promise.field == "fit"
    field = results.seconds if timed else promise.field
    found = results.compared(promise.names, field, promise.tables)
    missing = [table for table in promise.tables if table not in found]
    if missing:
        return Verdict(promise.text, None, f"no common cells on {', '.join(missing)}")
    kept, figures = promise.judge(found)
    if timed:
        figures += f" (seconds {SECONDS[field]})"
    return Verdict(promise.text, kept, f"{figures}, {seeds_of(promise, results)}")


def seeds_of(promise: Promise, results: Results) -> str:
    """How many seeds the tables have, the fewest."""
    fewest = min(len(results.seeds(table, promise.names)) for table in promise.tables)
    return f"{fewest} seed" if fewest == 1 else f"{fewest} seeds"


def verdicts(results: Results) -> Iterator[Verdict]:
    """All promises, one after the other."""
    for promise in PROMISES:
        yield verdict(promise, results)
    yield sick(results)
