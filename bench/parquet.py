"""Training on Parquet files against training on the same rows in memory: speed, memory, bits.

    python -m bench.parquet --rows 6000000 --limit 600

writes files of random rows, trains on them by their names and then as a frame in memory, each in a
process of its own with an empty folder of ready rows, and prints what each took.
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
from typing import Any

import numpy as np

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
    rows = max(record.samples_per_second for record in model.history)
    whole = time.perf_counter() - begun[1]
    training = sum(record.seconds for record in model.history)
    later = min(np.diff(cpu).tolist())  # others on the machine only add to it
    return {
        "kind": kind, "anonymous_mb": round(peaks["all"]), "before_training_s": whole - training,
        "rows_per_s": rows, "cpu_s_per_epoch": later, "major_faults": np.diff(reads).tolist(),
        "epoch_s": [round(record.seconds, 2) for record in model.history],
        "digest": hashlib.sha256(model.get_flat().tobytes()).hexdigest()[:16],
    }  # fmt: skip


def child(
    arguments: argparse.Namespace,
    folder: Path,
    kind: str,
    limit: int | None = None,
    most: int | None = None,
    shuffle: str = "blocks",
) -> Any:
    """The same in a process of its own, which may have so many MB of data of its own."""
    command = [sys.executable, "-m", "bench.parquet", "--one", kind, "--folder", str(folder)]
    command += ["--epochs", str(arguments.epochs), "--shuffle", shuffle]
    command += ["--scarce", str(most)] if most else []

    def bounded() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=bounded, check=False)
    if done.returncode:
        return {"kind": kind, "failed": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout)


def main() -> None:
    """Write, train both ways, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--limit", type=int, help="MB of data that one more run may have")
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
    by_file, again, frame = (child(given, files, kind) for kind in ("files", "files", "frame"))
    for name, found in (("files, first", by_file), ("files, again", again), ("frame", frame)):
        print(name, json.dumps(found))
    print("same bits:", by_file["digest"] == again["digest"] == frame["digest"])
    ratio = frame["cpu_s_per_epoch"] / again["cpu_s_per_epoch"]
    print(f"throughput against the frame's, by processors' time from the second epoch: {ratio:.3f}")
    if given.limit:
        print(f"within {given.limit} MB", json.dumps(child(given, files, "files", given.limit)))
    for shuffle in ("blocks", "true") if given.scarce else ():
        found = child(given, files, "files", most=given.scarce, shuffle=shuffle)
        print(f"{given.scarce} MB of rows in memory, shuffle {shuffle}", json.dumps(found))


if __name__ == "__main__":
    main()
