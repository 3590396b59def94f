"""The picture: throughput against batch size, one panel per net."""

from __future__ import annotations

from pathlib import Path

from bench.peers import OURS, PEERS
from bench.results import Run

__all__ = ["draw"]


def draw(run: Run, path: Path) -> None:
    """Write a PNG: log-log, a line per peer, a dashed one at the FMA limit of all cores."""
    from matplotlib.figure import Figure

    nets = {cell.net.name: cell.net for cell in run.cells}
    columns = min(len(nets), 2)
    rows = -(-len(nets) // columns)
    figure = Figure(figsize=(5.5 * columns, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, net in zip(panels, nets.values(), strict=False):
        cells = [cell for cell in run.cells if cell.net == net]
        for i, name in enumerate(PEERS):
            points = [
                (cell.batch, cell.results[name].rate)
                for cell in cells
                if name in cell.results and not cell.results[name].wrong
            ]
            if points:
                style = {"linewidth": 2.5} if name == OURS else {"linewidth": 1.2}
                panel.plot(*zip(*points, strict=True), "o-", color=f"C{i}", label=name, **style)
        panel.axhline(
            run.limit.all * 1e9 / net.flops_per_sample,
            linestyle="--", color="0.4", label="FMA limit",
        )  # fmt: skip
        panel.set(title=str(net), xlabel="batch size", ylabel="samples/s")
        panel.set(xscale="log", yscale="log")
        panel.grid(True, which="both", alpha=0.3)
        panel.legend(fontsize="small")
    for panel in panels[len(nets) :]:
        panel.set_axis_off()
    figure.suptitle(f"{run.machine['cpu']}, {run.limit.threads} threads, float32, plain SGD")
    figure.savefig(path, dpi=150)
