"""Cells -> means, normalised errors, wins, ratios of time; as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, mean, median
from typing import Any

from bench.results import markdown
from bench.tables.cells import Outcome
from bench.tables.data import READERS
from bench.tables.peers import CONTESTANTS

__all__ = ["Results", "Row"]

#: Cores that others may use during a fit before the report says so.
QUIET = 0.2
#: What is shown of a cell: a field of `Outcome`, its unit and its figures.
SHOWN = {
    "error": ("Error: share of wrong classes, or RMSE over the target's deviation", "{:.4f}"),
    "log_loss": ("Log loss", "{:.4f}"),
    "fit": ("Seconds of fit (clock)", "{:.2f}"),
    "fit_cpu": ("Seconds of fit (all processors)", "{:.2f}"),
    "predict": ("Seconds of predict (clock)", "{:.3f}"),
    "mebibytes": ("Memory of the process at most, MiB", "{:.0f}"),
}

#: What seconds of a field are.
SECONDS = {"fit": "of the clock", "fit_cpu": "of all processors"}


@dataclass(frozen=True)
class Row:
    """One contestant on one table: means over the seeds.

    Attributes
    ----------
    seeds : tuple of int
    values : dict of float
        By a name in `SHOWN`, and `rows`, the test rows.
    """

    seeds: tuple[int, ...]
    values: dict[str, float]


class Results:
    """Cells of one kind of split, one number of cores, one time limit.

    Parameters
    ----------
    outcomes : iterable of Outcome
    development : bool
        Those on the development split, or those on the others.
    seeds : sequence of int, optional
        Only these.
    limit : float, optional
        Only this time limit, of those who take as long as they are given.
    cores : int, optional
        Only those with so many cores.
    """

    def __init__(
        self, outcomes: Iterable[Outcome], development: bool = False,
        seeds: Sequence[int] | None = None, limit: float | None = None, cores: int | None = None,
    ) -> None:  # fmt: skip
        self.cells: dict[tuple[str, str], dict[int, Outcome]] = {}
        for outcome in outcomes:
            key = outcome.key
            alike = key.development == development and cores in (None, key.cores)
            of_seeds = seeds is None or key.seed in seeds
            in_time = key.limit in (0.0, key.limit if limit is None else limit)
            if alike and of_seeds and in_time and not outcome.failed:
                self.cells.setdefault((key.table, key.contestant), {})[key.seed] = outcome

    @property
    def machines(self) -> list[dict[str, Any]]:
        """Where cells were measured, each once; how loaded it was is left out."""
        found: list[dict[str, Any]] = []
        for outcome in (outcome for cells in self.cells.values() for outcome in cells.values()):
            more = {"versions": outcome.versions, "load": None}
            if outcome.machine and outcome.machine | more not in found:
                found.append(outcome.machine | more)
        return found

    @property
    def tables(self) -> list[str]:
        """With any cell."""
        found = dict.fromkeys(table for table, _ in self.cells)
        return sorted(found, key=[*READERS, *found].index)

    @property
    def contestants(self) -> list[str]:
        """With any cell, ours first."""
        found = {contestant for _, contestant in self.cells}
        return [name for name in CONTESTANTS if name in found]

    def seeds(self, table: str, names: Iterable[str]) -> list[int]:
        """Seeds that all these have finished on a table."""
        each = [set(self.cells.get((table, name), {})) for name in names]
        return sorted(set.intersection(*each)) if each else []

    def row(self, table: str, name: str, seeds: Sequence[int] | None = None) -> Row | None:
        """Means over these seeds, or all that are there; None if there is none."""
        cells = self.cells.get((table, name), {})
        chosen = [cells[seed] for seed in (sorted(cells) if seeds is None else seeds)]
        if not chosen:
            return None
        values = {}
        for field in (*SHOWN, "rows"):
            found = [v for outcome in chosen if (v := getattr(outcome, field)) is not None]
            if found:
                values[field] = mean(found)
        return Row(tuple(o.key.seed for o in chosen), values)

    def compared(
        self, names: Sequence[str], field: str = "error", tables: Sequence[str] | None = None
    ) -> dict[str, dict[str, float]]:
        """Table -> contestant -> mean over the seeds that all of them have finished there."""
        found = {}
        for table in self.tables if tables is None else tables:
            seeds = self.seeds(table, names)
            rows = {name: self.row(table, name, seeds) for name in names}
            if seeds and all(row and field in row.values for row in rows.values()):
                found[table] = {n: row.values[field] for n, row in rows.items() if row}
        return found

    @property
    def others(self) -> list[float]:
        """Cores that other processes used during each fit, as far as that is known."""
        cells = (outcome for cells in self.cells.values() for outcome in cells.values())
        return [outcome.others for outcome in cells if outcome.others is not None]

    @property
    def seconds(self) -> str:
        """Field of the seconds that count: the clock's, if the machine was quiet all the time."""
        return "fit_cpu" if any(value > QUIET for value in self.others) else "fit"

    def complete(self) -> list[str]:
        """Contestants that have cells on every table."""
        return [n for n in self.contestants if all((t, n) in self.cells for t in self.tables)]


# -- arithmetic; a `Comparison` is what `Results.compared` returns


Comparison = dict[str, dict[str, float]]


def normalised(errors: Comparison) -> dict[str, float]:
    """Mean over the tables of (error - least) / (most - least), the extremes among these names.

    Where all have the same error, each has 0.
    """
    sums: dict[str, list[float]] = {}
    for values in errors.values():
        least, most = min(values.values()), max(values.values())
        for name, value in values.items():
            sums.setdefault(name, []).append((value - least) / ((most - least) or 1.0))
    return {name: mean(each) for name, each in sums.items()}


def wins(errors: Comparison, ours: str, theirs: str) -> int:
    """Tables on which `ours` has less."""
    return sum(values[ours] < values[theirs] for values in errors.values())


def geometric_ratio(errors: Comparison, ours: str, theirs: str) -> float:
    """Geometric mean of ours / theirs."""
    return geometric_mean(values[ours] / values[theirs] for values in errors.values())


def total_ratio(seconds: Comparison, ours: str, theirs: str) -> float:
    """All of ours / all of theirs."""
    return sum(v[ours] for v in seconds.values()) / sum(v[theirs] for v in seconds.values())


# -- markdown


def means(results: Results, field: str) -> str:
    """A table: means over the seeds, the least error of a row in bold."""
    names, form = results.contestants, SHOWN[field][1]
    rows = [["table", *names]]
    for table in results.tables:
        found = {name: results.row(table, name) for name in names}
        values = {n: row.values[field] for n, row in found.items() if row and field in row.values}
        if values:
            bold = min(values.values()) if field in ("error", "log_loss") else None
            rows.append([table, *(entry(values.get(name), form, bold) for name in names)])
    return markdown(rows)


def entry(value: float | None, form: str, bold: float | None) -> str:
    """One figure."""
    if value is None:
        return ""
    return f"**{form.format(value)}**" if value == bold else form.format(value)


def overview(results: Results) -> str:
    """One line for each contestant that is complete: errors, ranks, seconds."""
    from bench.tables.ranks import average_ranks

    names = results.complete()
    errors, clock, cpu = (results.compared(names, f) for f in ("error", "fit", "fit_cpu"))
    if not errors:
        return ""
    shares, ranks = normalised(errors), average_ranks(errors)
    rows = [["contestant", "mean normalised error", "average rank", "best on",
             "seconds of all fits", "CPU seconds"]]  # fmt: skip
    for name in sorted(names, key=shares.__getitem__):
        first = sum(values[name] == min(values.values()) for values in errors.values())
        rows.append(
            [name, f"{shares[name]:.3f}", f"{ranks[name]:.2f}", str(first),
             f"{sum(v[name] for v in clock.values()):.1f}",
             f"{sum(v[name] for v in cpu.values()):.1f}"]
        )  # fmt: skip
    return markdown(rows)


def quiet_told(results: Results) -> str:
    """How much others did during the fits; nothing where no cell knows."""
    others = results.others
    if not others:
        return ""
    told = (
        f"Other processes used {median(others):.2f} cores (median over {len(others)} fits),"
        f" {max(others):.2f} at most."
    )
    busy = sum(value > QUIET for value in others)
    return told + (f" NOT QUIET during {busy}: take no seconds of the clock." if busy else "")


def seeds_told(results: Results) -> str:
    """Which seeds there are, where not all have the same."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in results.contestants:
        rows = (results.row(table, name) for table in results.tables)
        seeds = {row.seeds for row in rows if row}
        groups.setdefault(tuple(sorted(set().union(*seeds))), []).append(name)
    return "; ".join(
        f"seeds {', '.join(map(str, seeds))}: {', '.join(names)}" for seeds, names in groups.items()
    )


def report(results: Results) -> str:
    """All tables."""
    parts = [f"{seeds_told(results)}. {quiet_told(results)}".strip(), overview(results)]
    for field, (title, _) in SHOWN.items():
        parts.append(f"**{title}**, means over the seeds\n\n{means(results, field)}")
    return "\n\n".join(part for part in parts if part)
