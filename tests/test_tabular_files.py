"""Ensembles in files: models, and trainings that were killed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nbmlp
from nbmlp import (
    MLP,
    Callback,
    DataError,
    ModelFileError,
    SpecError,
    TabularClassifier,
    TabularRegressor,
)
from nbmlp.io.archive import read, write
from nbmlp.tabular import board, fitting, race
from tests.ensembles import courses

RNG = np.random.default_rng(1)
X = RNG.normal(size=(150, 3))
Y = X[:, 0] - X[:, 1] ** 2 + 0.1 * RNG.normal(size=150)
SMALL: dict[str, Any] = {"n_members": 3, "epochs": 6, "random_state": 0, "n_jobs": 2}


def flat(model: Any) -> NDArray[Any]:
    return np.concatenate([k.state.get_flat() for k in model.model_.kept])


@pytest.fixture(scope="module")
def fitted() -> TabularClassifier:
    frame = {"size": X[:, 0], "kind": np.where(X[:, 1] > 0, "a'<b>", "c*/"), "rest": X[:, 2]}
    return TabularClassifier(**SMALL).fit(frame, Y > 0)


def frame(n: int) -> dict[str, Any]:
    return {"size": X[:n, 0], "kind": np.where(X[:n, 1] > 0, "a'<b>", "new"), "rest": X[:n, 2]}


def test_a_file_gives_the_same_predictions(fitted: TabularClassifier, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted.save(path)
    read_back = nbmlp.load(path)
    assert isinstance(read_back, TabularClassifier)
    assert read_back.get_params() == fitted.get_params()
    assert read_back.members_ == fitted.members_
    assert read_back.history_ == fitted.history_
    assert set(courses(fitted)) == {0, 1, 2}
    assert fitted.history_.chosen == tuple(n["net"] for n in fitted.members_ if n["weight"])
    np.testing.assert_array_equal(read_back.classes_, fitted.classes_)
    np.testing.assert_array_equal(
        read_back.predict_proba(frame(50)), fitted.predict_proba(frame(50))
    )
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(frame(50)), fitted.predict_proba(frame(50)))


def test_another_kind_of_file_is_told(fitted: TabularClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "many")
    with pytest.raises(ModelFileError, match=r"tabular model, not a model; load it with nbmlp"):
        MLP.load(tmp_path / "many")
    MLP(hidden=3, epochs=1).fit(X, Y > 0).save(tmp_path / "one")
    assert isinstance(nbmlp.load(tmp_path / "one"), MLP)


def test_a_file_of_an_older_version_has_no_epochs(
    fitted: TabularClassifier, tmp_path: Path
) -> None:
    path = tmp_path / "old"
    fitted.save(path)
    arrays, metadata = read(path, kind="tabular model")
    del metadata["history"]
    write(path, arrays, metadata, kind="tabular model")
    assert len(nbmlp.load(path).history_) == 0


def _more_members(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["members"].append(metadata["members"][0])


def _huge(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["members"][0]["model"]["hidden"] = [1 << 30, 1 << 30]


def _other_plan(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["members"][0]["plan"] = 7


def _not_finite(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    next(a for name, a in arrays.items() if name.startswith("member0"))[:] = np.nan


@pytest.mark.parametrize("damage", [_more_members, _huge, _other_plan, _not_finite])
def test_what_does_not_fit_together_is_refused(
    fitted: TabularClassifier, tmp_path: Path, damage: Any
) -> None:
    path = tmp_path / "m"
    fitted.save(path)
    arrays, metadata = read(path, kind="tabular model")
    damage(arrays, metadata)
    write(path, arrays, metadata, kind="tabular model")
    with pytest.raises(ModelFileError, match="fits together"):
        nbmlp.load(path)


def test_a_killed_fit_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rests after each epoch here, and a checkpoint is kept of every one."""
    monkeypatch.setattr(board, "STRETCH", 0.0)
    monkeypatch.setattr(race, "_BETWEEN", 0.0)
    drawn = fitting.draw
    monkeypatch.setattr(fitting, "draw", lambda *a: drawn(*a) | ({"ema": 0.9} if a[2] % 2 else {}))
    settings = {**SMALL, "epochs": 12, "n_members": 4}
    whole = TabularRegressor(**settings).fit(X, Y)

    class Killed(Exception):
        pass

    def kill(run: Any, record: Any) -> None:
        if record.epoch == 25:  # behind the rung
            raise Killed

    path = tmp_path / "c"
    with pytest.raises(Killed):
        TabularRegressor(**settings, callbacks=kill).fit(X, Y, checkpoint=path)
    begun: list[int] = []

    class Noted(Callback):
        def on_fit_begin(self, run: Any) -> None:
            begun.extend(record.epoch for record in run.history)
            assert run.before == len(begun)

    again = TabularRegressor(**settings, callbacks=Noted()).fit(X, Y, resume=path)
    assert begun == [*range(1, len(begun) + 1)]
    assert len(begun) >= 20
    assert courses(again) == courses(whole)
    np.testing.assert_array_equal(flat(again), flat(whole))
    assert again.members_ == whole.members_
    with pytest.raises(DataError, match=r"the folder .*nowhere is missing"):
        TabularRegressor(**settings).fit(X, Y, checkpoint=tmp_path / "nowhere" / "c")
    with pytest.raises(SpecError, match="was written with another random_state"):
        TabularRegressor(**{**settings, "random_state": 5}).fit(X, Y, resume=path)
