"""The benchmark of jobs beside the same fit: real ones, only small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("httpx")

from bench.server_throughput import Outcome, Turn, main, measure, table


def test_both_sides_train_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "small.npz"
    np.savez(path, X=rng.integers(0, 256, (400, 9), dtype=np.uint8), y=np.arange(400) % 10)
    outcome = measure(path, 2, 1, 1)
    for turn in (*outcome.server, *outcome.here):
        assert turn.epochs > turn.whole > 0
        assert turn.training > turn.whole


def test_costs_are_paired_by_round() -> None:
    server = [Turn(90.0, 80.0, 50.0), Turn(99.0, 97.0, 50.0), Turn(200.0, 99.0, 50.0)]
    here = [Turn(100.0, 100.0, 100.0)] * 3
    outcome = Outcome(2, server, here)
    assert outcome.cost("epochs") == pytest.approx(0.01)
    assert outcome.cost("training") == pytest.approx(0.03)
    assert "+50.0%" in table([outcome])


def test_without_the_images_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NBMLP_DATA", str(tmp_path))
    assert main([]) == 0
    assert "SKIPPED" in capsys.readouterr().err
