"""Verdicts -> shares with intervals, tables, JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from bench.diagnosis.judge import FELL, Verdict
from bench.diagnosis.setups import HARM

__all__ = ["Share", "confusion", "figures", "markdown", "to_json", "wilson"]

#: Standard normal quantile of a two-sided 95 % interval.
Z = 1.959964


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) without any trial."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class Share(NamedTuple):
    """How many of how many."""

    hits: int
    n: int

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Share:
        """Count the true ones."""
        listed = list(outcomes)
        return cls(sum(listed), len(listed))

    def __str__(self) -> str:
        if not self.n:
            return "none"
        low, high = wilson(*self)
        return f"{self.hits}/{self.n} = {self.hits / self.n:.1%} ({low:.1%} to {high:.1%})"

    def to_dict(self) -> dict[str, Any]:
        """With the interval."""
        return {"hits": self.hits, "n": self.n, "wilson95": wilson(*self)}


def figures(verdicts: Sequence[Verdict]) -> dict[str, Share]:
    """The shares that are reported, by what they say."""
    broken = [v for v in verdicts if v.faults]
    offered = [v for v in broken if v.after is not None]
    return {
        "broken: the first finding names a planted fault": Share.of(v.named for v in broken),
        "the same, by the fault's own name": Share.of(v.own_name for v in broken),
        "healthy: left alone": Share.of(v.left_alone for v in verdicts if not v.faults),
        "broken, a cure is offered: it lowers the loss": Share.of(v.cured for v in offered),
        "broken, named and a cure is offered: it lowers the loss": Share.of(
            v.cured for v in offered if v.named
        ),
        "all broken: a cure that lowers the loss": Share.of(v.cured for v in broken),
        "the trial promised an improvement: it came": Share.of(
            v.cured for v in offered if v.promised
        ),
        "two faults: both among the first two": Share.of(
            v.both for v in broken if len(v.faults) == 2
        ),
    }


def first_cause(verdict: Verdict) -> str:
    """What the diagnosis says in one word."""
    if verdict.error:
        return "(failed)"
    return "(healthy)" if verdict.left_alone or not verdict.causes else verdict.causes[0][0]


def confusion(verdicts: Sequence[Verdict]) -> dict[str, Counter[str]]:
    """Planted (two joined by +) -> how often each cause came first."""
    table: dict[str, Counter[str]] = {}
    for v in verdicts:
        planted = " + ".join(v.faults) or "(healthy)"
        table.setdefault(planted, Counter())[first_cause(v)] += 1
    return dict(sorted(table.items(), key=lambda item: (" + " in item[0], item[0])))


def confusion_rows(verdicts: Sequence[Verdict]) -> list[str]:
    """The confusion table: one line per fault, causes by how often they came first."""
    lines = ["| planted | set-ups | right | cured | named first |", "|---|---|---|---|---|"]
    for planted, causes in confusion(verdicts).items():
        those = [v for v in verdicts if (" + ".join(v.faults) or "(healthy)") == planted]
        right = sum(v.named if v.faults else v.left_alone for v in those)
        cured = sum(v.cured for v in those) if those[0].faults else ""
        named = ", ".join(f"{cause} {n}" for cause, n in causes.most_common())
        lines.append(f"| {planted} | {len(those)} | {right} | {cured} | {named} |")
    return lines


def markdown(seed: int, verdicts: Sequence[Verdict]) -> str:
    """The tables for the documents."""
    parts = {"all": verdicts, "real data": [v for v in verdicts if v.real]}
    parts["synthetic"] = [v for v in verdicts if not v.real]
    lines = [
        f"{len(verdicts)} set-ups from seed {seed}, {len(parts['real data'])} on real data. A fault"
        f" makes the validation loss at least {HARM - 1:.0%} worse than its healthy twin's (median"
        f" of three seeds); a cure lowers the loss by at least {1 - FELL:.0%} on rows that the"
        " diagnosis never saw. In brackets: Wilson's 95 % intervals.",
        "",
        f"| share | {' | '.join(parts)} |",
        f"|---|{'---|' * len(parts)}",
    ]
    shares = [figures(part) for part in parts.values()]
    lines += [f"| {name} | {' | '.join(str(s[name]) for s in shares)} |" for name in shares[0]]
    if verdicts:
        seconds = sorted(v.seconds for v in verdicts)
        lines += ["", f"A diagnosis takes {median(seconds):.1f} s (median; the longest"
                  f" {seconds[-1]:.1f} s), on one thread."]  # fmt: skip
    return "\n".join([*lines, "", *confusion_rows(verdicts), ""])


def to_json(seed: int, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All of it, as plain values."""
    return {
        "seed": seed,
        "figures": {name: share.to_dict() for name, share in figures(verdicts).items()},
        "confusion": confusion(verdicts),
        "verdicts": [v.to_dict() for v in verdicts],
    }
