"""The same file gives the same columns on every path, and each path tells what becomes of them."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.cli import run
from nbmlp.cli.groups import Learning, Parts, Source
from nbmlp.cli.rows import read_training
from nbmlp.data import ColumnPlan, Dataset, Table, prepared, read, table_of, told_of
from nbmlp.errors import DataError, SpecError

DATASET = "01J9ZC4N3V0000000000000000"


def write_pixels(path: Path, most: int = 255) -> Path:
    """Digits as many files have them: whole numbers, and a label."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, most + 1, (60, 6))
    X[0, 0] = most
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X, X[:, 0] % 3, strict=True)]
    path.write_text("\n".join(["a,b,c,d,e,f,digit", *lines]))
    return path


def write_mixed(path: Path) -> Path:
    """Numbers, dates, text, gaps, and a price far from 0."""
    rng = np.random.default_rng(1)
    days = np.datetime64("2023-01-30") + rng.integers(0, 900, 80)
    shops = rng.choice(["north", "south", ""], 80)
    sizes = rng.normal(50, 10, 80).round(2)
    lines = [f"{d},{s},{v},{9000 + 10 * v}" for d, s, v in zip(days, shops, sizes, strict=True)]
    path.write_text("\n".join(["day,shop,size,price", *lines]))
    return path


def in_the_shell(path: Path, target: str) -> Dataset:
    model = MLP()
    source, whole = Source(data=str(path), target=target), Parts(test_fraction=0)
    return read_training(source, whole, Learning(), model).train


def on_the_server(path: Path, target: str, **model: Any) -> Dataset:
    pytest.importorskip("fastapi")
    from nbmlp.data.layout import Dialect
    from nbmlp.server.intake.guard import Limits
    from nbmlp.server.intake.parse import parse
    from nbmlp.server.jobs.spec import Hyper
    from nbmlp.server.jobs.training import prepared_for
    from nbmlp.server.rows import load_rows, select

    rows = path.with_suffix(".rows")
    parse(path, rows, Limits(100, 1000, 1000, 60), Dialect(), lambda size: None)
    return prepared_for(select(load_rows(rows), target, None), Hyper(**model))


def same(first: Dataset, second: Dataset) -> None:
    assert type(first.X) is type(second.X)
    if isinstance(first.X, Table):
        assert isinstance(second.X, Table)
        plans = [ColumnPlan.fit(data.X) for data in (first, second)]
        assert plans[0] == plans[1]
        first, second = (replace(d, X=plans[0].transform(d.X)) for d in (first, second))
    assert first.X.dtype == second.X.dtype
    np.testing.assert_array_equal(first.X, second.X)
    assert first.y is not None
    assert second.y is not None
    np.testing.assert_array_equal(first.y, second.y)


def test_pixels_in_a_text_table_are_pixels_everywhere(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "pixels.csv")
    shell, server = in_the_shell(path, "digit"), on_the_server(path, "digit")
    assert shell.X.dtype == np.uint8
    same(shell, server)
    asked = on_the_server(path, "digit", standardise=True)
    assert isinstance(asked.X, Table)
    model = MLP(3, epochs=1).build(server.X, server.y)
    assert model.column_plan is None
    assert model.net.scale == pytest.approx(1 / 255)
    assert {one.became for one in model.columns} == {"divided by 255"}
    assert [one.became for one in told_of(read(path, target="digit"))] == ["divided by 255"] * 6


def test_a_target_that_is_no_byte_changes_nothing_about_its_inputs(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "pixels.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"{line}00.5" for line in lines[1:])]))
    shell, server = in_the_shell(path, "digit"), on_the_server(path, "digit")
    assert shell.X.dtype == np.uint8
    same(shell, server)


def test_small_whole_numbers_are_standardised_everywhere(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "counts.csv", most=15)
    shell, server = in_the_shell(path, "digit"), on_the_server(path, "digit")
    assert isinstance(shell.X, Table)
    same(shell, server)
    plain = on_the_server(path, "digit", standardise=False)
    assert plain.X.dtype == np.uint8


def test_mixed_columns_are_the_same_everywhere(tmp_path: Path) -> None:
    path = write_mixed(tmp_path / "sales.csv")
    shell, server = in_the_shell(path, "price"), on_the_server(path, "price")
    same(shell, server)
    kinds = {one.column: one.kind for one in ColumnPlan.fit(shell.X).told()}
    assert kinds == {"day": "date", "shop": "category", "size": "number"}
    frame = pytest.importorskip("pandas").read_csv(path).drop(columns="price")
    assert ColumnPlan.fit(frame) == ColumnPlan.fit(shell.X)


def test_parquet_keeps_dates_booleans_and_categories(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    days = np.datetime64("2023-01-30", "us") + np.arange(40) * np.timedelta64(5, "h")
    cells = {"day": days, "sold": [True, False] * 20, "shop": ["a", "b", "b", None] * 10}
    frame = pl.DataFrame({**cells, "y": np.arange(40.0)})
    frame = frame.with_columns(frame["shop"].cast(pl.Enum(["a", "b"])))
    frame.write_parquet(tmp_path / "t.parquet")
    shell = in_the_shell(tmp_path / "t.parquet", "y")
    same(shell, on_the_server(tmp_path / "t.parquet", "y"))
    plan = ColumnPlan.fit(shell.X)
    assert [one.kind for one in plan.told()] == ["date", "boolean", "category"]
    assert plan == ColumnPlan.fit(frame.drop("y"))
    frame.drop("y").with_columns(pl.lit([1]).alias("list")).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(DataError, match=r"column 'list' holds List.* numbers, text or dates"):
        read(tmp_path / "l.parquet", require_target=False)


def test_the_client_sends_dates_as_text() -> None:
    from nbmlp.client.rows import tensors

    days = np.array(["2024-01-31", "NaT"], dtype="M8[ns]")
    told: list[Any] = ["2024-01-31T05:00:00", None]
    times = [datetime.datetime(2024, 1, 31, 5), None]
    pandas = pytest.importorskip("pandas")
    (by_array,), (by_list,) = tensors({"d": days}), tensors({"d": times})
    (by_frame,) = tensors(pandas.DataFrame({"d": times}))
    assert [str(cell)[:10] for cell in by_array["data"]] == ["2024-01-31", "None"]
    assert by_list["data"] == told
    plan = ColumnPlan.fit({"d": [*times, datetime.datetime(2025, 3, 1)]})
    for tensor in (by_array, by_list, by_frame):
        assert tensor["datatype"] == "BYTES"
        plan.transform({"d": tensor["data"]})


# --- settings of MLP ----------------------------------------------------------------------------


def test_settings_of_the_columns(tmp_path: Path) -> None:
    X = {"zip": [1, 2] * 20, "v": np.arange(40.0), "key": [f"k{i}" for i in range(40)]}
    y = np.arange(40) % 2
    kinds = {"zip": "category", "key": "drop"}
    model = MLP(2, epochs=1, scaling="robust", bins=4, column_kinds=kinds).fit(X, y)
    assert [one.kind for one in model.columns] == ["binary", "number", "left out"]
    assert [one.features for one in model.columns] == [1, 3, 0]
    model.save(tmp_path / "net.safetensors")
    again = MLP.load(tmp_path / "net.safetensors")
    assert again.columns == model.columns
    for name in ("scaling", "bins", "column_kinds"):
        assert again.get_params()[name] == model.get_params()[name]
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    by_place = MLP(2, epochs=1, column_kinds={"x0": "category"}).fit(np.array([[1.0], [2]] * 20), y)
    assert by_place.columns[0].kind == "category"
    with pytest.raises(DataError, match="no column 'zpi'; did you mean 'zip'"):
        MLP(2, column_kinds={"zpi": "drop"}).fit(X, y)
    with pytest.raises(SpecError, match="did you mean 'category'"):
        MLP(column_kinds={"zip": "categry"})
    with pytest.raises(SpecError, match="must be a dict"):
        MLP(column_kinds="drop")  # type: ignore[arg-type]


def test_categories_are_embedded_on_request(tmp_path: Path) -> None:
    shops = [f"shop {i % 12}" for i in range(60)]
    X = {"shop": shops, "v": np.arange(60.0) % 7}
    y = np.arange(60.0)
    model = MLP(4, epochs=2, category_embedding=True, code_width=3).fit(X, y)
    assert [one.kind for one in model.columns] == ["embedded", "number"]
    assert model.model_spec.code_counts == (13,)
    model.save(tmp_path / "net.safetensors")
    again = MLP.load(tmp_path / "net.safetensors")
    new = {"shop": ["shop 3", "unknown", None], "v": [1.0, 2.0, 3.0]}
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    asked = MLP(4, epochs=1, column_kinds={"v": "embedded"}).fit(X, y)
    assert asked.model_spec.code_counts == (8,)


def test_columns_that_are_taken_as_they_are() -> None:
    model = MLP(2, epochs=1).build(np.zeros((4, 2)), [0, 1, 0, 1])
    assert [(one.column, one.became) for one in model.columns] == [
        ("x0", "as it is"), ("x1", "as it is"),
    ]  # fmt: skip


# --- command line -------------------------------------------------------------------------------


def test_info_of_a_table_and_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_mixed(Path("sales.csv"))
    assert run(["info", "sales.csv", "--target", "price", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["target"]) == (80, ["price"])
    assert [one["kind"] for one in found["columns"]] == ["date", "category", "number"]
    assert run(["info", "sales.csv"]) == 0
    shown = capsys.readouterr().out
    for words in ("elapsed days, year, month", "one-hot: 2 categories", "text that reads as dates"):
        assert words in shown
    train = ["train", "--data", "sales.csv", "--target", "price", "--epochs", "1", "--hidden", "2"]
    train += ["--column-kind", "shop=drop", "--column-kind", "day=category", "--quiet"]
    assert run([*train, "--out", "m.safetensors"]) == 0
    assert run(["info", "m.safetensors", "--json"]) == 0
    inputs = {one["column"]: one for one in json.loads(capsys.readouterr().out)["inputs"]}
    assert inputs["shop"]["kind"] == "left out"
    assert inputs["shop"]["why"] == "as asked for"
    assert inputs["day"]["kind"] == "category"
    assert run(["info", "m.safetensors"]) == 0
    assert "left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--column-kind", "shop"], 2, "'shop' names no kind: write NAME=KIND"),
        (["--column-kind", "shop=drp"], 2, "did you mean 'drop'"),
        (["--column-kind", "shp=drop"], 1, "no column 'shp'; did you mean 'shop'"),
        (["--scaling", "robst"], 2, "did you mean 'robust'"),
    ],
)
def test_wrong_kinds_on_the_command_line(
    options: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_mixed(tmp_path / "sales.csv"))
    assert run(["train", "--data", path, "--target", "price", *options]) == code
    assert says in capsys.readouterr().err


def test_hostile_names_in_info(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "t.csv"
    path.write_text('"[red]*/<b>\x1b[2J",b\n1,2\n3,4\n')
    assert run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert r"[red]*/<b>\x1b[2J" in out
    assert "\x1b[2J" not in out
    assert table_of(told_of(read(path, require_target=False))).isascii()


# --- server -------------------------------------------------------------------------------------


def test_the_server_lists_what_becomes_of_each_column(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    from nbmlp.data.layout import Dialect
    from nbmlp.server.intake.guard import Limits
    from nbmlp.server.intake.parse import parse

    path = write_mixed(tmp_path / "sales.csv")
    found = parse(path, tmp_path / "rows", Limits(100, 1000, 1000, 60), Dialect(), lambda _: None)
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["day"]["becomes"].startswith("elapsed days")
    assert columns["shop"]["why"] == "holds text"
    path.write_text("label,v\n" + "a,1\nb,inf\n" * 20)
    found = parse(path, tmp_path / "rows", Limits(100, 1000, 1000, 60), Dialect(), lambda _: None)
    assert [column["becomes"] for column in found["columns"]] == ["", ""]


def test_kinds_of_a_job_must_be_of_its_inputs() -> None:
    pytest.importorskip("fastapi")
    from page_service import dataset

    from nbmlp.server.jobs.columns import FieldError, check_columns
    from nbmlp.server.jobs.spec import JobSpec

    def check(kinds: dict[str, str]) -> None:
        job = {"dataset_id": DATASET, "target": "species", "model": {"column_kinds": kinds}}
        check_columns(JobSpec.model_validate(job), dataset(1, "iris.csv"))

    check({"colour": "drop", "sepal width": "category"})
    with pytest.raises(FieldError, match="no input column 'color'; did you mean 'colour'") as found:
        check({"color": "drop"})
    assert found.value.field == "model.column_kinds"
    with pytest.raises(FieldError, match="no input column 'species'"):
        check({"species": "drop"})
    with pytest.raises(ValueError, match="did you mean 'drop'"):
        check({"colour": "drp"})


def test_data_of_any_kind_are_prepared_alike() -> None:
    X = np.array([[0.0, 200], [3, 255], [1, 9]])
    y, names = np.array([0, 1, 0]), ("a", "b")
    matrix = Dataset(X, y, names)
    table = Dataset(Table(dict(zip(names, X.T, strict=True))), y, names)
    assert isinstance(prepared(matrix).X, Table)  # floating-point numbers are no pixels
    assert prepared(table).X.dtype == np.uint8  # a text table does not tell them apart
    assert prepared(table, False).X.dtype == np.uint8
    assert isinstance(prepared(table, True).X, Table)
    far = Dataset(X / 1000, np.array([1e6, 2e6, 3e6]), names)
    assert isinstance(prepared(far).X, Table)
    assert prepared(far, task="classes").X is far.X
