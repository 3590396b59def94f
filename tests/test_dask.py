"""Trainings on the workers of a Dask cluster: prepared, with the scores of one process, however
workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from ensembles import assert_same
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import GridSearchCV, cross_val_score

from nbmlp import (
    MLP,
    Adam,
    Callback,
    MLPClassifier,
    SpecError,
    TabularClassifier,
    TabularRegressor,
    TrainingWarning,
    tuning,
)
from nbmlp.kernels import code_folder
from nbmlp.kernels.pieces import compiled_pieces
from nbmlp.train.interrupt import Interrupted
from tests.waiting import until

distributed = pytest.importorskip("distributed", reason='needs distributed: "nbmlp[dask]"')
dask, config = pytest.importorskip("nbmlp.dask"), pytest.importorskip("dask.config")
fcntl = pytest.importorskip("fcntl", reason="workers die by signals, and lock files, of POSIX")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 10))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=240)
LABELS = (X[:, 0] > 0).astype(int)
DROP_IN = MLPClassifier((8,), max_iter=3, random_state=0, batch_size=20)
GRID = {"alpha": [1e-4, 1e-2]}
#: What workers take seconds to import.
IMPORTED = ["distributed.nanny", "nbmlp.dask", "nbmlp.mlp", "nbmlp.tabular.estimators",
            "nbmlp.estimators", "sklearn.model_selection"]  # fmt: skip
SMALL: dict[str, Any] = {"n_members": 4, "epochs": 8, "random_state": 0}


pytestmark = pytest.mark.filterwarnings("ignore:.*[Mm]aximum iterations")


@pytest.fixture(scope="module")
def imported() -> None:
    """Before the first process: Dask has its say of what is imported first, and is overruled."""
    with config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context().set_forkserver_preload(IMPORTED)


@pytest.fixture(scope="module")
def client(imported: None) -> Iterator[Any]:
    """Two processes of one thread each, not yet prepared.

    They come from one that has imported what they need, and so do those that follow the dead.
    """
    with (
        config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def prepared(client: Any) -> Any:
    return dask.setup(client, warm=partial(fit_and_tell, X, LABELS))


# ------------------------------------------------------------------------------- workers


def fit_and_tell(X: Any, y: Any) -> list[tuple[str, str]]:
    """Pieces that a worker lacked."""
    before = compiled_pieces()
    DROP_IN.fit(X, y)
    MLP(8, epochs=1, batch_size=20, task="classes", threads=1).fit(X, y)
    return [piece for piece in compiled_pieces() if piece not in before]


def test_workers_have_threads_a_folder_and_compiled_code(client: Any, prepared: Any) -> None:
    folder = str(code_folder.cache_folder())
    assert {(each.threads, each.cache) for each in prepared.values()} == {(1, folder)}
    for address in prepared:
        assert client.submit(fit_and_tell, X, LABELS, workers=[address], pure=False).result() == []


def test_a_folder_of_others_is_refused(client: Any, prepared: Any, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(SpecError, match=r"worker tcp://.*open can be changed by other users"):
        dask.setup(client, cache=tmp_path / "open", warm=int)
    assert set(dask.setup(client, warm=int).values()) == set(prepared.values())


def test_a_folder_for_temporary_files_is_this_user_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = dask._own_folder()
    assert folder == tmp_path / f"nbmlp-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert dask._own_folder() == folder
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(SpecError, match="is not this user's folder"):
        dask._own_folder()


def test_who_compiles_first_is_alone(tmp_path: Path) -> None:
    calls: list[str] = []

    def compile_it() -> None:
        with open(tmp_path / "compiling.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                calls.append("beside others")
            except BlockingIOError:
                calls.append("alone")

    for call in ("a", "a", "b"):
        dask._first_alone(compile_it, tmp_path, call)
    dask._first_alone(lambda: calls.append("without a folder"), None, "b")
    assert calls == ["alone", "beside others", "alone", "without a folder"]


def test_a_limit_counts_beside_what_the_environment_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_limit", None)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    tuning.limit_threads(2)
    assert tuning.granted_threads() == 2
    assert tuning.available_threads() <= 2
    tuning.limit_threads(None)
    assert tuning.granted_threads() == 3


def test_versions_and_instruction_sets_that_differ_are_refused() -> None:
    plugin = dask._Prepare(1, None, int)
    plugin._version = "0.0.1"
    with pytest.raises(SpecError, match=r"worker tcp://a:1 has nbmlp .*, this process 0\.0\.1"):
        plugin._prepare("tcp://a:1")

    plugin = dask._Prepare(1, None, int, "another")
    with pytest.raises(SpecError, match=r"tcp://b:1 computes with .* and others with another, so"):
        plugin._prepare("tcp://b:1")

    class Client:
        plugins: ClassVar[list[Any]] = []

        def register_plugin(self, plugin: Any) -> None:
            self.plugins.append(plugin)

        def run(self, function: Any) -> dict[str, Any]:
            return {f"tcp://{n}": SimpleNamespace(name=n) for n in ("avx2", "avx512")}

    with pytest.raises(SpecError, match=r"worker tcp://avx512 computes with avx512 and tcp://avx2"):
        dask.setup(Client())
    assert not Client.plugins  # nothing has been prepared
    dask.setup(Client(), mixed=True)
    assert Client.plugins[0]._target is None


# ------------------------------------------------------------------------------ searches


def scores() -> list[float]:
    search = GridSearchCV(DROP_IN, GRID, cv=2, refit=False).fit(X, LABELS)
    net = MLP(8, task="classes", epochs=3, batch_size=20)
    native = GridSearchCV(net, {"optimizer": ["sgd", Adam(0.01)]}, cv=2, refit=False).fit(X, LABELS)
    return [
        *search.cv_results_["mean_test_score"], *native.cv_results_["mean_test_score"],
        *cross_val_score(TabularRegressor(n_members=2, epochs=2, random_state=0), X, Y, cv=2),
    ]  # fmt: skip


def test_scores_are_those_of_one_process(client: Any, prepared: Any) -> None:
    alone = scores()
    with dask.parallel(client):
        assert scores() == alone


class Data:
    """Counts how often it is sent."""

    sent = 0

    def __sizeof__(self) -> int:
        return 10**6

    def __reduce__(self) -> Any:
        Data.sent += 1
        return Data, ()


def second(data: Data, number: int) -> int:
    return number


def test_data_are_sent_once_and_not_with_each_task(client: Any) -> None:
    data = Data()
    with dask.parallel(client):
        assert Parallel()(delayed(second)(data, i) for i in range(12)) == list(range(12))
    assert Data.sent <= 2  # Dask pickles what it has no digest for once more, to make one


class DieOnce:
    """A score during which a worker dies, the first time."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, model: Any, X: Any, y: Any) -> float:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return float(model.score(X, y))
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0


def test_a_worker_that_dies_changes_no_score(client: Any, prepared: Any, tmp_path: Path) -> None:
    alone = GridSearchCV(DROP_IN, GRID, cv=3, refit=False).fit(X, LABELS)
    until(lambda: len(client.nthreads()) == 2)
    scoring = DieOnce(tmp_path / "died")
    search = GridSearchCV(DROP_IN, GRID, cv=3, refit=False, scoring=scoring)
    with dask.parallel(client):
        search.fit(X, LABELS)
    assert scoring.mark.exists()
    np.testing.assert_array_equal(*(s.cv_results_["mean_test_score"] for s in (alone, search)))
    # Who takes the place of the dead is prepared before its first task.
    until(lambda: len(client.nthreads()) == 2)
    for address in client.nthreads():
        found = client.submit(dask._prepared, workers=[address], pure=False).result()
        assert found in prepared.values()


# ------------------------------------------------------------------------------- members


@pytest.fixture(scope="module")
def alone() -> Any:
    """One process's ensemble, of which some nets have lagged behind."""
    model = TabularClassifier(**SMALL, n_jobs=1).fit(X, LABELS)
    assert any("lagged" in m["ended"] for m in model.members_)
    return model


def test_members_are_those_of_one_process(client: Any, prepared: Any, alone: Any) -> None:
    told: list[int] = []
    model = TabularClassifier(**SMALL, callbacks=lambda run, record: told.append(record.epoch))
    with parallel_config("dask"):
        model.fit(X, LABELS)
    assert_same(model, alone, X)
    assert told == list(range(1, 1 + sum(m["epochs"] for m in alone.members_)))


def test_workers_that_die_change_no_member(client: Any, prepared: Any, alone: Any) -> None:
    until(lambda: len(client.nthreads()) == 2)
    pids = list(client.run(os.getpid).values())

    def kill(run: Any, record: Any) -> None:
        if record.epoch == 1:
            for pid in pids:  # the rows are lost with both
                os.kill(pid, signal.SIGKILL)

    with parallel_config("dask"):
        assert_same(TabularClassifier(**SMALL, callbacks=kill).fit(X, LABELS), alone, X)


class Silent:
    """A client whose first rows are lost, and with them all that was sent: nothing tells of it."""

    def __init__(self) -> None:
        self.handed_out = 0

    def get_executor(self, pure: bool) -> Silent:
        return self

    def nthreads(self) -> dict[str, int]:
        return {"a": 2}

    def scatter(self, rows: list[Any], **_: Any) -> list[Any]:
        self.handed_out += 1
        self.rows = rows
        return [SimpleNamespace(status="finished") for _ in rows]

    def who_has(self, rows: Any) -> dict[str, list[str]]:
        return {"rows": ["a"] if self.handed_out > 1 else []}

    def submit(self, advance: Any, there: Any, trainee: Any, *given: Any) -> Any:
        future: Future[Any] = Future()
        if self.handed_out > 1:
            future.set_result(advance(self.rows[trainee.fold], trainee, *given))
        return future


def test_rows_that_nobody_has_are_handed_out_again(
    alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Silent()
    monkeypatch.setattr("nbmlp.tabular.fitting.client_of_joblib", lambda: client)
    monkeypatch.setattr("nbmlp.tabular.cluster._SILENCE", 0.0)
    assert_same(TabularClassifier(**SMALL).fit(X, LABELS), alone, X)
    assert client.handed_out == 2


class Shortly(Callback):
    """Nets come back soon, and something is done after an epoch."""

    def __init__(self, after: int, act: Any) -> None:
        self.after, self.act = after, act

    def on_fit_begin(self, run: Any) -> None:
        run.stretch = 0.0

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if record.epoch == self.after:
            self.act(run)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda run: run.stop("enough"), "enough"),
        (lambda run: signal.raise_signal(signal.SIGINT), "interrupted"),
    ],
)
def test_members_end_when_asked(client: Any, prepared: Any, act: Any, reason: str) -> None:
    model = TabularRegressor(n_members=3, epochs=10**6, callbacks=Shortly(9, act))
    with parallel_config("dask"):
        model.fit(X, Y)
    assert model.stopped_by_ == reason
    assert np.isfinite(model.predict(X)).all()


def test_time_is_limited_there_too(client: Any, prepared: Any) -> None:
    model = TabularRegressor(n_members=5, epochs=10**6, time_limit=0.5, random_state=0)
    with parallel_config("dask"), pytest.warns(TrainingWarning, match="time_limit=0.5 ended"):
        model.fit(X, Y)
    assert model.stopped_by_ == "time limit"
    assert np.isfinite(model.predict(X)).all()


def test_a_checkpoint_of_members_there_goes_on_here(
    client: Any, prepared: Any, alone: Any, tmp_path: Path
) -> None:
    path = tmp_path / "run.ckpt"
    callback = Shortly(12, lambda run: (run.save_checkpoint(path), run.pause()))
    with parallel_config("dask"), pytest.raises(Interrupted, match="paused"):
        TabularClassifier(**SMALL, callbacks=callback).fit(X, LABELS)
    assert_same(TabularClassifier(**SMALL).fit(X, LABELS, resume=path), alone, X)
