"""bench.hosts: what it lacks is said, figures are kept and told."""

from __future__ import annotations

from typing import Any

from bench.hosts import __main__ as command
from bench.hosts import network
from bench.hosts.results import Results

SETTINGS: dict[str, Any] = {"networks": [1000, 0], "batches": [1000], "seeds": 2}


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(network.os, "geteuid", lambda: 1000)
    assert command.main([]) == 0
    assert capsys.readouterr().err == "SKIPPED, network namespaces need root.\n"
    monkeypatch.setattr(network.os, "geteuid", lambda: 0)
    monkeypatch.setattr(network.shutil, "which", lambda name, path="": None)
    assert network.missing(2) == "the command ip is missing (iproute2)."
    monkeypatch.setattr(network.shutil, "which", lambda name, path="": None if path else name)
    assert network.missing(2).startswith("there is no mpiexec beside this Python")
    monkeypatch.setattr(network.shutil, "which", lambda name, path="": name)
    assert network.missing(10_000) == "10000 hosts need a core each."


def test_figures_are_kept_and_measured_once(tmp_path):
    def measured(settings: dict[str, Any]) -> list[str]:
        results, calls = Results(tmp_path / "f.json", {}, settings), []
        results.take_up()
        for key in ("transfer 1000 0", "transfer 1000 1"):
            results.once(key, lambda key=key: calls.append(key) or {"seconds": 1.0})
        return calls

    assert len(measured(SETTINGS)) == 2
    assert measured(SETTINGS) == []
    assert len(measured(SETTINGS | {"batches": [7]})) == 2, "other settings are measured anew"


def test_tables():
    found = {
        "transfer 1000 0": {"seconds": 0.010, "bytes": 960_000, "others": {"0.04 MB": 0.0007}},
        "computing 1000 1000 0": {"seconds": 0.020},
        "exact 1000 1000 0": {"seconds": 0.032}, "alone 0": {"rows_per_second": 50e3},
        "alone 1": {"rows_per_second": 70e3},
        "periodic 1000 0": {"rows_per_second": 114e3, "sync_every": 40},
        "accuracy exact 0": {"accuracy": 0.98}, "accuracy periodic 0": {"accuracy": 0.979},
        "accuracy summed 0": {"accuracy": 0.981}, "accuracy exact 1": {"accuracy": 0.97},
    }  # fmt: skip
    moved, steps, gains, right = str(Results(None, {}, SETTINGS, found)).split("\n\n")
    assert "| 1000 Mb/s | 1000  | 10.00 ms | 20.00 ms  | 32.00 ms | 1.20 transfers   |" in steps
    assert "| 1000 Mb/s | 10      | 0.7     |" in moved
    assert "no limit" not in steps + gains, "nothing was measured there"
    assert "| 60       | 114 | 1.90 | 40 " in gains
    assert "| mean | 98.00 | 98.10               | 97.90    |" in right
    assert str(Results(None, {}, SETTINGS)) == ""
