"""Training and prediction of Parquet files by batches: as of a frame, whole or not at all."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nbmlp import MLP, Checkpoint, EarlyStopping, MLPClassifier, TabularClassifier
from nbmlp.errors import DataError, SpecError, TrainingWarning
from nbmlp.stream import Making, cells, folder, prepare, ready, source

ROWS = 3000
SETTINGS: dict[str, Any] = {"hidden": 6, "epochs": 2, "batch_size": 128, "shuffle": "blocks"}
FIT: dict[str, Any] = {"target": "label", "validation": 0.2}
INPUTS = ["number", "count", "shop", "day", "open", "gaps"]


def frame(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    number = rng.standard_normal(rows)
    return pl.DataFrame(
        {
            "number": number,
            "count": rng.integers(0, 9, rows),
            "shop": rng.choice(["north", "south", None, "?", "east"], rows).tolist(),
            "day": np.datetime64("2020-01-01") + rng.integers(0, 900, rows),
            "open": rng.random(rows) < 0.3,
            "gaps": np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)),
            "label": np.where(number + rng.standard_normal(rows) > 0, "yes", "no"),
            "price": number * 3 + rng.random(rows),
        }
    )


@pytest.fixture
def rows_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBMLP_ROWS_DIR", str(tmp_path / "ready"))
    return tmp_path / "ready"


@pytest.fixture
def files(tmp_path: Path, rows_folder: Path) -> str:
    """Three files of several row groups."""
    (tmp_path / "data").mkdir()
    for k, part in enumerate(frame().iter_slices(1100)):
        part.write_parquet(tmp_path / "data" / f"{k}.parquet", row_group_size=400)
    return str(tmp_path / "data" / "*.parquet")


def trained(X: Any, y: Any = None, *, fit: dict[str, Any] | None = None, **settings: Any) -> MLP:
    return MLP(**SETTINGS | settings).fit(X, y, **(fit or {}))


def same(one: MLP, other: MLP) -> None:
    assert one.column_plan == other.column_plan
    np.testing.assert_array_equal(one.get_flat(), other.get_flat())
    assert [r.val_loss for r in one.history] == [r.val_loss for r in other.history]


# ------------------------------------------------------------------ the same as in memory


@pytest.mark.parametrize("target", ["label", "price"])
@pytest.mark.parametrize(
    ("settings", "validation"),
    [
        ({}, None),
        ({"scaling": "robust", "bins": 4, "column_kinds": {"count": "category"}}, 0.2),
        ({"category_embedding": True, "dtype": "float64", "threads": 2}, 0.1),
    ],
)
def test_files_train_as_a_frame_does(
    files: str, target: str, settings: dict[str, Any], validation: float | None
) -> None:
    data = frame()
    some = {"validation": validation}
    by_file = trained(files, fit={"target": target, "columns": INPUTS, **some}, **settings)
    whole = trained(data.select(INPUTS), data[target].to_numpy(), fit=some, **settings)
    same(by_file, whole)


def test_one_number_beside_text_and_weights_of_rows_and_classes(files: str) -> None:
    data, weights = frame(), np.linspace(0, 2, ROWS)
    few = ["shop", "number", "open"]
    more = {"sample_weight": weights, "validation": 0.2, "callbacks": [EarlyStopping(patience=1)]}
    by_file = trained(
        files, fit={"target": "label", "columns": few, **more}, class_weight="balanced", epochs=4
    )
    whole = trained(
        data.select(few), data["label"].to_numpy(), fit=more, class_weight="balanced", epochs=4
    )
    same(by_file, whole)


def test_weights_are_those_of_a_column_which_is_no_input(files: str) -> None:
    fit = {"target": "label", "validation": 0.2}
    weights = frame()["count"].to_numpy()
    others = [name for name in frame().columns if name not in ("count", "label")]
    named = trained(files, fit={**fit, "sample_weight": "count"})
    same(named, trained(files, fit={**fit, "columns": others, "sample_weight": weights}))
    both = trained(files, fit={**fit, "columns": ["count"], "sample_weight": "count"})
    assert both.column_plan is not None
    assert both.column_plan.needed == ("count",)


def test_several_targets(files: str) -> None:
    targets = ["price", "gaps"]
    with pytest.raises(DataError, match=r"0\.parquet has no target at row \d+ \(counted"):
        trained(files, fit={"target": targets})
    by_file = trained(files, fit={"target": ["price", "number"], "columns": ["gaps", "count"]})
    data = frame()
    y = data.select("price", "number").to_numpy()
    same(by_file, trained(data.select("gaps", "count"), y))


def test_the_plan_does_not_depend_on_how_much_is_read_at_a_time(
    files: str, rows_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(files, fit={"target": "label", "validation": 0.2}, scaling="robust", bins=3)
    folder.remove([])
    monkeypatch.setattr(source, "BATCH_ROWS", 97)
    monkeypatch.setattr(cells, "_TOGETHER", 1)
    same(
        trained(files, fit={"target": "label", "validation": 0.2}, scaling="robust", bins=3), first
    )


def test_validation_by_files_is_that_of_their_rows(files: str, tmp_path: Path) -> None:
    held = frame(500, seed=1)
    held.write_parquet(tmp_path / "held.parquet")
    data = frame()
    by_file = trained(
        files,
        fit={"target": "label", "columns": INPUTS, "validation": tmp_path / "held.parquet"},
    )
    pair = held.select(INPUTS), held["label"].to_numpy()
    same(by_file, trained(data.select(INPUTS), data["label"].to_numpy(), fit={"validation": pair}))


def test_a_training_is_resumed_on_the_same_files_only(files: str, tmp_path: Path) -> None:
    at, of = tmp_path / "checkpoint", {"target": "label"}
    settings = {"schedule": "constant"}
    trained(files, fit={**of, "epochs": 1, "callbacks": [Checkpoint(at)]}, **settings)
    same(trained(files, fit={**of, "resume": at}, **settings), trained(files, fit=of, **settings))
    other = tmp_path / "other.parquet"
    frame(seed=3).write_parquet(other)
    with pytest.raises(DataError, match="another column plan than the model's"):
        trained(other, fit={**of, "resume": at}, **settings)


def test_memory_is_that_of_a_few_columns(
    tmp_path: Path, rows_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy's arrays, of which those of a table are; polars holds a batch besides."""
    rows, width = 100_000, 20
    rng = np.random.default_rng(0)
    wide = {f"c{j}": rng.random(rows, dtype=np.float32) for j in range(width)}
    pl.DataFrame(wide | {"y": np.arange(rows) % 2}).write_parquet(tmp_path / "wide.parquet")
    monkeypatch.setattr(source, "BATCH_ROWS", 4096)
    monkeypatch.setattr(cells, "_TOGETHER", 2 * 8 * rows)
    tracemalloc.start()
    try:
        wanted = prepare.Wanted("y", None, MLP()._settings.target)
        found = prepare.prepare(tmp_path / "wide.parquet", wanted, Making())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(found[0].X.x, np.memmap)
    assert found[0].X.x.nbytes == 4 * rows * width
    assert peak < 8 * rows * width / 2


# --------------------------------------------------------------------------- ready rows


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every batch that is made ready from now on."""
    seen: list[int] = []
    make = ready.table_of_batch

    def table(of: Any, batch: Any) -> Any:
        seen.append(len(batch))
        return make(of, batch)

    monkeypatch.setattr(ready, "table_of_batch", table)
    return seen


def test_rows_are_made_ready_once_for_a_content_and_a_plan(
    files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(monkeypatch)
    first = trained(files, fit={"target": "label"})
    assert sum(seen) == ROWS
    moved = tmp_path / "data" / "0.parquet"
    moved.rename(tmp_path / "data" / "00.parquet")
    same(trained(files, fit={"target": "label"}), first)
    assert sum(seen) == ROWS
    trained(files, fit={"target": "label"}, scaling="robust")
    assert sum(seen) == 2 * ROWS
    frame(1100, seed=9).write_parquet(tmp_path / "data" / "00.parquet", row_group_size=400)
    assert trained(files, fit={"target": "label"}).column_plan != first.column_plan
    assert sum(seen) == 3 * ROWS


def test_a_writing_that_was_cut_off_is_gone_on_with(
    files: str, rows_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(files, fit={"target": "label", "validation": 0.2})
    folder.remove([])
    monkeypatch.setattr(ready, "_SAFE", 1)
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    seen, safe = counted(monkeypatch), ready._make_safe

    def killed(streams: Any) -> None:
        if len(seen) == 5:
            for stream in streams:
                stream.write(b"half a row")
            raise KeyboardInterrupt
        safe(streams)

    monkeypatch.setattr(ready, "_make_safe", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(files, fit={"target": "label", "validation": 0.2})
    done = sum(seen[:-1])
    monkeypatch.setattr(ready, "_make_safe", safe)
    seen.clear()
    monkeypatch.setattr(prepare, "_plan", None)  # nor is the plan made again
    same(trained(files, fit={"target": "label", "validation": 0.2}), whole)
    assert done > 0
    assert sum(seen) == ROWS - done


def test_of_files_that_lie_elsewhere_nothing_is_kept(files: str, rows_folder: Path) -> None:
    there = trained(f"file://{files}", fit=dict(FIT))
    assert folder.entries() == []
    same(there, trained(files, fit=dict(FIT)))


def test_an_entry_of_another_version_is_made_anew(files: str, rows_folder: Path) -> None:
    first = trained(files, fit=dict(FIT))
    (entry,) = folder.entries()
    state = entry.state()
    del state["texts"]
    entry.note(state)
    same(trained(files, fit=dict(FIT)), first)
    (entry.folder / "state.json").write_text("{")
    same(trained(files, fit=dict(FIT)), first)


def test_a_file_that_lost_rows_is_written_again(files: str, rows_folder: Path) -> None:
    first = trained(files, fit={"target": "label"})
    (entry,) = folder.entries()
    os.truncate(entry.folder / "train.f32", 1000)
    same(trained(files, fit={"target": "label"}), first)


def test_a_full_disk_is_told_and_gone_on_from(files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(streams: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ready, "_make_safe", full)
        with pytest.raises(DataError, match=r"^the disk of .* is full: .* goes on from there"):
            trained(files, fit={"target": "label"})
    trained(files, fit={"target": "label"})


def test_the_folder_is_bounded_and_what_was_used_longest_ago_goes(
    files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scaling in ("standard", "robust"):
        trained(files, fit={"target": "label"}, scaling=scaling)
    old, new = sorted(folder.entries(), key=lambda entry: entry.used)
    os.utime(old.folder / "state.json", (1, 1))
    monkeypatch.setenv("NBMLP_ROWS_GB", str((old.bytes + new.bytes + 10) / 1e9))
    with folder.writing("3" * 24) as third:
        folder.make_room(third, 10)
        assert {entry.key for entry in folder.entries()} == {old.key, new.key, third.key}
        folder.make_room(third, 20)
        assert {entry.key for entry in folder.entries()} == {new.key, third.key}
    monkeypatch.setenv("NBMLP_ROWS_GB", "0.0001")
    with pytest.raises(DataError, match=r"may hold 0\.0 GB: name a folder on a larger disk"):
        trained(files, fit={"target": "label"}, bins=3)
    monkeypatch.setenv("NBMLP_ROWS_GB", "much")
    with pytest.raises(DataError, match="must be a number of gigabytes"):
        trained(files, fit={"target": "label"}, bins=3)


def test_a_folder_that_others_may_change_is_not_used(files: str, rows_folder: Path) -> None:
    rows_folder.mkdir()
    rows_folder.chmod(0o777)
    with pytest.raises(DataError, match=r"can be changed by other users .* NBMLP_ROWS_DIR"):
        trained(files, fit={"target": "label"})


def test_it_is_for_this_user_only(files: str, rows_folder: Path) -> None:
    trained(files, fit={"target": "label"})
    assert rows_folder.stat().st_mode & 0o777 == 0o700


def test_what_we_did_not_make_is_not_removed(
    files: str, rows_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have named a folder that holds more than our rows."""
    rows_folder.mkdir(mode=0o700)
    theirs = [rows_folder / name / "thesis.txt" for name in ("models", "a" * 24, "once-1")]
    for file in theirs:
        file.parent.mkdir()
        file.write_text("mine")
    elsewhere = rows_folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (rows_folder / ("b" * 24)).symlink_to(elsewhere)
    trained(files, fit={"target": "label"})
    (entry,) = folder.entries()
    theirs += [entry.folder / "notes.txt"]
    theirs[-1].write_text("mine")
    monkeypatch.setenv("NBMLP_ROWS_GB", "0.000001")
    with folder.writing("3" * 24) as third:
        folder.make_room(third, 10)
    assert folder.remove([])[0] == 1
    assert not folder.entries()
    assert [file.read_text() for file in theirs] == ["mine"] * 4
    assert (elsewhere / "lock").exists()
    assert [file.name for file in entry.folder.iterdir()] == ["notes.txt"]


def test_what_is_being_written_is_not_removed(files: str, rows_folder: Path) -> None:
    trained(files, fit={"target": "label"})
    (entry,) = folder.entries()
    with (
        folder.writing(entry.key),
        pytest.raises(DataError, match="are being written: try again later"),
    ):
        folder.remove([])
    assert folder.remove([entry.key])[0] == 1
    with pytest.raises(DataError, match="there are no ready rows"):
        folder.remove([entry.key])


# ---------------------------------------------------------------------------- predictions


def test_predictions_are_those_of_a_frame(
    files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = frame(), tmp_path / "out.parquet"
    model = trained(files, fit={"target": "label", "columns": INPUTS})
    monkeypatch.setattr(source, "BATCH_ROWS", 700)
    assert model.predict_files(files, out, proba=True) == ROWS
    found = pl.read_parquet(out)
    assert found.columns == ["label", "probability of no", "probability of yes"]
    assert found["label"].to_list() == model.predict(data.select(INPUTS)).tolist()
    shares = model.predict_proba(data.select(INPUTS))
    np.testing.assert_array_equal(found.to_numpy()[:, 1:].astype(np.float32), shares)


def test_predictions_appear_whole_or_not_at_all(files: str, tmp_path: Path) -> None:
    model = trained(files, fit={"target": "price", "columns": ["number", "count"]})
    bad = frame()
    bad[2500, "number"] = np.inf
    bad.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet has an infinite value at row 2500, column"):
        model.predict_files(tmp_path / "bad.parquet", tmp_path / "out.parquet")
    with pytest.raises(DataError, match="there is no folder"):
        model.predict_files(files, tmp_path / "nowhere" / "out.parquet")
    pl.DataFrame({"number": [1.0]}).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(DataError, match=r"few\.parquet has no column 'count': the model was"):
        model.predict_files(tmp_path / "few.parquet", tmp_path / "out.parquet")
    with pytest.raises(SpecError, match="predict_proba needs classes"):
        model.predict_files(files, tmp_path / "out.parquet", proba=True)
    assert not [*tmp_path.glob("*out.parquet")]
    plain = MLP(3, epochs=1).fit(np.eye(40), np.arange(40) % 2)
    with pytest.raises(SpecError, match="needs a model that was fitted on a table or on files"):
        plain.predict_files(files, tmp_path / "out.parquet")


def test_predictions_take_the_place_of_a_file_as_models_do(files: str, tmp_path: Path) -> None:
    model = trained(files, fit={"target": "price", "columns": ["number", "count"]})
    there, link = tmp_path / "there.parquet", tmp_path / "link.parquet"
    there.write_bytes(b"old")
    there.chmod(0o600)
    link.symlink_to(there)
    model.predict_files(files, link)
    assert link.is_symlink()
    assert there.stat().st_mode & 0o777 == 0o600
    assert len(pl.read_parquet(there)) == ROWS
    with pytest.raises(DataError, match=r"cannot save /dev/null: it is a device"):
        model.predict_files(files, "/dev/null")


def test_a_fit_that_is_refused_changes_nothing(files: str) -> None:
    model = MLP(3, epochs=1, tune_threshold="f1").fit(np.eye(40), np.arange(40) % 2, validation=0.5)
    before = dict(model.notes)
    with pytest.raises(SpecError, match="tune_threshold needs validation data"):
        model.fit(files, target="label", columns=["number", "count"])
    assert model.notes == before


# ---------------------------------------------------------------------------- what is wrong


def damaged(path: Path) -> None:
    content = bytearray((path / "1.parquet").read_bytes())
    content[200:8000] = bytes(7800)
    (path / "1.parquet").write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path / "2.parquet", 3000)


def other_column(path: Path) -> None:
    frame(9).rename({"count": "counts"}).write_parquet(path / "1.parquet")


def other_order(path: Path) -> None:
    frame(9).select(sorted(frame(1).columns)).write_parquet(path / "1.parquet")


def other_type(path: Path) -> None:
    frame(9).cast({"count": pl.Float32}).write_parquet(path / "2.parquet")


def infinite(path: Path) -> None:
    data = frame(9)
    data[4, "gaps"] = np.inf
    data.write_parquet(path / "1.parquet")


def listed(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    pl.DataFrame({"a": [[1], [2]], "label": [0, 1]}).write_parquet(path / "0.parquet")


WRONG: dict[Callable[[Path], None], str] = {
    damaged: r"1\.parquet is truncated or damaged: save or fetch it again\.$",
    cut: r"2\.parquet is truncated or damaged: save or fetch it again\.$",
    other_column: r"1\.parquet has no column 'count', and .*0\.parquet has one: they differ\.$",
    other_order: r"1\.parquet has the columns of .*0\.parquet in another order: write it again\.$",
    other_type: r"column 'count' holds Int64 in .*0\.parquet and Float32 in .*2\.parquet: write",
    infinite: r"1\.parquet has an infinite value at row 4, column 'gaps' \(counted from 0\): mend",
    listed: r"column 'a' holds List\(Int64\): numbers, text or dates are needed",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_with_a_file_is_told_by_its_name(
    files: str, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path / "data")
    with pytest.raises(DataError, match=WRONG[spoil]):
        trained(files, fit={"target": "label"})


@pytest.mark.parametrize(
    ("name", "given", "settings", "sentence"),
    [
        ("none*.parquet", {"target": "label"}, {}, r"^no file matches none\*\.parquet\.$"),
        ("none.parquet", {"target": "label"}, {}, r"^none\.parquet: no such file"),
        ("", {}, {}, "target= is missing: name the column"),
        ("", {"target": "labl"}, {}, "has no column 'labl'.*label"),
        ("", {"target": "day"}, {}, "the target 'day' holds Date.*: numbers or texts are needed"),
        ("", {"target": ["label", "price"]}, {}, "'label' holds String: numbers are needed there"),
        ("", {"target": "label", "y": [1]}, {}, "y and row_numbers do not go with files"),
        ("", {"target": "label", "sample_weight": "cost"}, {}, "no column 'cost', which sample_w"),
        ("", {"target": "label", "sample_weight": "day"}, {}, "names 'day', which holds Date"),
        (
            "", {"target": "label", "sample_weight": "gaps"}, {},
            r"0\.parquet has the weight nan at row \d+, column 'gaps'.*: weights are numbers",
        ),
        ("", {"target": "label", "sample_weight": [1.0]}, {}, r"shape \(1,\): .* has 3000 rows"),
        ("", {"target": "label", "validation": 1.5}, {}, r"validation=1\.5 must be a number in"),
        ("", {"target": "label"}, {"on_nonfinite": "impute"}, "'impute' does not go with files"),
        ("", {"target": "label"}, {"column_kinds": {"shp": "drop"}}, "no column 'shp'; did you"),
        ("ftp://host/*.parquet", {"target": "a"}, {}, "ftp:// cannot be read; s3, gs, az,"),
        ("file:///none/*.parquet", {"target": "a"}, {}, r"no file matches file:///none/\*\.parq"),
        ("s3://bucket/*.parquet", {"target": "a"}, {}, "holds nothing that opens s3://: set AWS_"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call_is_told_in_a_sentence(
    files: str, monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any],
    settings: dict[str, Any], sentence: str,
) -> None:  # fmt: skip
    for known in source._CREDENTIALS["s3"]:
        monkeypatch.delenv(known, raising=False)
    with pytest.raises((DataError, SpecError), match=sentence):
        MLP(**SETTINGS | settings).fit(name or files, **given)


def test_arrays_and_files_are_not_mixed_up(files: str) -> None:
    X, y = np.zeros((9, 2)), np.arange(9) % 2
    for call, sentence in (
        (lambda: MLP().fit(X), "y is missing: give the targets, or files"),
        (lambda: MLP().fit(X, y, target="a"), "target and columns name those of files"),
        (lambda: MLP().fit(X, y, validation="a.parquet"), "validation names files, and X is data"),
        (lambda: MLP().partial_fit(files, y), "partial_fit takes arrays and tables, no files"),
        (lambda: MLPClassifier().fit(files, y), "MLPClassifier takes arrays and tables, no files"),
        (lambda: TabularClassifier().fit(files, y), "TabularClassifier takes .* no files: MLP"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_wild_value_is_told_before_training(files: str, tmp_path: Path) -> None:
    data = frame()
    data[2000, "number"] = 1e30
    data.write_parquet(tmp_path / "wild.parquet")
    with pytest.warns(TrainingWarning, match=r"wild\.parquet has 1e\+30 at row 2000, column 'numb"):
        trained(tmp_path / "wild.parquet", fit={"target": "label"})


def test_how_far_it_is_is_told(files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BATCH_ROWS", 1000)
    monkeypatch.setattr(cells, "_TOGETHER", 1)
    monkeypatch.setattr(folder, "_SETTLED", -1.0)
    told: list[tuple[float, str]] = []
    read = MLP(**SETTINGS).read_files
    for _ in range(2):
        read(files, target="label", columns=INPUTS, progress=lambda *now: told.append(now))
    stages = ["reading", "planning the columns of", "making the rows of"]
    assert [stage for stage in stages for _, what in told if what.startswith(stage)] == [
        *3 * stages[:1], *6 * stages[1:2], *3 * stages[2:],
    ]  # fmt: skip
    assert [share for share, _ in told] == [
        *(k / 3 for k in range(3)), *(k / 6 for k in range(6)), 0.0, 1 / 3, 2 / 3,
    ]  # fmt: skip


def test_rows_that_were_read_serve_several_trainings(files: str) -> None:
    model = MLP(**SETTINGS)
    found = model.read_files(files, target="label", validation=0.2)
    same(model.with_(l2=0.1).fit(found), trained(files, fit=dict(FIT), l2=0.1))
    with pytest.raises(SpecError, match="of files are named in read_files"):
        model.fit(found, validation=0.1)
