"""What each host does: ``python -m bench.hosts.work KIND {"batch": 1000, ...}`` under mpiexec.

The first one prints what was found, as JSON. Without mpiexec there is one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.nets import NETS
from nbmlp import MLP
from nbmlp.data.idx import read_idx

__all__ = ["WORK", "images", "main"]

NET = NETS["B"]
#: Of the optimizer and all that is the same everywhere.
COMMON: dict[str, Any] = {"hidden": NET.sizes[1:-1], "optimizer": "adam", "threads": 1}
ROWS, WARM, REPEATS = 60_000, 5, 50
#: Parameters of nets whose transfers are told beside that of `NET`.
SIZES = (10_000, 60_000, 670_000, 2_500_000)


def images(part: str) -> tuple[Any, Any] | None:
    """MNIST's, ``"train"`` or ``"t10k"``, of the folder NBMLP_DATA; None where they are not."""
    folder = Path(os.environ.get("NBMLP_DATA", "")) / "mnist"
    paths = [folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if not all(path.exists() for path in paths):
        return None
    X, y = (read_idx(path) for path in paths)
    return X.reshape(len(X), -1), y


def rows() -> tuple[Any, Any]:
    """MNIST's, or as many at random."""
    rng = np.random.default_rng(0)
    found = images("train")
    if found is not None:
        return found
    X = rng.integers(0, 256, (ROWS, NET.sizes[0])).astype(np.uint8)
    return X, rng.integers(0, NET.sizes[-1], ROWS)


def _per_update(model: MLP, rows: int, batch: int) -> float:
    """Seconds of an update, in the median epoch behind the first."""
    rate = median(model.history.samples_per_second[1:].tolist())
    return rows / rate / -(-rows // batch)


def transfer(comm: Any, given: dict[str, Any]) -> Any:
    """Seconds of what exact mode moves at each update, alone: slices of sums, then their total."""
    X, y = np.zeros((NET.sizes[-1], NET.sizes[0]), np.uint8), np.arange(NET.sizes[-1])
    own = MLP(**COMMON).build(X, y).net.state.theta.size
    others = {f"{4 * n / 1e6:g} MB": _moved(comm, n) for n in SIZES}
    return {"bytes": 4 * own, "seconds": _moved(comm, own), "others": others}


def _moved(comm: Any, n: int) -> float:
    """Seconds that it takes for so many float32 parameters."""
    size, rank = comm.Get_size(), comm.Get_rank()
    ends = [k * n // size for k in range(size)] + [n]
    lengths, starts = np.diff(ends), np.array(ends[:-1])
    mine = int(lengths[rank])
    whole, parts = np.zeros(n, np.float32), np.zeros(size * mine, np.float32)
    counts, times = (np.full(size, mine), np.arange(size) * mine), []
    for _ in range(WARM + REPEATS):
        began = time.perf_counter()
        comm.Alltoallv([whole, (lengths, starts)], [parts, counts])
        comm.Allgatherv([parts[:mine], mine], [whole, (lengths, starts)])
        times.append(time.perf_counter() - began)
    return max(comm.allgather(median(times[WARM:])))


def computing(comm: Any, given: dict[str, Any]) -> Any:
    """Seconds of an update on a host's share of a batch, with nothing moved; all at once."""
    size, rank = comm.Get_size(), comm.Get_rank()
    X, y = rows()
    part = slice(rank * len(X) // size, (rank + 1) * len(X) // size)
    share = given["batch"] // size
    model = MLP(**COMMON, batch_size=share, epochs=given["epochs"])
    comm.Barrier()
    model.fit(X[part], y[part])
    return {"seconds": max(comm.allgather(_per_update(model, part.stop - part.start, share)))}


def exact(comm: Any, given: dict[str, Any]) -> Any:
    """Seconds of an update of all together."""
    X, y = rows()
    batch, shards = given["batch"], comm.Get_size()
    model = MLP(**COMMON, batch_size=batch, shards=shards, epochs=given["epochs"])
    model.fit(X, y, comm=comm)
    return {"seconds": max(comm.allgather(_per_update(model, len(X), batch)))}


def periodic(comm: Any, given: dict[str, Any]) -> Any:
    """Rows per second of all together, or of one host; how often weights were averaged."""
    X, y = rows()
    shards = 1 if comm is None else comm.Get_size()
    model = MLP(
        **COMMON, batch_size=given["batch"], epochs=given["epochs"], shards=shards,
        sync="periodic",
    )  # fmt: skip
    model.fit(X, y, comm=comm)
    rate = median(model.history.samples_per_second[1:].tolist())
    return {"rows_per_second": rate, "sync_every": model.history.sync_every}


def accuracy(comm: Any, given: dict[str, Any]) -> Any:
    """Share of MNIST's test rows that are told right, after training with these settings.

    One process does for any number of exact mode's: it has the same bits.
    """
    (X, y), test = rows(), images("t10k")
    model = MLP(
        **COMMON, batch_size=given["batch"], epochs=given["epochs"], shards=given["hosts"],
        sync="periodic" if comm else "exact", seed=given["seed"], base_batch=given.get("base"),
    )  # fmt: skip
    model.fit(X, y, comm=comm)
    assert test is not None
    right = float(np.mean(model.predict(test[0]) == test[1]))
    return {"accuracy": right, "sync_every": model.history.sync_every}


WORK: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    work.__name__: work for work in (transfer, computing, exact, periodic, accuracy)
}


def _communicator() -> Any:
    """MPICH's for all hosts; None without mpiexec."""
    if "PMI_SIZE" not in os.environ:
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def main() -> None:
    """Do it, and let the first host tell."""
    comm = _communicator()
    warnings.simplefilter("ignore")  # how often weights are averaged is in what is told
    found = WORK[sys.argv[1]](comm, json.loads(sys.argv[2]))
    if comm is None or comm.Get_rank() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
