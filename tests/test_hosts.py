"""Several processes train together: the bits of one, whoever has which shards.

Most of it runs in threads of one process that stand for processes; MPI itself, where it is
installed, on two ranks.
"""

from __future__ import annotations

import ctypes
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from engine_twin import FEATURES_ON

import nbmlp
from nbmlp import MLP, Checkpoint, EarlyStopping, SpecError
from nbmlp.errors import DataError, NonFiniteError
from nbmlp.io.archive import read
from nbmlp.train.callbacks import Callback
from nbmlp.train.engine import Engine
from nbmlp.train.hosts import EndedElsewhere
from nbmlp.train.hosts.native import Native
from nbmlp.train.interrupt import Interrupted
from tests.waiting import PATIENCE

#: As mpi4py's module has them.
THREAD_SERIALIZED = 2


def Query_thread() -> int:
    return THREAD_SERIALIZED


class World:
    """What communicators of threads share."""

    def __init__(self, size: int) -> None:
        self.size, self.said = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)


class Comm:
    """mpi4py's communicator, as far as it is used, for one of several threads."""

    def __init__(self, world: World, rank: int) -> None:
        self._world, self._rank, self.collectives = world, rank, 0

    def Get_rank(self) -> int:
        return self._rank

    def Get_size(self) -> int:
        return self._world.size

    def allgather(self, value: Any) -> list[Any]:
        world, self.collectives = self._world, self.collectives + 1
        world.said[self._rank] = value
        world.barrier.wait()
        said = list(world.said)
        world.barrier.wait()
        return said

    def Bcast(self, array: Any, root: int) -> None:
        array[:] = self.allgather(array.copy())[root]

    def Allgatherv(self, sent: Any, got: Any) -> None:
        (own, n), (array, (counts, starts)) = sent, got
        for said, count, start in zip(self.allgather(own[:n].copy()), counts, starts, strict=True):
            array[start : start + count] = said

    def Gatherv(self, sent: Any, got: Any, root: int) -> None:
        said = self.allgather(sent[0].copy())
        if got is not None:
            array, (counts, starts) = got
            for part, count, start in zip(said, counts, starts, strict=True):
                array[start : start + count] = part

    def Alltoallv(self, sent: Any, got: Any) -> None:
        array, (counts, starts) = sent
        parts = [array[b : b + n].copy() for n, b in zip(counts, starts, strict=True)]
        array, (counts, starts) = got
        for said, count, start in zip(self.allgather(parts), counts, starts, strict=True):
            array[start : start + count] = said[self._rank]

    # As MPI's own functions, which compiled code calls: their communicator is an address, too, and
    # the handle of a type is here how many bytes it has.

    def _allgatherv(self, *given: int) -> int:
        sent, count, size, got, counts, starts, *_ = given
        if sent == IN_PLACE:
            sent, count = got + number(starts, self._rank) * size, number(counts, self._rank)
        for k, said in enumerate(self.allgather(ctypes.string_at(sent, count * size))):
            assert len(said) == number(counts, k) * size
            ctypes.memmove(got + number(starts, k) * size, said, len(said))
        return 0

    def _alltoallv(self, *given: int) -> int:
        sent, to, at, size, got, counts, starts, *_ = given
        parts = [
            ctypes.string_at(sent + number(at, k) * size, number(to, k) * size)
            for k in range(self._world.size)
        ]
        for k, said in enumerate(self.allgather(parts)):
            assert len(said[self._rank]) == number(counts, k) * size
            ctypes.memmove(got + number(starts, k) * size, said[self._rank], len(said[self._rank]))
        return 0

    def native(self) -> Native:
        calls = [_function(8, self._allgatherv), _function(9, self._alltoallv)]
        self._calls = calls  # to live as long as they may be called
        addresses = [ctypes.cast(call, ctypes.c_void_p).value for call in calls]
        types = {np.dtype(kind): np.dtype(kind).itemsize for kind in (np.float32, np.float64)}
        return Native(*addresses, 0, IN_PLACE, types, lambda code: f"code {code}")


IN_PLACE = -1


def number(address: int, k: int) -> int:
    return ctypes.c_int.from_address(address + 4 * k).value


def _function(arguments: int, call: Callable[..., int]) -> Any:
    """A C function; an error of Python's is a code that it returns."""

    def called(*given: int) -> int:
        try:
            return call(*given)
        except Exception:
            return FAILED

    return ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * arguments)(called)


FAILED = 15


#: Which process a thread stands for.
here = threading.local()


def together(size: int, work: Callable[[Comm], Any]) -> list[Any]:
    """What becomes of `size` processes: what each returns, or raises."""
    world = World(size)

    def tried(rank: int) -> Any:
        here.rank = rank
        try:
            return work(Comm(world, rank))
        except (nbmlp.NbmlpError, ArithmeticError, MemoryError) as error:
            return error

    stand_in = mock.patch("nbmlp.train.hosts.native.native_of", Comm.native)
    with stand_in, ThreadPoolExecutor(size) as pool:
        return list(pool.map(tried, range(size)))


SETTINGS: dict[str, Any] = {
    "hidden": (19, 7), "batch_size": 30, "epochs": 4, "schedule": "constant", "shards": 7,
    "threads": 1,
}  # fmt: skip


def data(rows: int = 230) -> tuple[Any, Any]:
    X = np.random.default_rng(0).normal(size=(rows, 12)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] ** 2 > 1).astype(int)


def fitted(comm: Comm | None = None, **changes: Any) -> MLP:
    X, y = data()
    held, stop = (X[200:], y[200:]), [EarlyStopping(patience=1)]
    model = MLP(**SETTINGS | changes)
    return model.fit(X[:200], y[:200], validation=held, callbacks=stop, comm=comm)


def told(model: MLP) -> list[Any]:
    """Weights, and the history without what a clock says."""
    names = ("train_loss", "val_loss", "val_score", "learning_rate", "gradient_norms")
    rows = [[getattr(record, name) for name in names] for record in model.history]
    return [model.get_flat().tolist(), rows, model.history.stop_reason]


# ------------------------------------------------------------------------------- the same bits


TRAININGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd(0.1)"},
    "momentum": {"optimizer": "sgd(0.1, momentum=0.9)", "clip_norm": 0.3, "l2": 0.01},
    "adam": {"optimizer": "adam(0.01)", "dropout": 0.2, "clip_norm": 0.1, "gradient_norms": True},
    "adamw": {"optimizer": "adamw(0.01)", "dropout": 0.1, "ema": 0.9, "schedule": "cosine",
              "max_norm": 0.8},
    "lamb": {"optimizer": "lamb(0.01)", "shuffle": "blocks", "reduction": "sum"},
    "lbfgs": {"optimizer": "lbfgs", "batch_size": None},
    "float64": {"optimizer": "adam(0.01)", "dtype": "float64", "batch_size": 3},
    "further kinds": FEATURES_ON | {"hidden": (9, 9)},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_any_number_of_processes_has_the_bits_of_one(name):
    alone = fitted(**TRAININGS[name])
    for size in (2, 3):
        for model in together(size, lambda comm: fitted(comm, **TRAININGS[name])):
            assert told(model) == told(alone)
            assert np.array_equal(model.net.state.slots, alone.net.state.slots)


def test_each_process_keeps_the_slots_of_a_slice(monkeypatch):
    kept: dict[int, Any] = {}
    start = Engine.start_epoch

    def noted(engine: Engine, *given: Any) -> None:
        kept[here.rank] = engine.state.slots.shape
        start(engine, *given)

    monkeypatch.setattr(Engine, "start_epoch", noted)
    models = together(3, lambda comm: fitted(comm, **TRAININGS["adam"], hidden=(64, 64)))
    count, whole = models[0].net.state.slots.shape
    assert [kept[rank][0] for rank in range(3)] == [count] * 3
    lengths = [kept[rank][1] for rank in range(3)]
    assert sum(lengths) == whole
    assert max(lengths) < whole / 2


def test_a_checkpoint_is_that_of_one_process(tmp_path):
    """Though process 0 alone writes it, and others keep a part of what is in it."""
    def fit(name: str, comm: Comm | None = None) -> MLP:
        at = Checkpoint(tmp_path / name, seconds=0.0)
        return MLP(**SETTINGS | {"epochs": 2}).fit(*data(), callbacks=[at], comm=comm)

    fit("one")
    together(3, lambda comm: fit("three", comm))
    (one, _), (three, _) = (read(tmp_path / name, kind="checkpoint") for name in ("one", "three"))
    slots = [name for name in one if name.startswith("slot.")]
    assert len(slots) == 2
    for name in slots:
        assert np.array_equal(one[name], three[name])


def test_who_was_left_alone_trains_on():
    """With weights as they are; the optimizer begins anew, for others had some of its memory."""
    def fails(*_: Any) -> None:
        raise ArithmeticError("of a callback")

    def fit(comm: Comm) -> MLP:
        model = MLP(**SETTINGS)
        with pytest.raises((ArithmeticError, EndedElsewhere)):
            model.fit(*data(), callbacks=[fails], comm=comm)
        return model

    first, second = (model.partial_fit(*data()) for model in together(2, fit))
    assert np.array_equal(first.get_flat(), second.get_flat())


def test_one_shard_each_and_parts_of_shards(monkeypatch):
    """Also where a shard's rows of a batch are summed in parts, and nobody has whole pairs."""
    monkeypatch.setattr("nbmlp.tuning.SUB_BATCH", 3)
    alone = told(fitted(shards=5))
    for model in together(5, lambda comm: fitted(comm, shards=5)):
        assert told(model) == alone


def divided(hide: float = np.nan, **changes: Any) -> tuple[MLP, list[Any]]:
    """A training by one, and one by two of whom each sees its own rows alone; others' are `hide`.

    Beside these, some rows that are compared at the beginning.
    """
    block = MLP(**SETTINGS).fit(*data(40)).predictor.plan.row_block
    given, held = data(700), data(1000)
    held = tuple(part[-4 * block :] for part in held)
    compared = np.linspace(0, 699, 64).astype(np.int64)

    def fit(comm: Comm | None = None) -> MLP:
        X, seen = given[0].copy(), held[0].copy()
        if comm is not None:
            rows = np.delete(np.arange(700), compared)
            X[rows[(rows * 7 // 700 < 3) == (comm.Get_rank() == 1)]] = hide
            seen[(np.arange(4 * block) < 2 * block) == (comm.Get_rank() == 1)] = hide
        model = MLP(**SETTINGS | {"epochs": 2} | changes)
        return model.fit(X, given[1], validation=(seen, held[1]), comm=comm)

    return fit(), together(2, fit)


@pytest.mark.parametrize("changes", [{}, {"tune_threshold": "f1"}], ids=["", "threshold"])
def test_a_process_looks_at_its_own_rows_alone(recwarn, changes):
    """Those of others may be anything: in updates, in checks of all kinds, in validation."""
    alone, found = divided(**changes)
    for model in found:
        assert told(model) == told(alone)
        assert model.threshold == alone.threshold
    assert not recwarn.list


def test_rows_to_validate_on_that_are_not_finite_are_named_by_who_has_them():
    X, y = data()
    held = X.copy()
    held[201, 3] = np.nan
    first, second = together(2, lambda comm: MLP(**SETTINGS).fit(
        X, y, validation=(held, y), comm=comm,
    ))  # fmt: skip
    assert "validation X has NaN at row 201, column 3" in str(second)
    assert str(second) in str(first)


def test_targets_that_are_not_finite_are_named_by_who_has_them():
    X, y = data()
    y = y.astype(np.float32)
    y[201] = np.nan
    first, second = together(2, lambda comm: MLP(**SETTINGS, task="regression").fit(
        X, y, comm=comm,
    ))  # fmt: skip
    assert "y has NaN at row 201" in str(second)
    assert str(second) in str(first)


def test_a_lone_value_is_told_by_who_has_it():
    X, y = data()
    X[201, 3] = 1e20
    with pytest.warns(nbmlp.TrainingWarning, match="at row 201, column 3") as found:
        together(2, lambda comm: MLP(**SETTINGS).fit(X, y, comm=comm))
    assert len([one for one in found if "201" in str(one.message)]) == 1


def test_losses_that_are_not_finite_do_not_hinder_validation():
    """They are those of one process, as are all outputs."""
    held = np.full((300, 12), 1e38, np.float32), np.zeros(300, int)
    found = [
        MLP(**SETTINGS, task="regression").fit(*data(), validation=held, comm=comm).history
        for comm in [None]
    ]
    found += together(2, lambda comm: MLP(**SETTINGS, task="regression").fit(
        *data(), validation=held, comm=comm,
    ).history)  # fmt: skip
    losses = [[record.val_loss for record in history] for history in found]
    assert np.isnan(losses[0]).all()
    np.testing.assert_array_equal(losses[1:], [losses[0]] * 2)


def test_a_training_goes_on_with_another_number_of_processes(tmp_path):
    X, y = data()
    whole = MLP(**SETTINGS).fit(X, y)
    at = tmp_path / "c.safetensors"
    together(3, lambda comm: MLP(**SETTINGS | {"epochs": 2}).fit(
        X, y, callbacks=[Checkpoint(at)], comm=comm,
    ))  # fmt: skip
    for size in (1, 2):
        for model in together(size, lambda comm: MLP(**SETTINGS).fit(X, y, resume=at, comm=comm)):
            assert np.array_equal(model.get_flat(), whole.get_flat())


# ------------------------------------------------------------------- what one of them does or meets


def test_callbacks_of_process_0_are_called_and_lead_all():
    X, y = data()

    class Leads(Callback):
        def __init__(self) -> None:
            self.epochs = 0

        def on_epoch_end(self, run: Any, record: Any) -> None:
            self.epochs += 1
            run.set_weights(run.get_weights() * 0.5)
            if record.epoch == 2:
                run.stop("two are enough")

    leads = [Leads() for _ in range(3)]

    def fit(comm: Comm) -> MLP:
        return MLP(**SETTINGS).fit(X, y, callbacks=[leads[comm.Get_rank()]], comm=comm)

    models = together(3, fit)
    assert [own.epochs for own in leads] == [2, 0, 0]
    assert {model.history.stop_reason for model in models} == {"two are enough"}
    alone = MLP(**SETTINGS).fit(X, y, callbacks=[Leads()])
    for model in models:
        assert np.array_equal(model.get_flat(), alone.get_flat())


@pytest.mark.parametrize("when", ["on_progress", "on_epoch_end"])
def test_an_interruption_of_process_0_ends_all_behind_the_same_update(when):
    X, y = data()

    def interrupts(*_: Any) -> None:
        raise Interrupted("enough")

    callback = Callback()
    setattr(callback, when, interrupts)
    models = together(2, lambda comm: MLP(**SETTINGS).fit(
        X, y, callbacks=[callback], comm=comm,
    ))  # fmt: skip
    assert [model.history.stop_reason for model in models] == ["enough"] * 2
    assert len({model.net.state.step for model in models}) == 1
    assert np.array_equal(*[model.get_flat() for model in models])


@pytest.mark.parametrize("when", ["on_fit_begin", "on_progress", "on_epoch_end", "on_fit_end"])
def test_an_error_of_one_ends_all(when):
    X, y = data()

    def fails(*_: Any) -> None:
        raise ArithmeticError("of a callback")

    callback = Callback()
    setattr(callback, when, fails)
    first, *others = together(3, lambda comm: MLP(**SETTINGS).fit(
        X, y, callbacks=[callback], comm=comm,
    ))  # fmt: skip
    assert str(first) == "of a callback"
    for error in others:
        assert isinstance(error, EndedElsewhere)
        assert str(error) == (
            "process 0 has ended the training of all: ArithmeticError: of a callback"
        )


#: What process 1 has no memory for, and at which call.
PLACES = {
    "nbmlp.mlp.tell_lone_values": 1,
    "nbmlp.train.engine.Workspace": 1,
    "nbmlp.train.engine.Snapshot": 1,
    "nbmlp.state.State.begin_updates": 1,
    "nbmlp.train.loop.factors_of": 1,
    "nbmlp.train.engine.Engine.start_epoch": 2,
    "nbmlp.train.engine.Snapshot.take": 2,
    "nbmlp.train.engine.run": 2,
    "nbmlp.train.engine.Engine.penalty": 1,
    "nbmlp.predict.run": 1,
    "nbmlp.train.epochs.Epochs.finish": 1,
    "nbmlp.train.history.History.describe_stall": 1,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_process_without_memory_ends_all_wherever_it_stands(monkeypatch, place):
    calls = iter(range(1, 1000))
    owner, _, name = place.rpartition(".")
    known = getattr(pkgutil.resolve_name(owner), name)

    def full(*given: Any, **named: Any) -> Any:
        if here.rank == 1 and next(calls) == PLACES[place]:
            raise MemoryError("full")
        return known(*given, **named)

    monkeypatch.setattr(place, full)
    first, second = together(2, fitted)
    assert isinstance(second, MemoryError)
    assert isinstance(first, EndedElsewhere | NonFiniteError)
    ended = "process 1 has ended the training of all: MemoryError: full"
    in_region = "was not made: another of those who train together could not go on, and says why."
    assert str(first) == ended or in_region in str(first)


def test_data_that_one_cannot_take_end_all():
    X, y = data()

    def fit(comm: Comm) -> MLP:
        return MLP(**SETTINGS).fit(X, y[: len(y) - comm.Get_rank()], comm=comm)

    first, second = together(2, fit)
    assert isinstance(second, DataError)
    assert "process 1 has ended the training of all: DataError" in str(first)


def test_a_bad_row_ends_all_and_is_named_by_who_has_it():
    X, y = data()
    X[137, 3] = np.nan
    errors = together(3, lambda comm: MLP(**SETTINGS, on_nonfinite="raise").fit(X, y, comm=comm))
    assert all(isinstance(error, NonFiniteError) for error in errors)
    assert ["row 137" in str(error) for error in errors] == [False, False, True]
    assert len({error.step for error in errors}) == 1


def test_weights_that_leave_the_numbers_end_all():
    settings = SETTINGS | {"optimizer": "sgd(1e30)"}
    X, y = data()
    errors = together(2, lambda comm: MLP(**settings).fit(X, y, comm=comm))
    assert all(isinstance(error, NonFiniteError) for error in errors)
    assert len({error.step for error in errors}) == 1


def test_what_mpi_cannot_do_is_told_in_a_sentence(monkeypatch):
    def refuses(*_: int) -> int:
        raise ConnectionError

    monkeypatch.setattr(Comm, "_alltoallv", refuses)
    for error in together(2, lambda comm: MLP(**SETTINGS).fit(*data(), comm=comm)):
        assert str(error) == f"MPI could not sum the gradients of all: code {FAILED}."


@pytest.mark.parametrize(("what", "changes"), [
    ("setting of the training", {"learning_rate": 0.1}), ("net", {"activation": "tanh"}),
], ids=["training", "net"])  # fmt: skip
def test_other_settings_are_refused(what, changes):
    def fit(comm: Comm) -> MLP:
        return MLP(**SETTINGS | (changes if comm.Get_rank() else {})).fit(*data(), comm=comm)

    for error in together(2, fit):
        assert str(error) == f"process 1 has another {what} than process 0."


def test_other_rows_are_refused():
    X, y = data()

    def fit(comm: Comm) -> MLP:
        return MLP(**SETTINGS).fit(X + comm.Get_rank(), y, comm=comm)

    for error in together(2, fit):
        assert str(error) == "process 1 has another set of rows than process 0."


def test_what_does_not_go_with_several_is_refused():
    for error in together(3, lambda comm: fitted(comm, shards=2)):
        assert str(error).startswith("shards=2 cannot be divided among 3 processes: give shards=3")
    for error in together(2, lambda comm: fitted(comm, on_nonfinite="ignore")):
        assert str(error) == "on_nonfinite='ignore' does not go with several processes."
    with pytest.raises(SpecError, match="must be a communicator of mpi4py"):
        fitted("MPI.COMM_WORLD")


# ------------------------------------------------------------------------------------------- MPI

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def mpiexec() -> Callable[..., str]:
    pytest.importorskip("mpi4py", reason="MPI is not installed: pip install nbmlp[mpi]")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python: pip install mpich")

    def run(*command: str) -> str:
        quiet = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}  # ranks may share a core
        done = subprocess.run(
            [MPIEXEC, "-n", "2", sys.executable, *command], env=os.environ | quiet,
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from mpi4py import MPI
from test_hosts import TRAININGS, fitted, told
comm = MPI.COMM_WORLD
found = comm.allgather([told(fitted(comm, **TRAININGS["adam"], threads=n)) for n in (1, 2)])
if comm.rank == 0:
    print(json.dumps(found))
"""


def said_by_ranks(mpiexec, tmp_path, text, *more):
    """What a script prints, as JSON; it is told where tests and nbmlp are, and what else is to be.
    """
    script = tmp_path / "script.py"
    script.write_text(text)
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    return json.loads(mpiexec(str(script), *map(json.dumps, (folders, *more))))


def test_two_ranks_of_mpi(mpiexec, tmp_path):
    alone = json.loads(json.dumps(told(fitted(**TRAININGS["adam"]))))
    for rank in said_by_ranks(mpiexec, tmp_path, SCRIPT):
        assert rank == [alone, alone]


def test_the_command_line_under_mpiexec(mpiexec, tmp_path):
    X, y = data()
    table, ends = tmp_path / "t.csv", []
    np.savetxt(table, np.column_stack([X, y]), delimiter=",")
    options = ["--target", "x12", "--json", "--hidden", "5", "--epochs", "2", "--shards", "2"]
    for name, run in (("two", mpiexec), ("one", None)):
        out = tmp_path / f"{name}.safetensors"
        command = ["-m", "nbmlp", "train", "--data", str(table), *options, "--out", str(out)]
        if run is None:
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
        else:
            assert len(json.loads(run(*command))) > 1  # one process tells, not both
        ends.append(MLP.load(out).get_flat())
    assert np.array_equal(*ends)
