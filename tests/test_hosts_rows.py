"""Several processes read what they train on: each its own rows, whatever has to be done to them."""

from __future__ import annotations

import platform
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
from typing import Any

import numpy as np
import pytest
from test_hosts import SETTINGS, Comm, data, mpiexec, said_by_ranks, together, told

from nbmlp import MLP, Checkpoint
from nbmlp.data.given import division
from nbmlp.data.unread import room
from nbmlp.errors import DataError
from nbmlp.train.hosts.facts import compared

__all__ = ["mpiexec"]  # a fixture

ROWS = 700
SHORT = SETTINGS | {"hidden": (9,), "epochs": 2}


def own(rows: int, rank: int) -> np.ndarray:
    """Which of so many rows are of the shards of one of two processes."""
    return (np.arange(rows) * 7 // rows < 3) == (rank == 0)


def seen(rank: int, y: Any, kept: np.ndarray, share: float) -> np.ndarray:
    """Which rows a process may look at, where a share of those kept is set aside."""
    train, held = (kept[part] for part in division(y[kept], share, 0, False))
    found = np.zeros(len(y), bool)
    found[train[own(len(train), rank)]] = True
    blocks = -(-len(held) // 96)  # of rows that are predicted together
    found[held[(np.arange(len(held)) // 96 < blocks // 2) == (rank == 0)]] = True
    for part in (train, held):
        found[part[compared(len(part))]] = True
    return found


def hidden(X: Any, shown: np.ndarray) -> Any:
    """X with something else where rows may not be looked at."""
    X = X.copy()
    X[~shown] = np.nan if X.dtype.kind == "f" else 111
    return X


@pytest.mark.parametrize("kind", ["f4", "i4", "u1"])
def test_a_share_to_validate_on_is_read_by_who_has_it(kind):
    """Also where rows have to become another type."""
    X, y = data(ROWS)
    X = (8 * np.abs(X)).astype(kind)

    def fit(X: Any, comm: Comm | None = None) -> MLP:
        return MLP(**SHORT).fit(X, y, validation=0.4, comm=comm)

    alone, all_rows = fit(X), np.arange(ROWS)
    for model in together(2, lambda comm: fit(
        hidden(X, seen(comm.Get_rank(), y, all_rows, 0.4)), comm
    )):  # fmt: skip
        assert told(model) == told(alone)


def with_gaps() -> tuple[Any, Any, np.ndarray]:
    """Inputs with gaps in both halves, and which rows have none."""
    X, y = data(ROWS)
    bad = [3, 50, 299, 301, 302, 640]
    X[bad, [0, 1, 2, 1, 1, 11]] = [np.nan, np.inf, np.nan, -np.inf, np.nan, np.nan]
    return X, y, np.delete(np.arange(ROWS), bad)


def test_rows_with_gaps_are_found_by_who_has_them(recwarn):
    X, y, kept = with_gaps()

    def fit(X: Any, comm: Comm | None = None) -> MLP:
        model = MLP(**SHORT, on_nonfinite="drop_rows")
        return model.fit(X, y, validation=0.4, comm=comm)

    def part(comm: Comm) -> Any:
        shown = seen(comm.Get_rank(), y, kept, 0.4) | own(ROWS, comm.Get_rank())
        return np.where(shown[:, np.newaxis], X, 1e9).astype(X.dtype)

    alone = fit(X)
    for model in together(2, lambda comm: fit(part(comm), comm)):
        assert told(model) == told(alone)
        assert model.history.rows_dropped == alone.history.rows_dropped == 6
    assert {str(one.message) for one in recwarn.list} == {
        "NaN or infinite values in column 0, 1, 2, 11: 6 rows left out (3, 50, 299, 301, 302, 640)."
    }


def test_medians_are_those_of_all_rows(recwarn):
    X, y, _ = with_gaps()
    y = y.astype(np.float32)
    y[5] = np.nan

    def fit(comm: Comm | None = None) -> MLP:
        model = MLP(**SHORT, on_nonfinite="impute", task="regression")
        return model.fit(X, y, validation=0.4, comm=comm)

    alone = fit()
    for model in together(2, fit):
        assert told(model) == told(alone)
        assert model.history.values_imputed == alone.history.values_imputed == 6
    assert len({str(one.message) for one in recwarn.list}) == 1


def test_a_column_of_gaps_alone_is_named():
    X, y = data(ROWS)
    X[:, 3] = np.nan
    for error in together(2, lambda comm: MLP(**SHORT, on_nonfinite="impute").fit(
        X, y, comm=comm
    )):  # fmt: skip
        assert isinstance(error, DataError)
        assert str(error) == "column 3 of X has no finite value to take the median of."


@pytest.mark.parametrize("row", [10, 400])
def test_a_bad_row_has_its_number_though_others_are_set_aside(row):
    X, y = data(ROWS)
    train, _ = division(y, 0.4, 0, False)
    X[train[row], 5] = np.nan
    errors = together(2, lambda comm: MLP(**SHORT, on_nonfinite="raise").fit(
        X, y, validation=0.4, comm=comm
    ))  # fmt: skip
    words = f"X has nan at row {train[row]}, column 5"
    assert [words in str(error) for error in errors] == [row == 10, row == 400]


# ------------------------------------------------------------------------------ prepared columns


def prepared(X: Any, y: Any, comm: Comm | None = None, **settings: Any) -> MLP:
    return MLP(**SHORT, **settings).fit(X, y, validation=0.4, comm=comm)


def numbers(rows: int = 5000) -> tuple[Any, Any]:
    """Some missing, one column constant, one that counts the rows, one empty."""
    rng = np.random.default_rng(3)
    X = rng.lognormal(size=(rows, 6)).astype(np.float32)
    X[rng.random(X.shape) < 0.01] = np.nan
    X[:, 3], X[:, 4], X[:, 5] = 7, np.arange(rows), np.nan
    return X, (rng.random(rows) < 0.5).astype(int)


@pytest.mark.parametrize("settings", [
    {}, {"scaling": "robust", "bins": 3}, {"column_kinds": {"x0": "drop"}},
], ids=["standard", "robust", "without one"])  # fmt: skip
def test_arrays_are_standardised_as_by_one(settings):
    X, y = numbers()
    alone = prepared(X, y, standardise=True, **settings)
    for model in together(2, lambda comm: prepared(X, y, comm, standardise=True, **settings)):
        assert model.column_plan == alone.column_plan
        assert told(model) == told(alone)


def test_standardising_reads_the_rows_of_each_and_a_chunk_more():
    """Means of all rows though each of two has its own: sums of chunks are told."""
    X, y = numbers()
    train, _ = division(y, 0.4, 0, False)
    first = own(len(train), 0).sum()  # of process 1

    def part(rank: int) -> Any:
        shown = seen(rank, y, np.arange(len(y)), 0.4)
        shown[train[:2]] = True
        shown[train[first : first + 1024]] = True
        return np.where(shown[:, np.newaxis], X, np.float32(1e9))

    alone = prepared(X, y, standardise=True)
    for model in together(2, lambda comm: prepared(
        part(comm.Get_rank()), y, comm, standardise=True
    )):  # fmt: skip
        assert model.column_plan == alone.column_plan
        assert told(model) == told(alone)


def table(rows: int = ROWS) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(4)
    shops = np.array(["x", "y", "z"], object)
    columns = {
        "b": rng.normal(size=rows), "shop": shops[rng.integers(3, size=rows)],
        "open": rng.random(rows) < 0.5, "day": np.datetime64("2024-01-01") + np.arange(rows),
        "a": np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(size=rows)),
        "early": np.array(["once"] * 40 + [None] * (rows - 40), object),
    }  # fmt: skip
    return columns, rng.normal(size=rows)


@pytest.mark.parametrize("changes", [
    {}, {"category_embedding": True, "scaling": "robust", "bins": 4},
    {"on_nonfinite": "drop_rows"}, {"on_nonfinite": "impute"},
    {"column_kinds": {"a": "drop", "day": "drop"}},
], ids=["", "embedded", "dropped", "filled", "one number"])  # fmt: skip
@pytest.mark.filterwarnings("ignore::nbmlp.TrainingWarning")
def test_tables_are_prepared_as_by_one(changes):
    X, y = table()
    alone = prepared(X, y, **changes)
    for model in together(3, lambda comm: prepared(X, y, comm, **changes)):
        assert model.column_plan == alone.column_plan
        assert told(model) == told(alone)


def test_a_table_goes_on_with_columns_in_another_order(tmp_path):
    X, y = table()
    at, alone = tmp_path / "c", prepared(X, y)
    turned = {name: X[name] for name in reversed(X)}
    MLP(**SHORT | {"epochs": 1}).fit(X, y, validation=0.4, callbacks=[Checkpoint(at)])
    for model in together(2, lambda comm: MLP(**SHORT).fit(
        turned, y, validation=0.4, resume=at, comm=comm
    )):  # fmt: skip
        assert np.array_equal(model.get_flat(), alone.get_flat())


def test_rows_to_validate_on_may_have_columns_in_another_order():
    X, y = table()
    turned = {name: X[name] for name in reversed(X)}
    alone = MLP(**SHORT).fit(X, y, validation=(turned, y))
    for model in together(2, lambda comm: MLP(**SHORT).fit(
        X, y, validation=(turned, y), comm=comm
    )):  # fmt: skip
        assert told(model) == told(alone)
    turned["b"] = np.where(np.arange(ROWS) == 411, np.inf, X["b"])
    errors = together(2, lambda comm: MLP(**SHORT).fit(X, y, validation=(turned, y), comm=comm))
    assert "validation X has an infinite value at row 411, column 'b'" in str(errors[1])


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_value_that_cannot_be_is_named_by_who_plans_its_column(name):
    X, y = table()
    X[name][411] = np.inf
    errors = together(2, lambda comm: MLP(**SHORT).fit(X, y, comm=comm))
    words = f"X has an infinite value at row 411, column {name!r}"
    assert any(str(error).startswith(words) for error in errors)
    assert all(words in str(error) for error in errors)


def test_an_infinite_number_is_named_by_who_has_it():
    X, y = data(3000)
    X[2500, 2] = np.inf
    first, second = together(2, lambda comm: MLP(**SHORT, standardise=True).fit(X, y, comm=comm))
    assert str(second).startswith("X has an infinite value at row 2500, column 2")
    assert str(second) in str(first)


def test_a_lone_value_of_a_table_is_told_once(recwarn):
    X, y = table()
    X["a"][411] = 1e20
    together(2, lambda comm: MLP(**SHORT).fit(X, y, comm=comm))
    assert len([one for one in recwarn.list if "row 411, column 'a'" in str(one.message)]) == 1


def test_arrays_too_large_to_be_looked_through_are_not_read_for_that(monkeypatch, recwarn):
    monkeypatch.setattr("nbmlp.data.outliers.MOST_BYTES", 1000)
    monkeypatch.setattr("nbmlp.train.hosts.division.MOST_BYTES", 1000)
    X, y = data(ROWS)
    X[411, 2] = 1e20
    together(2, lambda comm: MLP(**SHORT, standardise=True).fit(X, y, comm=comm))
    assert not recwarn.list


PROMISES = Path("/proc/sys/vm/overcommit_memory")


@pytest.mark.skipif(not PROMISES.exists(), reason="memory is promised otherwise than by Linux")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="other flags of mmap")
def test_room_for_all_rows_takes_memory_for_those_that_are_written():
    """There may be more of it than any machine has."""
    if PROMISES.read_text().strip() == "2" or getrlimit(RLIMIT_AS)[0] != RLIM_INFINITY:
        pytest.skip("this machine has a limit on what is promised: vm.overcommit_memory or ulimit")
    rows = room(1 << 36, 16, np.float32, (1000, 2000))  # 4 TB
    rows[1000:2000] = 1.0
    rows[[0, -1]] = 2.0
    assert rows.flags.c_contiguous
    assert rows.shape == (1 << 36, 16)
    assert rows[999].sum() == 0
    assert rows[1000:2000].sum() == 16000


def test_other_wishes_for_columns_are_refused():
    X, y = table()
    for error in together(2, lambda comm: MLP(**SHORT, bins=3 * comm.Get_rank()).fit(
        X, y, comm=comm
    )):  # fmt: skip
        assert str(error) == "process 1 has another setting of the columns than process 0."


#: How much of a mapped table is in each process's memory, and how much memory it has of its own
#: while it trains, in MB.
MEASURED = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from mpi4py import MPI
import numpy as np
from nbmlp import MLP, Checkpoint
from nbmlp.train.callbacks import Callback
comm, path = MPI.COMM_WORLD, __file__ + ".f4"
if comm.rank == 0:
    with open(path, "wb") as file:
        file.truncate(64 << 20)  # of zeros, which take no room on the disk
comm.Barrier()
y = np.random.default_rng(0).integers(0, 2, 1 << 18)

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon"))

def mapped():
    with open("/proc/self/smaps") as file:
        parts = file.read().split(path)
    return int(parts[1].split("Rss:")[1].split()[0]) / 1024 if len(parts) > 1 else 0.0

class Look(Callback):
    everywhere = True
    def on_epoch_end(self, run, record):
        self.seen = mapped(), anonymous()

def fit(rows, **settings):
    look = Look()
    X = np.memmap(path, np.float32, "r", shape=(1 << 18, 64))[:rows]
    model = MLP(hidden=2, batch_size=4096, epochs=1, shards=2, threads=1, **settings)
    model.fit(X, y[:rows], validation=0.5, callbacks=[look], comm=comm)
    return look.seen

_, before = fit(8192)
found = []
for settings in json.loads(sys.argv[2]):
    there, now = fit(1 << 18, **settings)
    found.append((there, now - before))
found = comm.allgather(found)
if comm.rank == 0:
    print(json.dumps(found))
"""


def test_memory_falls_with_processes(mpiexec, tmp_path):
    """Of a table of 64 MB, of which half is set aside, each of two has its half of either."""
    wanted = [{}, {"on_nonfinite": "drop_rows"}, {"standardise": True}]
    for rank in said_by_ranks(mpiexec, tmp_path, MEASURED, wanted):
        for there, taken in rank:
            assert 32 <= there < 48
            assert taken < 60
