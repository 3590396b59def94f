"""The comparison of commits bit by bit: what it trains, what it says, which package it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.digests import trainings
from bench.digests.__main__ import digests_of, main
from bench.digests.estimators import ESTIMATORS
from bench.digests.settings import SETTINGS
from nbmlp.names import ACTIVATIONS, INITIALISERS, LOSSES, OUTPUTS
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
#: Some of each kind: one call of fit, rows of their own, several calls, an estimator.
FEW = ("activation tanh", "rows thin, no bias", "saved, loaded", "classifier, adam, flags")


def command(*args: object, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command at the root of this tree, with a package to be found in `path`."""
    return subprocess.run(
        [sys.executable, "-m", "bench.digests", *map(str, args)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(path)}, timeout=PATIENCE,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Path]:
    """The files of two processes."""
    folder = tmp_path_factory.mktemp("digests")
    paths = [folder / "a.json", folder / "b.json"]
    for path in paths:
        done = command("--out", path, *(part for name in FEW for part in ("--only", name)))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "4 trainings, 0 wrong" in done.stdout
    return paths


def test_two_runs_give_the_same_digests(written, capsys):
    assert main(["--compare", *map(str, written)]) == 0
    assert "0 of 4 differ" in capsys.readouterr().out
    report = json.loads(written[0].read_text())
    assert Path(report["package"]) == ROOT / "nbmlp"
    found = [digest for parts in report["digests"].values() for digest in parts.values()]
    assert len(set(found)) == len(found) == 4 * len(trainings.PARTS)


@pytest.mark.parametrize("part", trainings.PARTS)
def test_a_difference_is_told(written, tmp_path, capsys, part):
    report = json.loads(written[0].read_text())
    name = next(iter(report["digests"]))
    report["digests"][name][part] = "0"
    (tmp_path / "c.json").write_text(json.dumps(report))
    assert main(["--compare", str(written[1]), str(tmp_path / "c.json")]) == 1
    assert f"DIFFERS {name}: other {part}\n1 of 4 differ" in capsys.readouterr().out


def test_what_one_file_lacks_is_told_and_an_unlike_machine(written, tmp_path, capsys):
    report = json.loads(written[0].read_text())
    name = next(iter(report["digests"]))
    del report["digests"][name]
    report["origin"]["numpy"] = "1.0"
    (tmp_path / "c.json").write_text(json.dumps(report))
    assert main(["--compare", str(written[1]), str(tmp_path / "c.json")]) == 1
    said = capsys.readouterr().out
    assert f"DIFFERS {name}: only in A" in said
    assert "UNLIKE ORIGIN numpy" in said


def test_threads_that_give_other_bits_and_errors_are_wrong(monkeypatch, tmp_path):
    def outcome(name: str, threads: int) -> trainings.Outcome:
        if name == "broken":
            raise ValueError("no such setting")
        return trainings.Outcome({"weights": str(threads == 5)}, threads)

    monkeypatch.setattr(trainings, "outcome", outcome)
    assert digests_of("any")[1:] == (5, "other bits on 5 threads than on one")
    assert digests_of("broken") == ({"error": "ValueError"}, 0, "ValueError: no such setting")


def test_the_package_is_the_one_that_pythonpath_names(tmp_path):
    (tmp_path / "nbmlp").mkdir()
    (tmp_path / "nbmlp" / "__init__.py").write_text("raise SystemExit('another commit')")
    done = command("--out", tmp_path / "a.json", path=tmp_path)
    assert (done.returncode, done.stderr) == (1, "another commit\n")


def test_an_unknown_name_is_refused(tmp_path):
    done = command("--out", tmp_path / "a.json", "--only", "activation tanhh")
    assert done.returncode == 1
    assert "no training has 'activation tanhh' in its name" in done.stderr


def names_in(key: str) -> set[str]:
    """What the settings call by name, without its numbers."""
    values = (settings[key] for settings in SETTINGS.values() if key in settings)
    return {v.partition("(")[0] for value in values for v in ([value], value)[type(value) is tuple]}


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("activation", ACTIVATIONS), ("output", OUTPUTS), ("loss", LOSSES), ("init", INITIALISERS),
        ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES),
    ],
)  # fmt: skip
def test_whatever_has_a_name_is_trained(key, known):
    assert set(known) <= names_in(key)


def test_no_training_hides_another():
    parts = (SETTINGS, trainings._STEPS, ESTIMATORS)
    assert len(trainings.TRAININGS) == sum(map(len, parts))
