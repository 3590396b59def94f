"""Checkpoints of several processes: who may replace one, who has the newest, who writes it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_hosts import SETTINGS, Comm, data, together

from nbmlp import MLP, Checkpoint, EarlyStopping
from nbmlp.cli import files as cli_files
from nbmlp.cli import training
from nbmlp.cli.groups import Learning, Outputs
from nbmlp.cli.guard import Guard
from nbmlp.cli.together import write_on_two
from nbmlp.io import atomic
from nbmlp.train.callbacks import Callback, CallbackList
from nbmlp.train.hosts.copies import newest, second_writer
from nbmlp.train.hosts.fence import Fence, FencedOff, number_of
from nbmlp.train.interrupt import Interrupted


class Talking(Comm):
    """mpi4py's names for what is sent as it is."""

    __module__ = Comm.__module__  # where the rest of mpi4py's names are looked for

    def bcast(self, value: Any, root: int) -> Any:
        return self.allgather(value)[root]

    def Barrier(self) -> None:
        self.allgather(None)


def ranks(size: int, work: Any) -> list[Any]:
    return together(size, lambda comm: work(Talking(comm._world, comm.Get_rank())))


def trained(path: Path, comm: Any = None, epochs: int = 2, **more: Any) -> MLP:
    model = MLP(**SETTINGS | {"epochs": epochs})
    return model.fit(*data(), callbacks=[Checkpoint(path)], comm=comm, **more)


# --------------------------------------------------------------------------------- who may write


def write(path: Path, arrays: Any) -> None:
    """As a model would, with nothing but these arrays."""
    from nbmlp.io import archive

    named = {f"extra.{name}": array for name, array in arrays.items()}
    archive.write(path, named, {}, kind="checkpoint")


def test_an_older_start_never_replaces_what_a_newer_one_has_written(tmp_path):
    at = tmp_path / "c"
    old = Fence(*Fence.after([at], {}))
    old.replace(at, {"x": np.zeros(1)}, write)
    new = Fence(*Fence.after([at], {}))
    assert (old.number, new.number) == (1, 2)
    old.replace(at, {"x": np.ones(1)}, write)  # the newer one has not written yet
    new.replace(at, {"x": np.ones(1)}, write)
    before = at.read_bytes()
    with pytest.raises(FencedOff, match=r"c was written by a later start .* left over"):
        old.replace(at, {"x": np.zeros(1)}, write)
    assert at.read_bytes() == before
    assert os.listdir(tmp_path) == ["c"]
    new.replace(at, {"x": np.zeros(2)}, write)


def test_of_two_starts_at_once_the_second_to_write_ends(tmp_path):
    at = tmp_path / "c"
    one, other = (Fence(*Fence.after([at], {})) for _ in range(2))
    one.replace(at, {}, write)
    with pytest.raises(FencedOff):
        other.replace(at, {}, write)


def test_a_start_that_goes_on_from_elsewhere_has_a_larger_number(tmp_path):
    """From the other writer's folder, say, where the newest checkpoint was."""
    assert Fence.after([tmp_path / "none"], {"fence": np.array([6, 1])})[0] == 7


def test_the_smaller_side_does_not_write(tmp_path):
    at = tmp_path / "c"
    with pytest.raises(FencedOff, match="do not have the majority"):
        Fence(1, 1, lambda: False).replace(at, {}, write)
    assert not os.listdir(tmp_path)


def test_checkpoints_of_several_bear_a_number_and_those_of_one_do_not(tmp_path):
    at = tmp_path / "c"
    trained(at)
    assert number_of(at) == (0, 0)
    ranks(2, lambda comm: trained(at, comm))
    assert number_of(at)[0] == 1
    ranks(3, lambda comm: trained(at, comm, epochs=3, resume=at))
    assert number_of(at)[0] == 2
    trained(at, epochs=4, resume=at)  # one that is left of several
    assert number_of(at)[0] == 3


def test_a_process_that_is_left_over_ends_its_training(tmp_path):
    at = tmp_path / "c"

    class Newer(Callback):
        def on_epoch_end(self, run: Any, record: Any) -> None:
            Fence(9, 9).replace(at, {}, write)

    def left_over(comm: Any) -> MLP:
        return MLP(**SETTINGS).fit(*data(), callbacks=[Newer(), Checkpoint(at)], comm=comm)

    first, second = ranks(2, left_over)
    assert isinstance(first, FencedOff)
    assert "FencedOff" in str(second)
    assert number_of(at) == (9, 9)


def test_neither_does_it_replace_the_model_or_the_picture(tmp_path, monkeypatch):
    """A newer start writes right before the file is renamed into place."""
    pytest.importorskip("matplotlib")
    files = {name: str(tmp_path / name) for name in ("checkpoint", "out", "log", "plot.svg")}
    at, table = Path(files["checkpoint"]), tmp_path / "t.csv"
    X, y = data()
    np.savetxt(table, np.column_stack([X, y]), delimiter=",")
    renamed: list[str] = []

    def step(name: str) -> None:
        if name == "rename" and renamed and renamed.pop() != "other":
            renamed.append("other")
            Fence(9, 9).replace(at, {}, write)

    def train(comm: Any) -> int:
        values = {
            "data": str(table), "target": "x12", "quiet": True, **SETTINGS, "epochs": 2,
            **{name.partition(".")[0]: path for name, path in files.items()},
        }  # fmt: skip
        return training._train(values, None, comm)

    assert ranks(2, train) == [0, 0]
    before = {name: Path(path).read_bytes() for name, path in files.items()}
    for name, module in (("out", MLP), ("plot.svg", cli_files)):
        what = "save" if module is MLP else "write_picture"
        real = getattr(module, what)

        def armed(*given: Any, real: Any = real) -> None:
            renamed.append("this")
            real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(module, what, armed)
            patch.setattr(atomic, "on_step", step)
            first, _ = ranks(2, train)
        assert isinstance(first, FencedOff), name
        assert number_of(at) == (9, 9)
        assert Path(files[name]).read_bytes() == before[name]
        at.unlink()


def test_a_log_is_written_by_no_process_that_is_left_over(tmp_path):
    at, log = tmp_path / "c", tmp_path / "log"
    run: Any = SimpleNamespace(fence=Fence(1, 1), history=())
    callbacks = training._callbacks(Learning(), Outputs(log=str(log), quiet=True), Guard(str(at)))
    callbacks = CallbackList(callbacks)
    with callbacks.around(run):
        Fence(9, 9).replace(at, {}, write)
        with pytest.raises(FencedOff):
            callbacks.on_epoch_end(run, trained(tmp_path / "other").history[0])
    assert log.read_text() == ""


# ------------------------------------------------------------------------- folders of one's own


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"host{k}" for k in range(3)]
    for folder in found:
        folder.mkdir()
    return found


def test_who_writes_a_second_one(folders):
    whole = [folders[0]] * 3
    for homes, second in (
        (whole, None), (folders, 1), ([folders[0], folders[0], folders[2]], 2),
        ([folders[0], folders[0] / "missing", folders[2]], 2),
    ):  # fmt: skip
        found = ranks(3, lambda comm, h=homes: second_writer(comm, h[comm.Get_rank()] / "c"))
        assert found == [second] * 3
    assert not any(os.listdir(folder) for folder in folders)


def test_two_write_the_same_state(folders):
    """Also the weights of the best epoch, which early stopping goes back to."""
    X, y = data()

    def fit(comm: Any) -> MLP:
        at = folders[comm.Get_rank()] / "c"
        callbacks = [Callback(), EarlyStopping(patience=2), Checkpoint(at)]
        write_on_two(comm, str(at), callbacks)
        model = MLP(**SETTINGS | {"epochs": 9, "learning_rate": 0.05})
        return model.fit(X, y, validation=0.2, callbacks=callbacks, comm=comm)

    models = ranks(3, fit)
    assert [os.listdir(folder) for folder in folders] == [["c"], ["c"], []]
    assert len({model.history.stop_reason for model in models}) == 1
    alone = MLP(**SETTINGS | {"epochs": 9, "learning_rate": 0.05}).fit(
        X, y, validation=0.2, callbacks=[EarlyStopping(patience=2)]
    )
    for model in (*models, *(resumed(folder / "c") for folder in folders[:2])):
        assert np.array_equal(model.get_flat(), alone.get_flat())


def resumed(at: Path) -> MLP:
    model = MLP(**SETTINGS | {"epochs": 9, "learning_rate": 0.05})
    X, y = data()
    return model.fit(X, y, validation=0.2, callbacks=[EarlyStopping(patience=2)], resume=at)


@pytest.mark.parametrize("size", [2, 3])
def test_the_newest_whole_one_is_found_and_sent_to_all(folders, size, monkeypatch):
    monkeypatch.setattr("nbmlp.train.hosts.copies._PIECE", 1000)
    trained(folders[0] / "c", epochs=2)
    trained(folders[1] / "c", epochs=3)
    (folders[2] / "c").write_bytes((folders[1] / "c").read_bytes()[:-1])  # newer, but damaged

    def look(comm: Any) -> Any:
        with newest(comm, folders[comm.Get_rank()] / "c") as found:
            comm.allgather(None)  # what is temporary is there as long as this lasts
            return found.read_bytes()

    expected = (folders[1] / "c").read_bytes()
    assert ranks(size, look) == [expected] * size


def test_the_number_counts_for_more_than_the_step(folders):
    """What a newer start has written comes first: the older may have gone on alone."""
    ranks(2, lambda comm: trained(folders[0] / "c", comm, epochs=3))
    ranks(2, lambda comm: trained(folders[1] / "c", comm, epochs=1))
    Fence(7, 7).replace(
        folders[1] / "c", {}, lambda path, arrays: trained_with(path, arrays, epochs=2)
    )

    def look(comm: Any) -> Any:
        with newest(comm, folders[comm.Get_rank()] / "c") as found:
            return found.read_bytes() if comm.Get_rank() == 0 else None

    assert ranks(2, look)[0] == (folders[1] / "c").read_bytes()


def trained_with(path: Path, arrays: Any, epochs: int) -> None:
    model = MLP(**SETTINGS | {"epochs": epochs}).fit(*data())
    model._write(path, "checkpoint", arrays)


def test_no_checkpoint_anywhere_is_none(folders):
    def look(comm: Any) -> Any:
        with newest(comm, folders[comm.Get_rank()] / "c") as found:
            return found

    assert ranks(2, look) == [None, None]
    assert look_alone(folders[0] / "c") is None


def look_alone(path: Path) -> Any:
    with newest(None, path) as found:
        return found


def test_a_training_that_early_stopping_had_ended_is_resumed_by_several(tmp_path):
    """Process 0 alone knows at once that there is nothing left to do."""
    at = tmp_path / "c"

    def interrupted(run: Any, record: Any) -> None:
        raise Interrupted("here")

    model = MLP(**SETTINGS | {"epochs": 9})
    model.fit(*data(), callbacks=[Checkpoint(at), interrupted])

    class Over(Callback):
        def on_fit_begin(self, run: Any) -> None:
            run.stop("nothing left")

    models = ranks(2, lambda comm: MLP(**SETTINGS | {"epochs": 9}).fit(
        *data(), callbacks=[Over()], resume=at, comm=comm,
    ))  # fmt: skip
    assert [model.history.stop_reason for model in models] == ["nothing left"] * 2
