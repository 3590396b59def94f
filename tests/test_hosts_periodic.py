"""Several processes whose weights are averaged now and then: NumPy's weights, one state for all.

Threads stand for processes, as in `test_hosts.py`; MPI itself, where it is installed, on two ranks.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
from test_hosts import (
    SETTINGS,
    Comm,
    data,
    fitted,
    mpiexec,
    said_by_ranks,
    together,
    told,
)

from nbmlp import MLP, Checkpoint, SpecError
from nbmlp.errors import NonFiniteError, TrainingWarning
from nbmlp.train.callbacks import Callback
from nbmlp.train.hosts import EndedElsewhere
from nbmlp.train.hosts.periodic import enough_updates
from nbmlp.train.interrupt import Interrupted

__all__ = ["mpiexec"]  # a fixture

PERIODIC: dict[str, Any] = SETTINGS | {"sync": "periodic", "sync_every": 2}


def pair(**changes: Any) -> list[MLP]:
    """Two processes' models, fitted on all of :func:`data`."""
    found = together(2, lambda comm: MLP(**PERIODIC | changes).fit(*data(), comm=comm))
    for model in found:
        if isinstance(model, Exception):
            raise model
    return found


def warned(resume: Path | None = None, **changes: Any) -> Any:
    """A fit that gives back the warning that has ended it."""

    def fit(comm: Comm) -> Any:
        try:
            return MLP(**PERIODIC | changes).fit(*data(), resume=resume, comm=comm)
        except TrainingWarning as warning:
            return warning

    return fit


# ------------------------------------------------------------------------------ NumPy's weights

ROWS, BATCH, EPOCHS = 46, 5, 3
#: Number of processes and shards -> of each process its rows in their order, and its batch.
DIVISIONS: dict[tuple[int, int], list[tuple[Any, int]]] = {
    (2, 2): [(np.arange(23), 5), (np.arange(23, 46), 5)],
    (3, 4): [
        (np.arange(12), 4), (np.arange(12, 23), 4),
        (np.append(np.column_stack([np.arange(23, 34), np.arange(35, 46)]).ravel(), 34), 8),
    ],
}  # fmt: skip


def averaged(model: MLP, X: Any, y: Any, parts: list[tuple[Any, int]], every: int) -> Any:
    """Weights of all in the end, as NumPy has them: local updates, means by rows."""
    spec, train = model.model_spec, model.train_spec
    Y = ref.one_hot(y, 3)
    together, power = sum(batch for _, batch in parts), train.optimizer.batch_power
    factor = (together / BATCH) ** power
    all_params = [ref.from_flat(spec, model.get_flat())] * len(parts)
    all_slots = [ref.first_slots(train.optimizer, all_params[0]) for _ in parts]

    def mean(arrays: list[Any]) -> Any:
        return sum(len(rows) / ROWS * a for (rows, _), a in zip(parts, arrays, strict=True))

    def shared(params: list[Any]) -> list[Any]:
        blocks = zip(*(one.blocks() for one in params), strict=True)
        return [params[0].filled([mean(list(block)) for block in blocks])] * len(parts)

    per_epoch = max(math.ceil(len(rows) / batch) for rows, batch in parts)
    for update in range(1, EPOCHS * per_epoch + 1):
        at = (update - 1) % per_epoch
        for k, (rows, batch) in enumerate(parts):
            own = rows[at * batch : (at + 1) * batch]
            if len(own):
                loss = ref.loss_and_gradient(spec, train, all_params[k], X[own], Y[own])
                all_params[k] = ref.update(
                    train, all_params[k], loss.gradient, all_slots[k], factor, update
                )
        over = at == per_epoch - 1
        if over or (at + 1) % every == 0:
            all_params = shared(all_params)
        if over:
            for block in range(len(all_slots[0])):
                for name in all_slots[0][block]:
                    kept = mean([slots[block][name] for slots in all_slots])
                    for slots in all_slots:
                        slots[block][name] = kept.copy()
    return all_params[0].flat()


@pytest.mark.parametrize("optimizer", ["sgd(0.1)", "sgd(0.05, momentum=0.9)", "adam(0.01)"])
@pytest.mark.parametrize(("size", "shards"), DIVISIONS)
def test_weights_are_those_of_numpy(size, shards, optimizer):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(ROWS, 6)), np.arange(ROWS) % 3
    settings: dict[str, Any] = {
        "hidden": (5,), "activation": "tanh", "dtype": "float64", "schedule": "constant",
        "shuffle": False, "batch_size": BATCH, "epochs": EPOCHS, "optimizer": optimizer,
        "l2": 0.01, "clip_norm": 0.5, "shards": shards, "sync": "periodic", "sync_every": 2,
        "threads": 1,
    }  # fmt: skip
    first = MLP(**settings).build(X, y)
    exact = averaged(first, X, y, DIVISIONS[size, shards], 2)
    for model in together(size, lambda comm: MLP(**settings).fit(X, y, comm=comm)):
        assert np.linalg.norm(model.get_flat() - exact) <= 1e-12 * np.linalg.norm(exact)


def test_an_average_at_every_update_is_the_step_of_all_together():
    """Of gradient descent, with the rate that `base_batch` gives it."""
    common = {"optimizer": "sgd(0.1)", "dtype": "float64", "shuffle": False, "shards": 2}
    model, _ = pair(**common, sync_every=1)
    exact = MLP(**SETTINGS | common | {"batch_size": 60, "base_batch": 30}).fit(*data())
    assert np.allclose(model.get_flat(), exact.get_flat(), rtol=0, atol=1e-12)
    assert model.history[-1].learning_rate == exact.history[-1].learning_rate == 0.2


def test_equal_processes_are_one_and_each_draws_for_itself():
    X, y = data(100)
    settings = PERIODIC | {"shards": 2, "optimizer": "adam(0.01)"}
    alone = PERIODIC | {"shards": 1, "optimizer": f"adam({0.01 * 2**0.5!r})"}

    def differs(**changes: Any) -> bool:
        half = MLP(**alone | changes).fit(X, y).get_flat()
        model, _ = together(2, lambda comm: MLP(**settings | changes).fit(
            np.vstack([X, X]), np.append(y, y), comm=comm,
        ))  # fmt: skip
        return not np.array_equal(model.get_flat(), half)

    assert not differs(shuffle=False)
    assert differs(shuffle=True)
    assert differs(shuffle=False, dropout=0.2)


# -------------------------------------------------------------------------------- one state for all

TRAININGS: dict[str, dict[str, Any]] = {
    "all that there is": {
        "optimizer": "adamw(0.01)", "dropout": 0.2, "clip_norm": 0.3, "ema": 0.9, "warmup": 1,
        "gradient_norms": True, "schedule": "on_plateau", "shards": 5, "sync_every": 3,
    },
    "sgd, seldom": {"optimizer": "sgd(0.1)", "shards": 3, "sync_every": 1000},
    "all rows at once": {"batch_size": None, "optimizer": "lamb(0.01)"},
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_all_have_the_same_bits_on_any_number_of_threads(name):
    changes = PERIODIC | TRAININGS[name]
    first, *others = together(3, lambda comm: told(fitted(comm, **changes)))
    others += together(3, lambda comm: told(fitted(comm, **changes | {"threads": 2})))
    assert all(other == first for other in others)


def test_one_process_trains_as_without():
    for comm in (None, *together(1, lambda comm: comm)):
        assert told(fitted(comm, **PERIODIC)) == told(fitted())


def test_what_is_not_trained_stays_as_it_is():
    X, y = data()
    settings = PERIODIC | {"rate_factors": {"layer1": 0.0}, "optimizer": "adam(0.01)"}
    before = MLP(**settings).build(X, y).net.state.weights()[0]
    for model in together(3, lambda comm: MLP(**settings).fit(X, y, comm=comm)):
        assert np.array_equal(model.net.state.weights()[0], before)


def test_updates_read_the_rows_of_a_process_alone(monkeypatch):
    monkeypatch.setattr("nbmlp.train.hosts.Hosts.check_alike", lambda *_: None)
    X, y = data()

    def own(comm: Comm) -> MLP:
        mine, half = X.copy(), 3 * len(X) // 7 + 1  # shards 0 to 2 of 7
        mine[half:] += 1e30 * (comm.Get_rank() == 0)
        mine[:half] += 1e30 * comm.Get_rank()
        return MLP(**PERIODIC).fit(mine, y, comm=comm)

    for model in together(2, own):
        assert np.array_equal(model.get_flat(), pair()[0].get_flat())


def test_what_mpi_cannot_do_is_said_in_a_sentence(monkeypatch):
    def fails(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Comm, "Alltoallv", fails)
    for error in together(2, lambda comm: MLP(**PERIODIC).fit(*data(), comm=comm)):
        assert str(error) == "MPI could not average the weights of all: no memory."


# ----------------------------------------------------------------------------------- how often

CHOSEN = pytest.mark.filterwarnings("ignore:weights are averaged")


def test_averages_take_a_twentieth_of_the_time_at_most():
    """Those at an epoch's end among them; if these alone take more, there are no others."""
    assert enough_updates(mean=0.0049, update=0.001, steps=950, at_end=3) == 119
    assert enough_updates(mean=0.0049, update=0.001, steps=950, at_end=9) == 475
    assert enough_updates(mean=0.0049, update=0.001, steps=950, at_end=20) == 950
    assert enough_updates(mean=1e-5, update=0.1, steps=950, at_end=3) == 1


@CHOSEN
@pytest.mark.parametrize("every", [1, 6, 10**9])
def test_how_often_is_chosen_written_down_and_repeated(monkeypatch, tmp_path, every):
    monkeypatch.setattr("nbmlp.train.hosts.periodic.enough_updates", lambda *_: every)
    model, other = pair(sync_every=None, batch_size=8)
    found = model.history.sync_every
    assert found == {1: 4, 6: 6, 10**9: 15}[every]  # four are timed; an epoch has fifteen
    assert told(model) == told(other) == told(pair(sync_every=found, batch_size=8)[0])
    model.save(tmp_path / "m")
    history = MLP.load(tmp_path / "m").history
    assert (history.sync_hosts, history.sync_every) == (2, found)
    assert f"averaged    over 2 processes, every {found} updates" in str(history)


def test_a_choice_is_told_by_process_0():
    """Warnings are errors here, and one ends the training of all."""
    first, second = together(2, warned(sync_every=None))
    assert "repeats this training on 2 processes" in str(first)
    assert isinstance(second, EndedElsewhere)


# ------------------------------------------------------------------------- checkpoints and failures


@CHOSEN
def test_a_training_goes_on_from_the_end_of_an_epoch_with_the_same_bits(tmp_path):
    at, settings = tmp_path / "c", {"sync_every": None, "optimizer": "adam(0.01)", "ema": 0.9}
    writes = [Checkpoint(at, seconds=0.0)]  # within epochs, too, if it could
    begun, _ = together(2, lambda comm: MLP(**PERIODIC | settings | {"epochs": 2}).fit(
        *data(), callbacks=writes, comm=comm,
    ))  # fmt: skip
    every = begun.history.sync_every
    whole = told(pair(**settings | {"sync_every": every})[0])
    for model in together(2, lambda comm: MLP(**PERIODIC | settings).fit(
        *data(), resume=at, comm=comm,
    )):  # fmt: skip
        assert told(model) == whole
    first, *_ = together(3, warned(at, **settings))
    assert "2 processes averaged their weights so far, and 3 go on" in str(first)


def test_no_checkpoint_within_an_epoch(monkeypatch, tmp_path):
    at = tmp_path / "c"

    class Writes(Callback):
        def on_progress(self, run: Any, progress: Any) -> None:
            if 0 < progress.rows_done < progress.rows_total:
                run.save_checkpoint(at)

    first, _ = together(2, lambda comm: MLP(**PERIODIC).fit(
        *data(), callbacks=[Writes()], comm=comm,
    ))  # fmt: skip
    assert "a checkpoint cannot be written here" in str(first)
    one_process_stops_within_an_epoch(monkeypatch, at)
    for error in together(2, lambda comm: MLP(**PERIODIC).fit(*data(), resume=at, comm=comm)):
        assert "was written within an epoch" in str(error)


def one_process_stops_within_an_epoch(monkeypatch: pytest.MonkeyPatch, at: Path) -> None:
    monkeypatch.setattr("nbmlp.predict._FIRST_REGION", 1.0)

    class Stops(Callback):
        def on_progress(self, run: Any, progress: Any) -> None:
            if progress.between_batches:
                run.save_checkpoint(at)
                raise SpecError("enough")

    with pytest.raises(SpecError, match="enough"):
        MLP(**PERIODIC).fit(*data(), callbacks=[Stops()])


def test_a_bad_row_ends_all_with_one_state():
    X, y = data()
    X[137, 3] = np.nan
    models = [MLP(**PERIODIC) for _ in range(3)]

    def fit(comm: Comm) -> Any:
        return models[comm.Get_rank()].fit(X, y, comm=comm)

    errors = together(3, fit)
    assert all(isinstance(error, NonFiniteError) for error in errors)
    assert ["row 137" in str(error) for error in errors] == [False, False, True]
    assert len({model.get_flat().tobytes() for model in models}) == 1
    assert np.isfinite(models[0].get_flat()).all()


@pytest.mark.parametrize("when", ["on_progress", "on_epoch_end"])
def test_an_interruption_of_process_0_ends_all_where_they_meet(when):
    def interrupts(*_: Any) -> None:
        raise Interrupted("enough")

    callback = Callback()
    setattr(callback, when, interrupts)
    models = together(2, lambda comm: MLP(**PERIODIC).fit(
        *data(), callbacks=[callback], comm=comm,
    ))  # fmt: skip
    assert [model.history.stop_reason for model in models] == ["enough"] * 2
    assert len({model.net.state.step for model in models}) == 1
    assert np.array_equal(*[model.get_flat() for model in models])


@CHOSEN
@pytest.mark.parametrize("when", ["on_fit_begin", "on_progress", "on_epoch_end"])
def test_an_error_of_one_ends_all(when):
    def fails(*_: Any) -> None:
        raise ArithmeticError("of a callback")

    callback = Callback()
    setattr(callback, when, fails)
    first, *others = together(3, lambda comm: MLP(**PERIODIC | {"sync_every": None}).fit(
        *data(), callbacks=[callback], comm=comm,
    ))  # fmt: skip
    assert str(first) == "of a callback"
    assert all(isinstance(error, EndedElsewhere) for error in others)


def test_what_does_not_go_with_averages_is_refused():
    for changes, wrong in (
        ({"sync_every": 5}, "sync_every=5 is for sync='periodic' alone."),
        ({"sync": "periodic", "optimizer": "lbfgs"}, "does not go with lbfgs"),
        ({"sync": "often"}, "sync='often'"),
    ):
        with pytest.raises(SpecError, match=wrong):
            MLP(**changes)
    for changes, wrong in (
        ({"reduction": "sum"}, "give shards= a multiple of 2."),
        ({"shards": 231}, "230 rows are too few for 231 shards on 231 processes"),
    ):
        size = min(changes.get("shards", 2), 231)
        with pytest.raises(SpecError, match=wrong):
            _divided(size, **changes)


def _divided(size: int, **changes: Any) -> None:
    from nbmlp.spec import TrainSpec
    from nbmlp.train.hosts import Hosts
    from nbmlp.train.hosts.parts import divide

    train = TrainSpec(**{"sync": "periodic", "shards": 7} | changes)
    together_or_raise = together(size, lambda comm: Hosts(comm, train)) if size == 2 else []
    for found in together_or_raise:
        if isinstance(found, Exception):
            raise found
    divide(train, 230, size)


# ------------------------------------------------------------------------------------------- MPI

SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from mpi4py import MPI
from test_hosts import fitted, told
from test_hosts_periodic import PERIODIC, TRAININGS
comm = MPI.COMM_WORLD
mine = told(fitted(comm, **PERIODIC | TRAININGS["all that there is"]))
found = comm.allgather(mine)
if comm.rank == 0:
    print(json.dumps(found))
"""


def test_two_ranks_of_mpi(mpiexec, tmp_path):
    changes = PERIODIC | TRAININGS["all that there is"]
    threads = together(2, lambda comm: told(fitted(comm, **changes)))
    assert said_by_ranks(mpiexec, tmp_path, SCRIPT) == json.loads(json.dumps(threads))
