"""shuffle="blocks": the same rows in the same order, wherever they lie and whoever asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_twin import shuffled_in_blocks
from pydantic import ValidationError

from nbmlp import MLP, MLPClassifier, load
from nbmlp.cli import run
from nbmlp.cli.options import TRAIN, pick
from nbmlp.estimators.orders import orders_of
from nbmlp.server.jobs.spec import Hyper

ROWS = 3000
CALLS = (("--shuffle", "blocks"), "blocks"), (("--no-shuffle",), False), ((), True)
SETTINGS: dict[str, Any] = {"hidden": 6, "epochs": 3, "batch_size": 64, "task": "classes"}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((ROWS, 5)).astype(np.float32)
    return X, (X[:, 0] > X[:, 1]).astype(np.int64)


def trained(X: Any, y: Any, **settings: Any) -> np.ndarray:
    return MLP(**SETTINGS, shuffle="blocks", **settings).fit(X, y).get_flat()


def test_an_array_a_map_of_it_and_any_number_of_threads_give_the_same_bits(tmp_path: Path) -> None:
    X, y = data()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    once = trained(X, y, threads=1)
    np.testing.assert_array_equal(once, trained(mapped, y, threads=2))
    assert (once != MLP(**SETTINGS, threads=1).fit(X, y).get_flat()).any()


def test_a_training_goes_on_in_the_same_order(tmp_path: Path) -> None:
    from nbmlp import Checkpoint

    X, y = data()
    at, settings = tmp_path / "c.safetensors", {**SETTINGS, "schedule": "constant"}
    MLP(**settings, shuffle="blocks").fit(X, y, epochs=1, callbacks=[Checkpoint(at)])
    on = MLP(**settings, shuffle="blocks").fit(X, y, resume=at)
    np.testing.assert_array_equal(
        on.get_flat(), MLP(**settings, shuffle="blocks").fit(X, y).get_flat()
    )
    with pytest.raises(ValueError, match="another shuffle"):
        MLP(**settings).fit(X, y, resume=at)


def test_estimators_draw_one_seed_and_go_by_blocks() -> None:
    state = np.random.RandomState(3)
    seed = int(np.random.RandomState(3).randint(np.iinfo(np.int32).max))
    for epoch, order in enumerate(orders_of("blocks", state, 2100, 2)):
        np.testing.assert_array_equal(order, shuffled_in_blocks(2100, seed, epoch))
    X, y = data()
    settings = {"hidden_layer_sizes": 4, "random_state": 1, "n_iter_no_change": 1, "tol": 9.0}
    blocks = MLPClassifier(**settings, shuffle="blocks").fit(X, y)
    rows = MLPClassifier(**settings).fit(X, y)
    assert (blocks.coefs_[0] != rows.coefs_[0]).any()
    with pytest.raises(ValueError, match="'shuffle' parameter"):
        MLPClassifier(shuffle="windows").fit(X, y)


def test_the_command_line_takes_the_word_and_the_flag_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = data()
    np.savetxt("rows.csv", np.column_stack([X[:300], y[:300]]), delimiter=",", fmt="%.6g")
    short = ["train", "--data", "rows.csv", "--target", "5", "--epochs", "1", "--out", "m"]
    for words, found in CALLS:
        assert run([*short, "--quiet", *words]) == 0
        assert load("m").train_spec.shuffle == found
    assert run([*short, "--shuffle", "windows"]) == 2
    assert pick(TRAIN, {"shuffle": "blocks"}, {"shuffle": "false"}) == {"shuffle": False}


def test_a_server_takes_it() -> None:
    assert Hyper(shuffle="blocks").settings()["shuffle"] == "blocks"
    with pytest.raises(ValidationError, match="shuffle"):
        Hyper(shuffle="windows")
