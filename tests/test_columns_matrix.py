"""One table as every kind of frame has it: each column becomes the same, and is told the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nbmlp.data import ColumnPlan
from nbmlp.data.columns import Told, shown, table_of
from nbmlp.errors import DataError, SpecError

ROWS = 2000
LIBRARIES = ("dict", "pandas", "polars", "array")
Frame = Callable[[dict[str, list[Any]], str], Any]


def _days(gap: int | None = None) -> list[Any]:
    start = np.datetime64("2019-12-30T06:00", "us")
    days = [(start + np.timedelta64(31 * i % 2900, "h")).item() for i in range(ROWS)]
    return [None if i == gap else day for i, day in enumerate(days)]


def _cells() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    pick = lambda *of: [of[k] for k in rng.integers(0, len(of), ROWS)]  # noqa: E731
    return {
        "text": pick("clerk", "smith", "nurse"),
        "category": pick("low", "high"),
        "bool": pick(True, False),
        "date": _days(),
        "date gaps": _days(gap=3),
        "iso": [str(day.date()) for day in _days()],
        "gaps": [None if i % 7 == 0 else float(i % 50) for i in range(ROWS)],
        "text gaps": pick("a", "b", None),
        "bool gaps": pick(True, False, None),
        "int codes": pick(1010, 2020, 3030),
        "number": rng.normal(size=ROWS).tolist(),
        "all missing": [None] * ROWS,
        "constant": [7.5] * ROWS,
        "constant text": ["x"] * ROWS,
        "key": [f"person {i}" for i in range(ROWS)],
        "counter": list(range(ROWS)),
        "shops": [f"shop {i % 1000 if i < 1500 else 0}" for i in range(ROWS)],
    }


CELLS = _cells()


def frame_of(cells: dict[str, list[Any]], library: str) -> Any:
    """The same cells as one library has them, with what it can say of their kinds."""
    if library == "array":
        return np.array([list(row) for row in zip(*cells.values(), strict=True)], dtype=object)
    if library == "dict":
        return dict(cells)
    frames = pytest.importorskip(library)
    frame = frames.DataFrame(cells)
    if "category" not in cells:
        return frame
    if library == "pandas":
        return frame.astype({"category": "category"})
    return frame.with_columns(frame["category"].cast(frames.Enum(["low", "high"])))


def fit(columns: list[str], library: str = "dict", **options: Any) -> tuple[ColumnPlan, Any]:
    cells = {name: CELLS[name] for name in columns}
    frame = frame_of(cells, library)
    names = columns if library == "array" else None
    return ColumnPlan.fit(frame, names=names, **options), frame


def told(plan: ColumnPlan, column: str) -> Told:
    return next(one for one in plan.told() if one.column == column)


COMPACT: dict[str, Any] = {"numbers": "robust", "embed": True}
#: Kind and number of features of each column, and a part of what is said of it.
BECOMES = {
    "text": ("category", 3, "one-hot: 3 categories"),
    "category": ("binary", 1, "-1 for high, 1 for low"),
    "bool": ("boolean", 1, "-1 for false, 1 for true"),
    "date": ("date", 11, "elapsed days, year, month, weekday, hour, cycle of the year"),
    "date gaps": ("date", 12, "indicator"),
    "iso": ("date", 8, "cycle of the week"),
    "gaps": ("number", 2, "indicator"),
    "text gaps": ("binary", 2, "-1 for a, 1 for b"),
    "bool gaps": ("boolean", 2, ""),
    "int codes": ("category", 3, "3 categories"),
    "number": ("number", 1, "scaled by quartiles"),
    "all missing": ("left out", 0, "all values are missing"),
    "constant": ("left out", 0, "always '7.5'"),
    "constant text": ("left out", 0, "always 'x'"),
    "key": ("left out", 0, "nearly every row has another text"),
    "counter": ("number", 1, "counts the rows"),
    "shops": ("embedded", 1, "taken together with unknown ones"),
}


@pytest.fixture(scope="module")
def whole() -> tuple[ColumnPlan, np.ndarray[Any, Any]]:
    plan, frame = fit(list(CELLS), categorical_features=["int codes"], **COMPACT)
    return plan, plan.transform(frame)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_column_of_every_frame(
    library: str, whole: tuple[ColumnPlan, np.ndarray[Any, Any]]
) -> None:
    plan, frame = fit(list(CELLS), library, categorical_features=["int codes"], **COMPACT)
    for column, (kind, features, says) in BECOMES.items():
        one = told(plan, column)
        assert (one.kind, one.features) == (kind, features), column
        assert says in f"{one.became}; {one.reason}", column
    Z = plan.transform(frame)
    assert np.isfinite(Z).all()
    assert_array_equal(Z, whole[1])
    assert ColumnPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    again = plan.transform(frame_of({n: c[:5] for n, c in CELLS.items()}, library))
    assert_array_equal(again, Z[:5])


def test_order_of_the_features(whole: tuple[ColumnPlan, np.ndarray[Any, Any]]) -> None:
    plan, Z = whole
    names = plan.feature_names
    assert Z.shape[1] == plan.n_features == len(names)
    numbers = {"gaps", "number", "counter"}
    parts = ("elapsed days", "year", "month", "weekday", "hour")
    leading = names[: plan.n_numbers]
    assert all(n in numbers or n.partition("=")[2] in parts for n in leading)
    assert len(leading) == 3 + 5 + 5 + 4
    assert names[-1] == "shops"
    assert plan.code_counts == (1 + 500,)
    assert Z[:, -1].max() == 500
    assert (Z[:, -1] == 0).sum() == 500  # shops that occur once
    places = plan.places()
    assert [plan.columns[j] for j in places[:3]] == ["gaps", "number", "counter"]
    assert plan.columns[places[-1]] == "shops"


def test_rare_unknown_and_missing_categories_have_codes() -> None:
    cells = ["a"] * 3 + ["b"] * 3 + ["once", None]
    plan = ColumnPlan.fit({"c": cells}, embed=True, most_one_hot=1)
    assert plan.code_counts == (4,)
    codes = plan.transform({"c": ["a", "b", "once", "new", None]})[:, 0]
    assert codes.tolist() == [1, 2, 0, 0, 3]
    plan = ColumnPlan.fit({"c": cells[:-1]}, embed=True, most_one_hot=1)
    assert plan.code_counts == (3,)
    assert plan.transform({"c": [None]}).tolist() == [[0]]


def test_robust_scaling() -> None:
    x = np.array([0.0, 1, 2, 3, 4, 1e30])
    rare = np.array([5.0] * 9 + [7.0])
    plan = ColumnPlan.fit({"x": x}, numbers="robust")
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    z = (x - middle) / (high - low)
    expected = z / np.sqrt(1 + (z / 3) ** 2)
    np.testing.assert_allclose(plan.transform({"x": x})[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(plan.transform({"x": [1e300]})[0, 0], 3.0)
    Z = ColumnPlan.fit({"x": rare}, numbers="robust").transform({"x": rare})
    np.testing.assert_allclose(Z[:, 0], [0.0] * 9 + [2 / np.sqrt(1 + 4 / 9)], rtol=1e-6)
    mostly = np.r_[np.zeros(95), 1, 2, 3, 4, 1e5]  # the wildest value does not set the scale
    z = ColumnPlan.fit({"x": mostly}, numbers="robust").transform({"x": mostly})[96, 0]
    np.testing.assert_allclose(z, (2 / 2.5) / np.sqrt(1 + (2 / 2.5 / 3) ** 2), rtol=1e-6)
    assert ColumnPlan.fit({"x": [3, 3], "y": [1, 2]}, numbers="robust").columns == ("x", "y")


def test_bins_are_piecewise_linear() -> None:
    x = np.arange(9.0)
    plan = ColumnPlan.fit({"x": np.r_[x, np.nan]}, bins=8)
    assert plan.feature_names == ("x", "x=(missing)", "x>0", "x>2", "x>4", "x>6")
    Z = plan.transform({"x": [-5, 1, 4, 7, 99, np.nan]})
    bins = [[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0.5], [1, 1, 1, 1], [1, 1, 0, 0]]
    np.testing.assert_allclose(Z[:, 2:], bins, atol=1e-6)
    assert ColumnPlan.fit({"x": [1, 1], "y": [1, 2]}, bins=4).feature_names == ("x", "y")
    mostly = np.r_[np.zeros(92), np.arange(8.0)]  # half of the bins go by the distinct values
    names = ColumnPlan.fit({"x": mostly}, bins=8).feature_names
    assert names == ("x", "x>0", "x>1", "x>3", "x>5")


def test_dates_become_parts_and_cycles() -> None:
    days = ["2024-01-01", "2024-07-01", "2024-12-31", "2023-03-15"]
    plan = ColumnPlan.fit({"d": days})
    Z = dict(zip(plan.feature_names, plan.transform({"d": days}).T, strict=True))
    assert "d=hour" not in Z
    elapsed = Z["d=elapsed days"]
    np.testing.assert_allclose((elapsed[2] - elapsed[0]) / (elapsed[1] - elapsed[0]), 365 / 182)
    np.testing.assert_allclose(Z["d=cos(year)"], [1, -1, 1, 0.3], atol=0.06)
    np.testing.assert_allclose(Z["d=sin(week)"][0], 0, atol=1e-6)  # a Monday
    gone = plan.transform({"d": [None]})
    assert_array_equal(gone, np.zeros_like(gone))
    zoned = plan.transform({"d": ["2024-07-01T00:00:00+02:00"]})
    assert_array_equal(zoned, plan.transform({"d": days})[1:2])


@pytest.mark.parametrize(
    ("text", "odd"),
    [("31.12.2020", True), ("2020/2/1 10:00", True), ("12/31/20", True), ("10.0.0.1", False)],
)
def test_dates_in_another_format_are_told(text: str, odd: bool) -> None:
    (one,) = ColumnPlan.fit({"d": [text] * 3 + ["1.1.2021" if odd else "x"] * 3}).told()
    assert one.kind == "category"
    assert ("seems to hold dates" in one.remark) is odd


def test_what_is_constant_stays_where_nothing_is_left_out() -> None:
    plan, frame = fit(["constant", "all missing", "key", "counter"])
    assert [one.features for one in plan.told()] == [1, 2, 1, 1]
    assert "constant" in told(plan, "constant").remark
    assert "nearly every row" in told(plan, "key").remark
    assert_array_equal(plan.transform(frame)[:, 0], 0)
    plan, _ = fit(["shops"], most_one_hot=20)
    one = told(plan, "shops")
    assert (one.levels, one.kept, one.rare) == (1000, 20, 980)
    assert "only the 20 most frequent" in one.remark
    assert "20 of 1000 categories; 980 rare ones (1460 rows) are taken together" in one.became
    one_rare = {"town": [*["Bonn"] * 5, *["Ulm"] * 5, "Trier"]}
    (town,) = ColumnPlan.fit(one_rare).told()
    said = "2 of 3 categories; the rare one (1 row) is taken together with unknown ones"
    assert said in town.became


@pytest.mark.parametrize("library", ["pandas", "array"])
def test_duplicate_names(library: str) -> None:
    X, names = np.array([[1.0, 2.0], [3.0, 4.0]]), ["a", "a"]
    framed = library != "array"
    given = pytest.importorskip(library).DataFrame(X, columns=names) if framed else X
    with pytest.raises(DataError, match="two columns are called 'a': rename one"):
        ColumnPlan.fit(given, names=names)
    with pytest.raises(DataError, match="two columns are called '1'"):
        ColumnPlan.fit({1: [1.0], "1": [2.0]})


def test_arrays_of_text() -> None:
    X = np.array([["1.5", "a"], ["2", "b"], ["3", "a"]])
    plan = ColumnPlan.fit(X, min_count=1)
    assert [one.kind for one in plan.told()] == ["number", "category"]
    assert_array_equal(plan.transform([["2", "b"]]), plan.transform(X)[1:2])
    assert_array_equal(plan.transform([[2.0, "b"]]), plan.transform(X)[1:2])


# --- overrides ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind", "became"),
    [
        ("key", "drop", "left out"),
        ("int codes", "category", "one-hot: 3 categories"),
        ("int codes", "one-hot", "one-hot: 3 categories"),
        ("number", "robust", "scaled by quartiles and clipped smoothly"),
        ("iso", "category", "one-hot: 100 of"),
        ("bool", "number", "standardised"),
        ("text", "embedded", "codes for an embedding: 3 categories"),
        ("number", "auto", "standardised"),
    ],
)
def test_what_was_asked_for(column: str, kind: str, became: str) -> None:
    plan, frame = fit([column, "text"], overrides={column: kind})
    one = told(plan, column)
    assert one.became.startswith(became)
    assert one.why == ("holds numbers" if kind == "auto" else "as asked for")
    plan.transform(frame)


def test_numbers_as_text_are_numbers_on_request() -> None:
    plan = ColumnPlan.fit({"n": ["1", "2", None], "c": ["x"] * 3}, overrides={"n": "number"})
    assert_array_equal(plan.transform({"n": ["1"], "c": ["x"]})[0, 0], -1)


@pytest.mark.parametrize("by", [["zip"], [1], [False, True], np.array([False, True])])
def test_numeric_codes_by_declaration(by: Any) -> None:
    X = {"a": [1, 2, 3, 4], "zip": [10, 10, 20, 20]}
    plan = ColumnPlan.fit(X, categorical_features=by)
    assert plan.feature_names == ("a", "zip=10", "zip=20", "zip=(other)")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"overrides": {"nmber": "drop"}}, DataError, "no column 'nmber'; did you mean 'number'"),
        ({"overrides": {"number": "drp"}}, SpecError, "'number', 'drp': did you mean 'drop'"),
        ({"overrides": {"number": "date"}}, DataError, "a date is needed"),
        ({"overrides": {"number": "boolean"}}, DataError, "true or false is needed"),
        ({"overrides": {"text": "number"}}, DataError, "holds the text .* at row 0, column 'text'"),
        ({"overrides": {"number": "drop", "text": "drop"}}, DataError, "no column is left"),
        ({"numbers": "robst"}, SpecError, "did you mean 'robust'"),
        ({"bins": -1}, SpecError, "bins"),
        ({"categorical_features": "all"}, SpecError, "must be 'auto', or a list"),
        ({"categorical_features": ["txet"]}, DataError, "no column 'txet'"),
        ({"categorical_features": [True]}, DataError, "1 times true or false"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        fit(["number", "text"], **options)


# --- new rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("iso", "31.12.2020", "X holds the text '31.12.2020' at row 0, column 'iso' .* a date is"),
        ("iso", 5.0, "X holds the number 5 at row 0, column 'iso' .* a date is needed"),
        ("number", "many", "X holds the text 'many' at row 0, column 'number' .* held numbers"),
        ("bool", "perhaps", "X holds 'perhaps' at row 0, column 'bool' .* true or false is needed"),
        ("bool", 2, "X holds '2' at row 0, column 'bool'"),
        ("number", np.inf, "X has an infinite value at row 0, column 'number'"),
    ],
)
def test_wrong_cells(column: str, value: Any, says: str) -> None:
    plan, _ = fit(["iso", "number", "bool"])
    row = {name: [CELLS[name][0]] for name in plan.columns}
    with pytest.raises(DataError, match=says):
        plan.transform(row | {column: [value]})


def test_other_columns() -> None:
    plan, _ = fit(["number", "key", "text"], **COMPACT)
    row: dict[str, list[Any]] = {"number": [1.0], "text": ["clerk"]}
    assert plan.transform(row).shape == (1, 4)  # what was left out may be missing
    with pytest.raises(DataError, match="the data lack 'text' and have 'txt' besides"):
        plan.transform({"number": [1.0], "txt": ["clerk"]})
    with pytest.raises(DataError, match="have 'more' besides"):
        plan.transform(row | {"more": [1]})


def test_words_for_true_and_false_are_booleans() -> None:
    plan = ColumnPlan.fit({"b": ["True", "false", None], "n": [0.0, 1, 2]})
    assert told(plan, "b").kind == "boolean"
    Z = plan.transform({"b": [True, "FALSE", None], "n": [0.0, 0, 0]})
    assert Z[:, 1:].tolist() == [[1, 0], [-1, 0], [0, 1]]
    assert ColumnPlan.fit({"b": ["true", "maybe"] * 2}).told()[0].kind == "category"


def test_booleans_may_come_as_text() -> None:
    plan, _ = fit(["bool", "number"])
    Z = plan.transform({"bool": ["True", "false", None], "number": [0.0, 0, 0]})
    assert Z[:, 1].tolist() == [1, -1, 0]


# --- what is told -------------------------------------------------------------------------------


def test_hostile_names_are_escaped_where_they_are_shown() -> None:
    name = "a'\"<b>*/[red]\x1b[2J\u202e\n"
    plan = ColumnPlan.fit({name: [1.0, 2.0], "c": ["x\x07", "x\x07"]})
    table = table_of(plan.told())
    assert len(table.splitlines()) == 3
    assert all(line.isprintable() for line in table.splitlines())
    assert r"\x1b[2J\u202e\n" in table
    assert plan.told()[0].column == name
    assert json.loads(json.dumps([one.to_dict() for one in plan.told()]))[0]["column"] == name
    assert shown("y" * 200) == "y" * 57 + "..."
