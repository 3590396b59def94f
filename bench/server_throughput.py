"""``python -m bench.server_throughput``: MNIST through the training server, and without it.

Net B, 784-300-10, batches of 100, a tenth of the rows to validate on. On one side a job of a real
server, by HTTP; on the other the same ``fit`` in a process of its own. Turns of one after the
other, which comes first alternates; medians over the rounds, ratios paired by round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import machine
from bench.options import whole
from bench.results import machine_lines, markdown
from bench.serving import serving
from bench.startup import mnist_folder
from nbmlp.client import Client, DatasetInfo
from nbmlp.tuning import available_threads

__all__ = ["Outcome", "Turn", "main"]

_NET = {"hidden": [300], "batch_size": 100, "seed": 0}
_VALIDATION = 0.1


@dataclass(frozen=True)
class Turn:
    """Samples per second of one training.

    Attributes
    ----------
    epochs : float
        Over the epochs with their validation, by their own clocks.
    training : float
        From the moment that all is compiled or loaded to the end: of the job, with its
        checkpoints, measures and model; or of ``fit``.
    whole : float
        From the request, or the start of Python, to the end.
    """

    epochs: float
    training: float
    whole: float


_MEASURES = {
    "epochs": "the epochs alone",
    "training": "compiled to end",
    "whole": "request to end",
}


@dataclass
class Outcome:
    """All turns of one number of threads."""

    threads: int
    server: list[Turn] = field(default_factory=list)
    here: list[Turn] = field(default_factory=list)

    def cost(self, measure: str) -> float:
        """Share of throughput that the server costs, the median over the rounds."""
        pairs = zip(self.server, self.here, strict=True)
        return median(1 - getattr(a, measure) / getattr(b, measure) for a, b in pairs)


def _rows(path: Path) -> int:
    """Trained on in an epoch."""
    count = len(np.load(path)["y"])
    return count - round(_VALIDATION * count)


# -- without a server


def _fit(path: str, epochs: int, threads: int) -> tuple[float, float]:
    """Seconds of the epochs, and from the first of them to the end of fit."""
    import nbmlp
    from nbmlp.train.callbacks import Callback

    ready: list[float] = []

    class Clock(Callback):
        def on_progress(self, run: Any, progress: Any) -> None:
            if run.phase == "training" and not ready:
                ready.append(time.perf_counter())

    data = nbmlp.read(path)
    net = nbmlp.MLP(**_NET, epochs=epochs, threads=threads)
    net.fit(data.X, data.y, validation=_VALIDATION, callbacks=[Clock()])
    return float(net.history.seconds.sum()), time.perf_counter() - ready[0]


def here(path: Path, epochs: int, threads: int) -> Turn:
    """Train in a fresh process."""
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        summed, trained = pool.apply(_fit, (str(path), epochs, threads))
        seconds = time.perf_counter() - start
    samples = epochs * _rows(path)
    return Turn(samples / summed, samples / trained, samples / seconds)


# -- with one


def _job(client: Client, data: DatasetInfo, epochs: int, threads: int) -> Turn:
    """Train as a job."""
    model = {**_NET, "epochs": epochs}
    start = time.perf_counter()
    job = client.submit(data, model=model, threads=threads, validation=_VALIDATION)
    told = list(client.stream(job))
    seconds = time.perf_counter() - start
    at = {e["data"]["state"]: e["time"] for e in told if e["kind"] == "state"}
    summed = sum(row["seconds"] for row in client.metrics(job))
    samples = epochs * (data["rows"] - round(_VALIDATION * data["rows"]))
    return Turn(
        samples / summed, samples / (at["succeeded"] - at["running"]), samples / seconds
    )  # fmt: skip


def measure(path: Path, epochs: int, threads: int, rounds: int) -> Outcome:
    """Turns of both, after one each that is not counted."""
    outcome = Outcome(threads)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as server,
        server.client() as client,
    ):
        data = client.upload(path)
        turns: list[tuple[list[Turn], Callable[[int], Turn]]] = [
            (outcome.server, lambda n: _job(client, data, n, threads)),
            (outcome.here, lambda n: here(path, n, threads)),
        ]
        for _, turn in turns:
            turn(1)
        for i in range(rounds):
            for kept, turn in turns if i % 2 else reversed(turns):
                kept.append(turn(epochs))
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """Thousand samples per second, and what the server costs."""
    rows = [["threads", "thousand samples/s", "fit", "job", "the server costs"]]
    for o in outcomes:
        for name, what in _MEASURES.items():
            speeds = [median(getattr(t, name) for t in ts) / 1e3 for ts in (o.here, o.server)]
            rows.append(
                [str(o.threads), what, *(f"{s:.1f}" for s in speeds), f"{o.cost(name):+.1%}"]
            )
    return markdown(rows)


def mnist_file(folder: Path) -> Path:
    """The training images as a file that can be uploaded: bytes and labels."""
    import nbmlp

    data = nbmlp.read(mnist_folder())
    path = folder / "mnist.npz"
    np.savez(path, X=data.X, y=data.y)
    return path


def parser() -> argparse.ArgumentParser:
    """Of the command's options."""
    p = argparse.ArgumentParser(prog="python -m bench.server_throughput", description=__doc__)
    p.add_argument("--threads", type=whole, nargs="*", help="by default 1 and every core")
    p.add_argument("--epochs", type=whole, default=20)
    p.add_argument("--rounds", type=whole, default=5)
    p.add_argument("--json", type=Path, metavar="FILE", help="write every turn measured")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parser().parse_args(argv)
    if not mnist_folder().is_dir():
        print(f"SKIPPED, no {mnist_folder()}; NBMLP_DATA names the folder of mnist/",
              file=sys.stderr)  # fmt: skip
        return 0
    facts = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        path = mnist_file(Path(folder))
        wanted = args.threads or sorted({1, available_threads()})
        outcomes = [measure(path, args.epochs, n, args.rounds) for n in wanted]
    print(machine_lines(facts), table(outcomes), sep="\n\n")
    if args.json:
        report = {"machine": facts, "outcomes": [asdict(o) for o in outcomes]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
