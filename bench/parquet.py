"""Training on Parquet files against training on the same rows in memory: speed, memory, bits.

    python -m bench.parquet --rows 6000000 --limit 680

writes files of random rows, makes them ready, and trains on them by their names and as a frame in
memory, in turns, each in a process of its own; medians are over all epochs from the second on.
``--limit`` trains within so many MB, pages of files included where a memory cgroup can be made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.confined import Confined, confined

__all__ = ["main"]

PER_FILE = 500_000


def write_files(folder: Path, rows: int, columns: int) -> None:
    """Random rows whose target follows from a few of them."""
    import polars as pl

    rng = np.random.default_rng(0)
    for k, start in enumerate(range(0, rows, PER_FILE)):
        X = rng.standard_normal((min(PER_FILE, rows - start), columns))
        frame = pl.DataFrame(X, schema=[f"x{j}" for j in range(columns)])
        y = X[:, 0] * X[:, 1] + np.sin(X[:, 2]) + 0.1 * rng.standard_normal(len(X))
        frame.with_columns(y=y).write_parquet(folder / f"part{k:03}.parquet")


# ------------------------------------------------------------------------- one training


def resident(kind: str = "RssAnon") -> float:
    """Memory of this process, in MB: anonymous, or (RssFile) pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


@contextmanager
def watched(peaks: dict[str, float], name: str) -> Iterator[None]:
    """Keep the most anonymous memory that is seen meanwhile."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            peaks[name] = max(peaks.get(name, 0.0), resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def forget(rows: np.memmap[Any, Any]) -> None:
    """Let go of the pages of a map, here and in the system's cache: they are on the disk only."""
    rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    with open(str(rows.filename), "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def scarce(rows: np.memmap[Any, Any] | None, most: int | None) -> Iterator[None]:
    """So many MB of a map stay in memory at most, as where memory is short; all, if None."""
    over = threading.Event()

    def look() -> None:
        assert rows is not None
        assert most is not None
        before = resident("RssFile")
        while not over.wait(0.002):
            if resident("RssFile") - before > most:
                forget(rows)

    thread = threading.Thread(target=look)
    if most is not None:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if most is not None:
            thread.join()


def trained(folder: Path, kind: str, epochs: int, shuffle: str, most: int | None) -> dict[str, Any]:
    """Train on files, of which so many MB stay in memory, or on a frame; figures of it."""
    import polars as pl

    from nbmlp import MLP

    peaks: dict[str, float] = {}
    cpu: list[float] = []
    reads: list[int] = []
    order: bool | str = True if shuffle == "true" else shuffle
    model = MLP((64, 64), batch_size=256, epochs=epochs, shuffle=order, learning_rate=0.001)

    def told(run: Any, record: Any) -> None:
        cpu.append(time.process_time())
        reads.append(resource.getrusage(resource.RUSAGE_SELF).ru_majflt)

    begun = time.process_time(), time.perf_counter()
    with watched(peaks, "all"):
        if kind == "frame":
            frame = pl.read_parquet(folder / "*.parquet")
            model.fit(frame.drop("y"), frame["y"].to_numpy(), callbacks=[told])
        else:
            found = model.read_files(folder / "*.parquet", target="y")
            with scarce(found.train.X.x if most else None, most):
                model.fit(found, callbacks=[told])
    whole = time.perf_counter() - begun[1]
    return {
        "kind": kind, "anonymous_mb": round(peaks["all"]),
        "before_training_s": whole - sum(record.seconds for record in model.history),
        "cpu_s": np.diff(cpu).tolist(), "clock_s": [record.seconds for record in model.history[1:]],
        "major_faults": np.diff(reads).tolist(),
        "digest": hashlib.sha256(model.get_flat().tobytes()).hexdigest()[:16],
    }  # fmt: skip


def child(
    folder: Path,
    kind: str,
    epochs: int,
    shuffle: str = "blocks",
    scarce: int | None = None,
    limit: Confined | None = None,
) -> dict[str, Any]:
    """The same in a process of its own, perhaps within a limit of its memory."""
    command = [sys.executable, "-m", "bench.parquet", "--one", kind, "--folder", str(folder)]
    command += ["--epochs", str(epochs), "--shuffle", shuffle]
    command += ["--scarce", str(scarce)] if scarce else []
    enter = None if limit is None else limit.enter
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=enter, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"kind": kind, "failed": last or f"code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write, train both ways, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3, help="of files and of a frame, alternating")
    parser.add_argument("--limit", type=int, help="MB of memory that two more trainings may have")
    parser.add_argument(
        "--scarce", type=int, help="MB of ready rows that stay in memory in two more"
    )
    parser.add_argument("--shuffle", default="blocks", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="of the files; by default one for this once")
    parser.add_argument("--one", choices=["files", "frame"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        shown = trained(given.folder, given.one, given.epochs, given.shuffle, given.scarce)
        print(json.dumps(shown))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        _compare(given, Path(made))


def _compare(given: argparse.Namespace, made: Path) -> None:
    files = made / "files"
    files.mkdir()
    write_files(files, given.rows, given.columns)
    os.environ["NBMLP_ROWS_DIR"] = str(made / "ready")
    size = sum(file.stat().st_size for file in files.iterdir()) / 1e6
    ready = 4 * given.rows * given.columns / 1e6
    print(f"{given.rows:,} x {given.columns}: {size:.0f} MB of Parquet, {ready:.0f} MB ready")
    print("first training:", json.dumps(child(files, "files", 1)))
    turns = _turns(files, given.epochs, given.turns)
    whole = {kind: _shown(kind, found) for kind, found in turns.items()}
    print("same bits:", len({one["digest"] for found in turns.values() for one in found}) == 1)
    for by in ("cpu_s", "clock_s"):
        ratio = whole["frame"][by] / whole["files"][by]
        print(f"throughput against the frame's, by {by}: {ratio:.3f}")
    if given.limit:
        _limited(given, made, files)
    for shuffle in ("blocks", "true") if given.scarce else ():
        found = child(files, "files", given.epochs, shuffle, given.scarce)
        _shown(f"{given.scarce} MB of rows in memory, shuffle {shuffle}", [found])


def _turns(files: Path, epochs: int, turns: int) -> dict[str, list[dict[str, Any]]]:
    """Trainings of both kinds; which comes first alternates."""
    found: dict[str, list[dict[str, Any]]] = {"files": [], "frame": []}
    for turn in range(turns):
        for kind in sorted(found, reverse=turn % 2 == 1):
            found[kind].append(child(files, kind, epochs))
    return found


def _shown(name: str, found: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over all epochs from the second on, printed."""
    if wrong := [one["failed"] for one in found if "failed" in one]:
        print(f"{name}: failed: {wrong[0]}")
        return {}
    kinds = ("cpu_s", "clock_s", "major_faults")
    middle = {kind: median(value for one in found for value in one[kind]) for kind in kinds}
    memory = max(one["anonymous_mb"] for one in found)
    told = ", ".join(f"{kind} {value:.3g}" for kind, value in middle.items())
    print(f"{name}: {told} an epoch; {memory} MB of anonymous memory")
    return middle


def _limited(given: argparse.Namespace, made: Path, files: Path) -> None:
    """Rows made ready and trained on, then trained on again, all within a limit."""
    os.environ["NBMLP_ROWS_DIR"] = str(made / "limited")
    with confined(given.limit) as limit:
        for name in ("first", "again"):
            found = child(files, "files", given.epochs, limit=limit)
            _shown(f"within {given.limit} MB by {limit.how}, {name}", [found])
        if (peak := limit.peak()) is not None:
            print(f"its peak, pages of files included: {peak:.0f} MB")
    os.environ["NBMLP_ROWS_DIR"] = str(made / "ready")


if __name__ == "__main__":
    main()
