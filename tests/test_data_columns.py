"""The column plan: what it learns, what it makes of new rows, and that it survives JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from nbmlp import MLP
from nbmlp.data import ColumnPlan, Table, TargetScale, as_table, read, wants_plan
from nbmlp.errors import DataError, ModelFileError


@pytest.fixture
def people() -> Table:
    return Table(
        {
            "age": np.array([20.0, 30.0, np.nan, 40.0]),
            "job": np.array(["clerk", "smith", None, "clerk"], dtype=object),
            "rooms": np.array([1, 2, 3, 2]),
            "town": np.array(["Ulm", "Ulm", "Rome", "Rome"]),
        }
    )


def rebuilt(plan: ColumnPlan) -> ColumnPlan:
    return ColumnPlan.from_dict(json.loads(json.dumps(plan.to_dict())))


# --- tables -------------------------------------------------------------------------------------


def test_table_columns_by_kind() -> None:
    table = Table(
        {
            "flag": np.array([True, False]),
            "pixel": np.array([1, 255], dtype=np.uint8),
            "maybe": np.array([1, None], dtype=object),
            "scalar": np.array([np.float32(0.5), np.int64(2)], dtype=object),
            "text": np.array([" ? ", "x"]),
            "mixed": np.array([1, "x"], dtype=object),
        }
    )
    assert_array_equal(table["flag"], [1.0, 0.0])
    assert table["pixel"].dtype == np.uint8
    assert_array_equal(table["maybe"], [1.0, np.nan])
    assert_array_equal(table["scalar"], [0.5, 2.0])
    assert table["text"].tolist() == [None, "x"]
    assert table["mixed"].tolist() == ["1", "x"]
    assert table.shape == (2, 6)
    assert table.take(np.array([1]))["pixel"].tolist() == [255]
    assert "pixel: uint8" in repr(table)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "has no columns"),
        ({"a": [1, 2], "b": [1]}, "column 'b' has 1 rows and column 'a' has 2"),
        ({"a": [[1]]}, r"shape \(1, 1\)"),
        ({"a": np.array([1j])}, "numbers, text or dates are needed"),
        ({"a": np.array([{"b": 1}, None])}, "column 'a' holds dicts: numbers, text or dates"),
    ],
)
def test_bad_tables(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Table(columns)


def test_what_frames_hold_besides() -> None:
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2024-07-01 08:00", None]).tz_localize("Europe/Berlin")
    frame = pandas.DataFrame(
        {
            "zoned": times, "whole": pandas.array([1, None], "Int64"),
            "truth": pandas.array([True, None], "boolean"), "price": [Decimal("1.5"), None],
            "span": pandas.to_timedelta(["36h", None]),
            "month": pandas.PeriodIndex(["2024-07", "2024-08"], freq="M"),
        }
    )  # fmt: skip
    table = as_table(frame)
    assert table is not None
    assert table["zoned"][0] == np.datetime64("2024-07-01T08:00")  # as the clock on the wall
    assert np.isnat(table["zoned"][1])
    for name, value in (("whole", 1.0), ("truth", 1.0), ("price", 1.5), ("span", 1.5)):
        assert_array_equal(table[name], [value, np.nan])
    assert table.kinds == {"truth": "boolean"}
    assert ColumnPlan.fit({"month": table["month"]}).told()[0].kind == "date"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_are_tables(library: str) -> None:
    frame = pytest.importorskip(library).DataFrame({"a": [1, 2, None], "b": ["x", None, "z"]})
    table = as_table(frame)
    assert table is not None
    assert_array_equal(table["a"], [1, 2, np.nan])
    assert table["b"].tolist() == ["x", None, "z"]
    assert as_table(np.zeros((2, 2))) is None


# --- the plan -----------------------------------------------------------------------------------


def test_what_a_table_becomes(people: Table) -> None:
    plan = ColumnPlan.fit(people)
    assert plan.feature_names == (
        "age",
        "rooms",
        "age=(missing)",
        "job=clerk",
        "job=(other)",
        "job=(missing)",
        "town=Rome",
        "town=Ulm",
        "town=(other)",
    )
    deviation = np.sqrt(200 / 3)
    expected = [
        [-10 / deviation, -np.sqrt(2), 0, 1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0, 0, 1, 0],
        [0, np.sqrt(2), 1, 0, 0, 1, 1, 0, 0],
        [10 / deviation, 0, 0, 1, 0, 0, 1, 0, 0],
    ]
    Z = plan.transform(people)
    assert Z.dtype == np.float32
    assert_allclose(Z, expected, atol=1e-6)


def test_a_plan_survives_json(people: Table) -> None:
    plan = ColumnPlan.fit(people, [1.0, 2.0, 3.0, 5.0])
    again = rebuilt(plan)
    assert again == plan
    assert_array_equal(again.transform(people), plan.transform(people))
    assert rebuilt(ColumnPlan.fit(people)).target is None


@pytest.mark.parametrize("stored", [{}, {"columns": [], "numbers": [{"nam": "a"}], "target": None}])
def test_bad_stored_plan(stored: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="stored column plan cannot be read"):
        ColumnPlan.from_dict(stored)
    with pytest.raises(DataError, match="stored target scale cannot be read"):
        TargetScale.from_dict({"mean": [0.0]})


def test_new_rows(people: Table) -> None:
    plan = ColumnPlan.fit(people)
    row = plan.transform(
        {"town": ["Bonn"], "job": [None], "rooms": [None], "age": np.array(["30"]).astype(float)}
    )
    assert_array_equal(row, [[0, 0, 0, 0, 0, 1, 0, 0, 1]])


def test_a_missing_category_that_was_never_missing_is_all_zeros(people: Table) -> None:
    row = ColumnPlan.fit(people).transform(
        {"age": [30], "job": ["clerk"], "rooms": [2], "town": [None]}
    )
    assert_array_equal(row[0, -3:], [0, 0, 0])


def test_rare_categories_share_a_place() -> None:
    table = Table({"c": np.array(list("aaaabbbccd"))})
    names = lambda **options: ColumnPlan.fit(table, **options).categories[0].categories  # noqa: E731
    assert names() == ("a", "b", "c")
    assert names(min_count=1) == ("a", "b", "c", "d")
    assert names(min_count=3) == ("a", "b")
    assert names(most_one_hot=1) == ("a",)


def test_numbers_as_categories() -> None:
    table = Table({"zip": np.array([1010, 1010, 2020, 2020]), "v": np.arange(4)})
    plan = ColumnPlan.fit(table, categorical_features=["zip"])
    assert plan.feature_names == ("v", "zip=1010", "zip=2020", "zip=(other)")
    text = Table({"zip": np.array(["2020", "x"]), "v": np.arange(2)})
    assert_array_equal(plan.transform(text)[:, 1:], [[0, 1, 0], [0, 0, 1]])
    with pytest.raises(DataError, match="no column 'zap' to take as categorical"):
        ColumnPlan.fit(table, categorical_features=["zap"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": None}, "the data lack 'age': the model was fitted on the columns 'age', 'job'"),
        ({"pay": [1]}, "the data have 'pay' besides"),
        ({"age": None, "pay": [1]}, "the data lack 'age' and have 'pay' besides"),
        ({"age": ["old"]}, r"X holds the text 'old' at row 0, column 'age' .* it held numbers"),
        ({"age": [np.inf]}, "X has an infinite value at row 0, column 'age'"),
    ],
)
def test_other_columns_than_fitted(people: Table, change: dict[str, Any], says: str) -> None:
    row = {"age": [30], "job": ["clerk"], "rooms": [2], "town": ["Ulm"]} | change
    with pytest.raises(DataError, match=says):
        ColumnPlan.fit(people).transform({k: v for k, v in row.items() if v is not None})


def test_an_infinite_value_is_not_learned() -> None:
    X = np.zeros((3000, 3))
    X[2500, 1] = np.inf
    with pytest.raises(DataError, match="X has an infinite value at row 2500, column 'b'"):
        ColumnPlan.fit(X, names=["a", "b", "c"])


@given(st.integers(1, 2500), st.integers(0, 2**32), st.sampled_from(["f4", "f8"]))
def test_plain_matrices_are_standardised(rows: int, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(rows, 4)) * [1, 1e-3, 1e4, 0] + [0, 5, -1e3, 0.1]).astype(dtype)
    X[rng.random(rows) < 0.1, 0] = np.nan
    plan = ColumnPlan.fit(X)
    Z = plan.transform(X)
    present = X.astype(np.float64)
    deviation = np.array([np.nanstd(c) if np.isfinite(c).any() else 0.0 for c in present.T])
    mean = np.array([np.nanmean(c) if np.isfinite(c).any() else 0.0 for c in present.T])
    constant = deviation <= 1e-12 * np.abs(mean)
    expected = np.nan_to_num((present - mean) / np.where(constant, 1.0, deviation))
    assert_allclose(Z[:, :4], expected, rtol=1e-5, atol=1e-6)
    if np.isnan(X).any():
        assert_array_equal(Z[:, 4], np.isnan(X[:, 0]))
    else:
        assert Z.shape[1] == 4


def test_named_matrix_columns_may_come_in_any_order() -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    plan = ColumnPlan.fit(X, names=["a", "b", "c"])
    Z = plan.transform(X)
    assert_array_equal(plan.transform(X[:, ::-1], names=["c", "b", "a"]), Z)
    assert_array_equal(plan.transform({n: X[:, j] for j, n in enumerate("abc")}), Z)
    with pytest.raises(DataError, match="2 columns: the model was fitted on 3"):
        plan.transform(X[:, :2])
    with pytest.raises(DataError, match="the data lack 'a'"):
        plan.transform(X[:, 1:], names=["b", "c"])
    with pytest.raises(DataError, match="2 column names are given for 3 columns"):
        plan.transform(X, names=["b", "c"])


def test_a_category_column_that_is_all_missing_in_a_file() -> None:
    table = Table({"c": np.array(["a", "a", "b", "b"]), "v": np.arange(4)})
    Z = ColumnPlan.fit(table).transform(np.array([[np.nan, 1.5]]), names=["c", "v"])
    assert_array_equal(Z, [[0, 0, 0, 0]])


def test_bytes_are_standardised_without_wrapping() -> None:
    X = np.array([[0, 250], [200, 255]], dtype=np.uint8)
    assert_allclose(ColumnPlan.fit(X).transform(X), [[-1, -1], [1, 1]], atol=1e-6)


def test_targets_there_and_back() -> None:
    y = np.array([100, 200, 255], dtype=np.uint8)
    plan = ColumnPlan.fit(np.eye(3), y)
    z = plan.transform_target(y)
    assert z.shape == (3, 1)
    assert z.mean() == pytest.approx(0, abs=1e-6)
    assert z.std() == pytest.approx(1, abs=1e-6)
    assert_allclose(plan.inverse_target(z)[:, 0], y, rtol=1e-6)
    assert_allclose(plan.inverse_target(z[:, 0]), y, rtol=1e-6)
    Y = np.array([[1.0, 1000.0], [3.0, 5000.0]])
    both = TargetScale.fit(Y)
    assert_allclose(both.inverse(both.transform(Y)), Y)
    assert TargetScale.fit([7, 7]).scale == (1.0,)


def test_bad_targets() -> None:
    with pytest.raises(DataError, match="y has NaN at row 1"):
        ColumnPlan.fit(np.eye(2), [1.0, np.nan])
    with pytest.raises(DataError, match="fitted without targets"):
        ColumnPlan.fit(np.eye(2)).inverse_target([1.0])
    with pytest.raises(DataError, match="2 columns: the model has 1 outputs"):
        TargetScale.fit([1.0, 2.0]).transform(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("X", "wants"),
    [
        (np.array([[0, 255]], dtype=np.uint8), False),
        (np.array([[0, 15]], dtype=np.uint8), True),
        (np.array([[-1.0, 1.0]]), False),
        (np.array([[0.0, 1.5]]), True),
        (np.array([[0.0, np.nan]]), True),
        (Table({"a": np.array([0.5])}), True),
    ],
)
def test_who_wants_a_plan(X: Any, wants: bool) -> None:
    assert wants_plan(X) is wants


def test_real_adult(data_dir: Path) -> None:
    data = read(data_dir / "adult" / "adult.csv.gz", target="income-per-year")
    plan = ColumnPlan.fit(data.X)
    assert rebuilt(plan) == plan
    Z = plan.transform(data.X)
    assert Z.shape == (32_561, len(plan.feature_names))
    assert np.isfinite(Z).all()
    assert "occupation=(missing)" in plan.feature_names
    groups = [c.others for c in plan.categories]
    starts = np.cumsum([len(plan.numbers), *map(len, groups)])
    for start, end in pairwise(starts):
        assert_array_equal(Z[:, start:end].sum(axis=1), 1.0)
    assert_array_equal(plan.transform(data.take(slice(129, 130)).X), Z[129:130])


def test_real_housing(data_dir: Path) -> None:
    data = read(data_dir / "california-housing" / "housing.csv", target="median_house_value")
    plan = ColumnPlan.fit(data.X, data.y)
    Z = plan.transform(data.X)
    missing = plan.feature_names.index("total_bedrooms=(missing)")
    assert Z[:, missing].sum() == 207
    assert np.abs(Z[:, :8].mean(axis=0)).max() < 1e-3
    assert data.y is not None
    assert_allclose(plan.inverse_target(plan.transform_target(data.y))[:, 0], data.y, rtol=1e-5)


# --- files --------------------------------------------------------------------------------------

#: As the first version wrote it, for ages, jobs and rooms.
FIRST = json.loads("""
{"columns": ["age", "job", "rooms"],
 "numbers": [{"name": "age", "mean": 30.0, "scale": 8.16496580927726, "indicator": true},
             {"name": "rooms", "mean": 2.0, "scale": 0.7071067811865476, "indicator": false}],
 "categories": [{"name": "job", "categories": ["clerk"], "indicator": true}],
 "target": {"mean": [2.75], "scale": [1.479019945774904]}}
""")


def test_a_plan_of_the_first_version(people: Table) -> None:
    table = Table({name: people[name] for name in ("age", "job", "rooms")})
    plan = ColumnPlan.from_dict(FIRST)
    low = -1.2247449159622192, -1.4142135381698608
    expected = [
        [*low, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 1.4142135381698608, 1, 0, 0, 1],
        [1.2247449159622192, 0, 0, 1, 0, 0],
    ]
    assert_array_equal(plan.transform(table), np.array(expected, np.float32))
    now = ColumnPlan.fit(table, [1.0, 2.0, 3.0, 5.0])
    assert now.feature_names == plan.feature_names
    assert_array_equal(now.transform(table), plan.transform(table))
    assert plan.told()[1].missing is None
    assert rebuilt(plan) == plan


def _changed(values: Any, path: str, value: Any) -> Any:
    """A deep copy with the value at a path such as ``prepared.0.name``."""
    values = json.loads(json.dumps(values))
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = values
    for part in way:
        inner = inner[part]
    inner[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("version", 3, "another version"),
        ("rows", -1, "a count is no number"),
        ("prepared", [], "it has 0 columns"),
        ("prepared", 7, "no list"),
        ("prepared.0.kind", "spy", "unknown kind"),
        ("prepared.0.kind", ["number"], "unknown kind"),
        ("prepared.0.name", "job", "a column occurs twice"),
        ("prepared.0.name", 5, "a name is no text"),
        ("prepared.0.name", "y" * 100_001, "too long"),
        ("prepared.0.scale", 0, "a scale is not above 0"),
        ("prepared.0.centre", float("nan"), "a value is no number"),
        ("prepared.0.centre", "1", "a value is no number"),
        ("prepared.0.indicator", 1, "neither true nor false"),
        ("prepared.0.edges", [1, 1], "bins do not rise"),
        ("prepared.0.edges", [float(k) for k in range(2000)], "too many bins"),
        ("prepared.0.facts", {"missing": 1.5}, "a count is no number"),
        ("prepared.0.facts", {"more": 1}, "its facts are unknown"),
        ("prepared.0.colour", "red", "a field that is not known"),
        ("prepared.1.categories", ["a", "a"], "a category occurs twice"),
        ("prepared.1.categories", "abc", "too many categories"),
        ("prepared.4.parts", [], "a date has other parts"),
        ("prepared.4.cycles", ["week", "year"], "a date has other cycles"),
        ("prepared.5.categories", ["a"], "a column of two categories"),
    ],
)
def test_hostile_plans_are_refused_in_one_sentence(
    people: Table, path: str, value: Any, says: str
) -> None:
    more = {"day": ["2024-01-01"] * 3 + ["2025-02-03"], "truth": [True, False] * 2}
    plan = ColumnPlan.fit({**people.columns, **more}).to_dict()
    with pytest.raises(DataError, match=f"stored column plan cannot be read: .*{says}"):
        ColumnPlan.from_dict(_changed(plan, path, value))


def test_hostile_plans_of_the_first_version() -> None:
    for path, value in (("columns.0", "job"), ("numbers.0.scale", -1), ("columns", ["age"])):
        with pytest.raises(DataError, match="stored column plan cannot be read"):
            ColumnPlan.from_dict(_changed(FIRST, path, value))


def test_a_plan_that_does_not_fit_its_net(people: Table, tmp_path: Path) -> None:
    model = MLP((), epochs=1).build(people, [0, 1, 0, 1])
    plan = ColumnPlan.fit({name: people[name] for name in ("age", "job")})
    model.net.columns = plan
    model.save(tmp_path / "net")
    with pytest.raises(ModelFileError, match=r"plan makes 5 inputs .* and the net takes 9"):
        MLP.load(tmp_path / "net")
