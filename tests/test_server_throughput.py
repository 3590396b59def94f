"""The benchmark of jobs beside the same fit: how it counts; tests/soak runs one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("httpx")

from bench.server_throughput import Outcome, Turn, main, table


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
