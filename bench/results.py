"""What one run yields: plain values, ratios, and the table made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import geometric_mean, median
from typing import Any

from bench.limit import Limit
from bench.nets import Net
from bench.peers import OURS, PEERS

__all__ = [
    "Cell",
    "Result",
    "Run",
    "header",
    "machine_lines",
    "markdown",
    "notes",
    "summary",
    "table",
    "thousands",
]

#: Cores that others may use, median over the turns, before the table says so.
QUIET = 0.1


@dataclass
class Result:
    """One peer on one net and batch size.

    Attributes
    ----------
    variant : str
        The configuration that was fastest.
    threads : int
        Threads that it was given.
    rates : list of float
        Samples per second, one per round.
    cores : list of float
        Processor seconds per second in the same rounds.
    deviation : float or None
        After a few batches in the order of the rows: the greatest
        ||w - w_numpy|| / ||w_numpy - w_first|| over the parameter arrays; None where it was not
        compared.
    unlike : str or None
        Why it was not compared.
    wrong : str or None
        Why the figures do not count.
    """

    variant: str
    threads: int
    rates: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    deviation: float | None = None
    unlike: str | None = None
    wrong: str | None = None

    @property
    def rate(self) -> float:
        """Median over the rounds; 0 before the first."""
        return median(self.rates) if self.rates else 0.0


@dataclass
class Cell:
    """All peers on one net and batch size.

    Attributes
    ----------
    net : Net
    batch : int
    results : dict of Result
        By peer.
    skipped : dict of str
        Reason, by peer.
    others : list of float
        Cores that processes outside the benchmark used, turn by turn.
    """

    net: Net
    batch: int
    results: dict[str, Result] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)

    @property
    def rivals(self) -> dict[str, Result]:
        """Peers that count: right answers, the same precision, not ours."""
        return {
            name: result
            for name, result in self.results.items()
            if name != OURS and not result.wrong and not PEERS[name].information
        }

    def ratio(self) -> tuple[float, str] | None:
        """Ours over the fastest rival, median of the ratios round by round; and its name."""
        if not self.rivals:
            return None
        best = max(self.rivals, key=lambda name: self.rivals[name].rate)
        ratio = self.ratio_to(best)
        return None if ratio is None else (ratio, best)

    def ratio_to(self, name: str) -> float | None:
        """Ours over one rival, median of the ratios round by round."""
        ours = self.results.get(OURS)
        if ours is None or ours.wrong or name not in self.rivals:
            return None
        return median(a / b for a, b in zip(ours.rates, self.rivals[name].rates, strict=True))


@dataclass
class Run:
    """Everything that one command measured."""

    machine: dict[str, Any]
    limit: Limit
    settings: dict[str, Any]
    cells: list[Cell] = field(default_factory=list)

    def fraction(self, cell: Cell, rate: float) -> float:
        """Share of the FMA limit of all threads that `rate` samples/s of this net amount to."""
        return rate * cell.net.flops_per_sample / (self.limit.all * 1e9)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, medians, fractions and ratios spelled out."""
        cells = []
        for cell in self.cells:
            values = asdict(cell)
            values["net"]["flops_per_sample"] = cell.net.flops_per_sample
            for name, result in cell.results.items():
                values["results"][name]["samples_per_second"] = result.rate
                values["results"][name]["fraction_of_limit"] = self.fraction(cell, result.rate)
            ratio = cell.ratio()
            values["ratio"], values["best_peer"] = ratio if ratio else (None, None)
            cells.append(values)
        return {
            "machine": self.machine, "limit": asdict(self.limit), "settings": self.settings,
            "cells": cells,
        }  # fmt: skip


def thousands(rate: float) -> str:
    """1234567 -> "1235", 12345 -> "12.3": thousand samples/s with at least three figures."""
    value = rate / 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def machine_lines(m: dict[str, Any]) -> str:
    """What `bench.machine.describe` found, two lines."""
    versions = ", ".join(f"{name} {v}" for name, v in m["versions"].items())
    load = "unknown" if m["load"] is None else f"{m['load']:.2f}"
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['system']}, load {load} at the start\n"
        f"Python {m['python']}, {versions}"
    )


def header(run: Run) -> str:
    """The machine and its limit, a few lines."""
    limit = run.limit
    return "\n".join(
        (
            machine_lines(run.machine),
            f"FMA limit, float32, {limit.target}: {limit.one:.0f} GFLOP/s on 1 thread"
            f" ({limit.clock:.2f} GHz at two vector multiply-adds per cycle), {limit.all:.0f} on"
            f" {limit.threads}; copy {limit.copy_one:.0f} and {limit.copy_all:.0f} GB/s",
        )
    )


def table(run: Run) -> str:
    """Markdown: thousand samples/s, share of the limit and threads of each peer; then the ratio."""
    names = [
        name for name in PEERS if any(name in c.results or name in c.skipped for c in run.cells)
    ]
    rows = [["net", "batch", *names, "ours / best"]]
    for cell in run.cells:
        ratio = cell.ratio()
        row = [str(cell.net), str(cell.batch), *(_entry(run, cell, name) for name in names)]
        rows.append([*row, f"{ratio[0]:.2f} {ratio[1]}" if ratio else "-"])
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """A table of texts, the first row its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "| " + " | ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) + " |"
        for row in [rows[0], ["-" * w for w in widths], *rows[1:]]
    )


def _entry(run: Run, cell: Cell, name: str) -> str:
    if name not in cell.results:
        return "skipped" if name in cell.skipped else "-"
    result = cell.results[name]
    if result.wrong:
        return "WRONG"
    share = 100 * run.fraction(cell, result.rate)
    return f"{thousands(result.rate)} {share:.0f}% x{result.threads}"


def summary(run: Run) -> str:
    """Geometric mean and least of the ratios: to the best rival of each cell, and to each."""
    lines = []
    best = [ratio[0] for cell in run.cells if (ratio := cell.ratio())]
    if best:
        lines.append(f"ours / best: {_spread(best)}")
    for name in PEERS:
        each = [ratio for cell in run.cells if (ratio := cell.ratio_to(name)) is not None]
        if each:
            lines.append(f"ours / {name}: {_spread(each)}")
    return "\n".join(lines)


def _spread(ratios: list[float]) -> str:
    return (
        f"geometric mean {geometric_mean(ratios):.2f}, least {min(ratios):.2f}"
        f" ({len(ratios)} cells)"
    )


def notes(run: Run) -> str:
    """What the table cannot hold: units, who was skipped or wrong and why, how quiet it was."""
    lines = [
        "Thousand samples/s, share of the FMA limit of all cores, threads at which it is fastest;"
        " medians over the rounds, the ratio paired by round."
    ]
    told: dict[str, list[str]] = {}
    for cell in run.cells:
        where = f"{cell.net.name}/{cell.batch}"
        for name, reason in cell.skipped.items():
            told.setdefault(f"{name} skipped: {reason}", []).append(where)
        for name, result in cell.results.items():
            if result.wrong:
                told.setdefault(f"{name} WRONG: {result.wrong}", []).append(where)
            elif result.unlike:
                told.setdefault(f"{name} not compared: {result.unlike}", []).append(where)
    lines += [f"{reason} ({', '.join(where)})" for reason, where in told.items()]
    if any(PEERS[name].information for cell in run.cells for name in cell.results):
        lines.append("torch-bf16 is for information: another precision, not in the ratio.")
    deviations = [
        r.deviation for c in run.cells for r in c.results.values() if r.deviation is not None
    ]
    if deviations:
        lines.append(
            f"Same weights as NumPy after a few batches: {len(deviations)} compared, greatest"
            f" deviation relative to the way moved {max(deviations):.1e}."
        )
    others = [value for cell in run.cells for value in cell.others]
    if others:
        lines.append(
            f"Other processes used {median(others):.2f} cores (median over the turns),"
            f" {max(others):.2f} at most."
        )
        if median(others) > QUIET:
            lines.append("The machine was NOT QUIET: take no figure and no ratio from this table.")
    return "\n".join(lines)
