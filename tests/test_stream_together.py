"""Parquet files and several processes that train on them together: rows made ready once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_hosts import MPIEXEC, Comm, together
from test_stream import FIT, ROWS, counted, files, frame, rows_folder

from nbmlp import MLP
from nbmlp.errors import DataError
from nbmlp.stream import ReadyRows, folder
from tests.waiting import PATIENCE

__all__ = ["files", "rows_folder"]  # fixtures

SETTINGS: dict[str, Any] = {
    "hidden": 6, "epochs": 2, "batch_size": 128, "shards": 4, "shuffle": "blocks", "threads": 1,
}  # fmt: skip


def fitted(name: str, comm: Comm | None = None) -> MLP:
    return MLP(**SETTINGS).fit(name, **FIT, comm=comm)


@pytest.mark.parametrize("elsewhere", ["", "file://"])
def test_one_makes_the_rows_ready_and_all_have_the_bits_of_one(
    files: str, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    alone = fitted(files).get_flat()
    folder.remove([])
    seen = counted(monkeypatch)
    for model in together(3, lambda comm: fitted(elsewhere + files, comm)):
        np.testing.assert_array_equal(model.get_flat(), alone)
    assert sum(seen) == ROWS
    assert len(folder.entries()) == (0 if elsewhere else 1)


def test_updates_read_the_ready_rows_of_a_process_shards_alone(
    files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbmlp.train.hosts.Hosts.check_alike", lambda *_: None)
    alone = MLP(**SETTINGS).fit(files, target="label").get_flat()

    def own(comm: Comm) -> MLP:
        model = MLP(**SETTINGS)
        found = model.read_files(files, target="label", comm=comm)
        ready = found.train.X
        x, (low, high) = np.array(ready.x), ((comm.Get_rank() + k) * ROWS // 2 for k in (0, 1))
        x[:low] = x[high:] = 1e30
        given = replace(found.train, X=ReadyRows(x, ready.plan))
        return model.fit(found._replace(train=given), comm=comm)

    for model in together(2, own):
        np.testing.assert_array_equal(model.get_flat(), alone)


def test_files_that_one_cannot_read_end_all(files: str, tmp_path: Path) -> None:
    def fit(comm: Comm) -> MLP:
        return fitted(files if comm.Get_rank() else str(tmp_path / "none*"), comm)

    errors = together(2, fit)
    assert isinstance(errors[0], DataError)
    assert "process 0 has ended the training of all: DataError: no file matches" in str(errors[1])


def test_who_waits_is_told_why_the_other_has_failed(rows_folder: Path) -> None:
    key, waits = "0" * 24, threading.Event()

    def fails() -> None:
        with folder.writing(key):
            began.set()
            assert waits.wait(PATIENCE)
            raise DataError("a.parquet is damaged.")

    def told() -> None:
        with folder.writing(key, waits.set):
            raise AssertionError("the other has failed")

    began = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fails)
        assert began.wait(PATIENCE)
        second = pool.submit(told)
        for future in (first, second):
            with pytest.raises(DataError, match=r"^a\.parquet is damaged\.$"):
                future.result(PATIENCE)
    with folder.writing(key) as entry:  # who comes later tries anew
        assert entry.key == key


def test_processes_with_folders_of_their_own_train_on_files(files: str, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="MPI is not installed: pip install nbmlp[mpi]")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python: pip install mpich")
    frame(100, 2).write_parquet(tmp_path / "test.parquet")
    command = [
        sys.executable, "-m", "nbmlp", "train", "--data", files, "--target", "label",
        "--validation", "0.2", "--test", str(tmp_path / "test.parquet"), "--hidden", "6",
        "--epochs", "2", "--shards", "4", "--shuffle", "blocks", "--batch-size", "128",
        "--threads", "1", "--out", str(tmp_path / "model"),
    ]  # fmt: skip
    ranks: list[str] = []
    for host in ("a", "b"):
        ranks += [":"] if ranks else []
        ranks += ["-n", "1", "-env", "NBMLP_ROWS_DIR", str(tmp_path / host), *command]
    done = subprocess.run(
        [MPIEXEC, *ranks], env=os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("making the rows of") == 2  # of the files and of the test, once each
    np.testing.assert_array_equal(MLP.load(tmp_path / "model").get_flat(), fitted(files).get_flat())
    for host in ("a", "b"):
        assert [*(tmp_path / host).glob("*/train.f32")]
