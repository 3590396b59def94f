"""Two pictures: who can be told apart, and accuracy against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.tables.peers import CONTESTANTS, OURS
from bench.tables.ranks import average_ranks, critical_difference, groups, told
from bench.tables.report import SECONDS, Comparison, Results, normalised

__all__ = ["draw_difference", "draw_pareto"]


def look(name: str) -> dict[str, Any]:
    """A contestant's colour; ours is bold."""
    ours = name.startswith(OURS)
    return {"color": f"C{list(CONTESTANTS).index(name)}", "weight": "bold" if ours else "normal"}


def draw_difference(errors: Comparison, path: Path) -> None:
    """Average ranks on a line, the best at the left; bars join those that are not told apart."""
    from matplotlib.figure import Figure

    ranks = average_ranks(errors)
    names = sorted(ranks, key=ranks.__getitem__)
    difference = critical_difference(len(names), len(errors))
    bars = groups(list(ranks.values()), difference)
    height = 1.6 + 0.14 * len(bars) + 0.28 * ((len(names) + 1) // 2)
    figure = Figure(figsize=(8, height))
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_axis_off()
    scale(panel, len(names), difference)
    rising = [ranks[name] for name in names]
    for i, (first, last) in enumerate(bars):
        y = -0.18 - 0.16 * i
        panel.plot([rising[first] - 0.04, rising[last] + 0.04], [y, y], color="0.2", linewidth=4)
    labels(panel, names, rising, -0.35 - 0.16 * len(bars))
    panel.set_title("Average rank of the error (1 is best)", fontsize="medium")
    panel.text(0.5, -0.02, told(ranks, len(errors)), transform=panel.transAxes, ha="center",
               va="top", fontsize="small", color="0.3")  # fmt: skip
    figure.savefig(path, dpi=150, bbox_inches="tight")


def scale(panel: Any, k: int, difference: float) -> None:
    """The axis of ranks, and above it the length of the critical difference."""
    panel.plot([1, k], [0, 0], color="0.2")
    for rank in range(1, k + 1):
        panel.plot([rank, rank], [0, 0.08], color="0.2")
        panel.text(rank, 0.12, str(rank), ha="center", va="bottom", fontsize="small")
    panel.plot([1, 1 + difference], [0.55, 0.55], color="0.2", linewidth=2)
    panel.text(1 + difference + 0.05, 0.55, f"critical difference {difference:.2f}",
               va="center", fontsize="small")  # fmt: skip
    margin = 0.32 * k
    panel.set_xlim(1 - margin, k + margin)


def labels(panel: Any, names: Sequence[str], ranks: Sequence[float], top: float) -> None:
    """The better half at the left, the others at the right, each led to its place on the line."""
    half = (len(names) + 1) // 2
    k = len(names)
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = i < half
        y = top - 0.3 * (i if left else k - 1 - i)
        end = 1 - 0.04 * k if left else k + 0.04 * k
        style = look(name)
        panel.plot([rank, rank, end], [0, y, y], color=style["color"], linewidth=1)
        text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        panel.text(end, y, f" {text} ", ha="right" if left else "left", va="center", **style)


def draw_pareto(results: Results, names: Sequence[str], path: Path) -> None:
    """Mean normalised error against the seconds of all fits that count, see `Results.seconds`; a
    line joins the best for the time."""
    from matplotlib.figure import Figure

    shares = normalised(results.compared(names))
    times = results.compared(names, results.seconds)
    seconds = {name: sum(values[name] for values in times.values()) for name in names}
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    panel = figure.subplots()
    front = pareto([(seconds[n], shares[n]) for n in names])
    panel.step(*zip(*front, strict=True), where="post", color="0.7", zorder=1)
    for name in names:
        style = look(name)
        panel.scatter(seconds[name], shares[name], color=style["color"], zorder=2,
                      marker="o" if name.startswith(OURS) else "s")  # fmt: skip
        panel.annotate(f" {name}", (seconds[name], shares[name]), xytext=(4, 4),
                       textcoords="offset points", fontsize="small", **style)  # fmt: skip
    kind = SECONDS[results.seconds]
    panel.set(xscale="log", xlabel=f"seconds {kind} for the fits on {len(times)} tables",
              ylabel="mean normalised error (0: the best on every table)")  # fmt: skip
    panel.set_xlim(min(seconds.values()) / 2, max(seconds.values()) * 4)
    panel.set_ylim(0, 1.05)
    panel.grid(True, which="both", alpha=0.3)
    figure.savefig(path, dpi=150)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that nobody beats in both, rising in the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
