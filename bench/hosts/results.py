"""What was measured, kept in a file so that a command that was ended goes on; tables of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.results import markdown, thousands

__all__ = ["Results"]

#: What exact mode's step may cost beside computing, in bare transfers; periodic mode's gain; points
#: of accuracy that it may lose.
GOALS = {"transfers": 1.3, "gain": 1.8, "points": 0.2}


@dataclass
class Results:
    """Figures by what they are of: part, network, batch, turn.

    Attributes
    ----------
    path : Path or None
        File to keep them in.
    machine, settings : dict
    found : dict
    """

    path: Path | None
    machine: dict[str, Any]
    settings: dict[str, Any]
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take_up(self) -> None:
        """What the file has of the same settings."""
        if self.path is not None and self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept["settings"] == self.settings:
                self.found = kept["found"]

    def once(self, key: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure, unless it was."""
        if key in self.found:
            return
        self.found[key] = measure()
        if self.path is not None:
            kept = {"machine": self.machine, "settings": self.settings, "found": self.found}
            self.path.write_text(json.dumps(kept, indent=1))

    def values(self, of: str, name: str) -> list[float]:
        """A figure of all turns of a key."""
        return [v[name] for key, v in self.found.items() if key.rpartition(" ")[0] == of]

    def typical(self, of: str, name: str) -> float:
        """Its median; NaN where there is none."""
        return median(self.values(of, name) or [float("nan")])

    # -- tables

    def __str__(self) -> str:
        parts = self._transfers(), self._steps(), self._gains(), self._right()
        return "\n\n".join(part for part in parts if part)

    def _networks(self) -> Iterator[tuple[int, str]]:
        for rate in self.settings["networks"]:
            yield rate, f"{rate} Mb/s" if rate else "no limit"

    def _transfers(self) -> str:
        """Bare transfers of gradients of several sizes."""
        found: dict[str, list[dict[str, Any]]] = {}
        for rate, name in self._networks():
            turns = [v for k, v in self.found.items() if k.startswith(f"transfer {rate} ")]
            found |= {name: turns} if turns else {}
        if not found:
            return ""
        first = next(iter(found.values()))[0]
        lines = [["ms", f"{first['bytes'] / 1e6:.2f} MB", *first["others"]]]
        for name, turns in found.items():
            seconds = [[turn["seconds"], *turn["others"].values()] for turn in turns]
            columns = zip(*seconds, strict=True)
            lines.append([name, *(f"{1e3 * median(column):.3g}" for column in columns)])
        return "a gradient to all and its sum back, nothing else\n" + markdown(lines)

    def _steps(self) -> str:
        """Exact mode: ms of a step, of computing alone, of bare transfer."""
        lines = [["network", "batch", "transfer", "computing", "step", "beside computing"]]
        for rate, name in self._networks():
            for batch in self.settings["batches"]:
                transfer = self.typical(f"transfer {rate}", "seconds")
                alone = self.typical(f"computing {rate} {batch}", "seconds")
                step = self.typical(f"exact {rate} {batch}", "seconds")
                if step == step:
                    more = (step - alone) / transfer
                    shown = [f"{1e3 * value:.2f} ms" for value in (transfer, alone, step)]
                    lines.append([name, str(batch), *shown, f"{more:.2f} transfers"])
        goal = f"exact mode; the goal at 1 Gb/s: {GOALS['transfers']} transfers at most\n"
        return goal + markdown(lines) if len(lines) > 1 else ""

    def _gains(self) -> str:
        """Periodic mode: rows per second beside one host's."""
        lines = [["network", "one host", "all", "gain", "updates between averages"]]
        one = self.typical("alone", "rows_per_second")
        for rate, name in self._networks():
            together = self.typical(f"periodic {rate}", "rows_per_second")
            if together == together:
                every = self.values(f"periodic {rate}", "sync_every")
                lines.append([
                    name, thousands(one), thousands(together), f"{together / one:.2f}",
                    ", ".join(f"{value:.0f}" for value in every),
                ])  # fmt: skip
        goal = f"periodic mode, thousand rows/s; the goal: {GOALS['gain']}\n"
        return goal + markdown(lines) if len(lines) > 1 else ""

    def _right(self) -> str:
        """Accuracy of both modes on MNIST, seed by seed."""
        pairs = [
            [self.found.get(f"accuracy {mode} {seed}", {}).get("accuracy") for mode in MODES]
            for seed in range(self.settings["seeds"])
        ]
        whole = [pair for pair in pairs if None not in pair]
        if not whole:
            return ""
        lines = [["seed", *MODES.values()]]
        lines += [[str(k), *(f"{100 * v:.2f}" for v in pair)] for k, pair in enumerate(whole)]
        means = [mean(pair[k] for pair in whole) for k in range(len(MODES))]
        lines.append(["mean", *(f"{100 * value:.2f}" for value in means)])
        goal = f"% of MNIST's test rows; the goal: {GOALS['points']} points apart at most\n"
        return goal + markdown(lines)


#: With the batch of one host, with that of all together (and the rate that `base_batch` gives it,
#: as periodic mode has it), with averages of weights.
MODES = {"exact": "exact", "summed": "exact, batch of all", "periodic": "periodic"}
