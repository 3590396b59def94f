"""Text tables as the world writes them: read as numbers, or one sentence that names the option."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from nbmlp.cli.app import run
from nbmlp.data import Table, passes, read
from nbmlp.data.layout import Dialect
from nbmlp.data.numerals import read_number
from nbmlp.data.origin import Origin
from nbmlp.data.quick import Packed
from nbmlp.data.table import MISSING_MARKS, is_missing
from nbmlp.errors import DataError
from nbmlp.server.intake.reader import RefusedFileError, read_upload
from nbmlp.server.rows import load_rows
from nbmlp.server.settings import ServerSettings


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columns(folder: Path, content: str | bytes, **options: Any) -> dict[str, list[Any]]:
    """Name -> values of what is read."""
    data = read(write(folder, content), **options)
    cells = data.X.columns.values() if isinstance(data.X, Table) else data.X.T
    return {name: c.tolist() for name, c in zip(data.feature_names, cells, strict=True)}


def refusal(folder: Path, content: str | bytes, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(write(folder, content), **options)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text.removeprefix(str(folder / "t.csv"))


# --- decimal marks and thousands ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\n1,5;x\n2,25;y\n", [1.5, 2.25]),
        ("a;b\n1.234,5;x\n-7,25;y\n", [1234.5, -7.25]),
        ("a;b\n1.234;2,5\n950;3,5\n", [1234, 950]),
        ("a\tb\n1.234.567,5\tx\n2\ty\n", [1234567.5, 2]),
        ('a,b\n"1,234",2.5\n"1,000,000",3\n', [1234, 1e6]),
        ('a,b\n"1,234",x\n950,y\n', [1234, 950]),
        ('a,b\n"3,50","4,25"\n"1.250,00",5\n', [3.5, 1250]),
        ("a;b\n1 234,5;x\n2 345 678;y\n", [1234.5, 2345678]),
        ("a;b\n1\u202f234,5;x\n1\u00a0000;y\n", [1234.5, 1000]),
        ("a,b\n1'234.50,x\n12'345,y\n", [1234.5, 12345]),
        ('a,b\n"12,34,567",x\n"1,00,000.5",y\n', [1234567, 100000.5]),
        ("a;b\n12 %;x\n7%;y\n", [12, 7]),
        ("a;b\n€ 3,50;x\n1.234,50 €;y\n", [3.5, 1234.5]),
        ("a,b\n$4.99,x\n0,y\n-$1.50,z\n", [4.99, 0, -1.5]),
        ("a,b\nUSD 5,x\nUSD 1200.50,y\n", [5, 1200.5]),
        ("a,b\n\u22125,x\n3,y\n", [-5, 3]),
        ("a;b\n1,5;x\n;y\nNA;z\n", [1.5, np.nan, np.nan]),
        ("a,b\nnan,x\n3 %,y\n", [np.nan, 3]),
        ("a;b\n1,5e-3;x\n2;y\n", [0.0015, 2]),
    ],
)
def test_numbers_of_this_world(tmp_path: Path, text: str, expected: list[float]) -> None:
    assert_array_equal(columns(tmp_path, text)["a"], expected)


def test_one_column_decides_for_all(tmp_path: Path) -> None:
    comma = columns(tmp_path, "a;b\n1.234;2,5\n2.000;3\n")
    point = columns(tmp_path, "a;b\n1.234;2.5\n2.000;3\n")
    assert (comma["a"], point["a"]) == ([1234, 2000], [1.234, 2])
    far = "a;b\n" + "1.234;x\n" * 50 + "0.5;y\n"
    assert columns(tmp_path, far)["a"][-2:] == [1.234, 0.5]
    assert columns(tmp_path, far.replace("0.5", "0,5"))["a"][-2:] == [1234, 0.5]


@pytest.mark.parametrize("value", ["1,234", "1.234", "-12.345"])
def test_what_nothing_decides_is_asked(tmp_path: Path, value: str) -> None:
    text = f"a;b\n5;x\n{value};y\n"
    said = refusal(tmp_path, text)
    assert said.startswith(f", line 3: column 'a' has {value!r}")
    assert "decimal=',' or decimal='.' (--decimal)" in said
    digits = value.replace(",", "").replace(".", "")
    for mark, number in ((value[-4], int(digits) / 1000), (".,".strip(value[-4]), int(digits))):
        assert columns(tmp_path, text, decimal=mark)["a"] == [5, number]


def test_columns_that_contradict_are_named(tmp_path: Path) -> None:
    text = "a;b;c\n1;x;7\n2,5;y;1.5\n"
    said = refusal(tmp_path, text)
    assert said.startswith(": column 'a' has '2,5' (line 3) and column 'c' has '1.5' (line 3): say")
    assert columns(tmp_path, text, decimal=",") == {
        "a": [1, 2.5], "b": ["x", "y"], "c": ["7", "1.5"],
    }  # fmt: skip
    assert columns(tmp_path, text, decimal=".")["c"] == [7, 1.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a;b\n3,50;1\non request;2\n4,50;3\n", ", line 3: column 'a' has 'on request' among num"),
        ("a;b\n1,5;1\n2.5;2\n3,5;3\n", ", line 3: column 'a' has '2.5' among numbers such as"),
        ("a,b\n$3,1\n(4),2\n$5,3\n", ", line 3: column 'a' has '(4)' among numbers such as '$3'"),
        ("a,b\n3 %,1\n0.04,2\n", ": column 'a' has '3 %' (line 2) and '0.04' (line 3): bring"),
        ("a,b\n3 €,1\n4 $,2\n", ": column 'a' has '3 €' (line 2) and '4 $' (line 3): bring all"),
    ],
)
def test_no_silent_category(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(tmp_path, text).startswith(says)


def test_who_says_the_mark_may_have_such_text(tmp_path: Path) -> None:
    text = "a;b\n3,50;1\non request;2\n4,50;3\n"
    for mark in ",.":
        assert columns(tmp_path, text, decimal=mark)["a"] == ["3,50", "on request", "4,50"]


@pytest.mark.parametrize(
    "values",
    [
        ["12.05.2024", "01.06.2024"],
        ["1.2.3", "1.10.0"],
        ["170 123 456", "171 555 000"],
        ["+49 170 123 456", "+49 171 123"],
        ["192.168.100.100", "192.168.100.101"],
        ["030/12 34", "0170 1234567"],
        ["01,02", "03,04"],
        ["1_000", "2_000"],
        ["12:30", "13:45"],
        ["AB 123", "XYZ 5"],
        ["1,2,3", "4,5"],
    ],
)
def test_these_are_no_numbers(tmp_path: Path, values: list[str]) -> None:
    for beside in ("1,5", "7"):
        text = "a;b\n" + "".join(f"{value};{beside}\n" for value in values)
        assert columns(tmp_path, text)["a"] == values


def test_zeros_in_front_are_read_as_before(tmp_path: Path) -> None:
    """Plain digits are numbers; the new rules make no numbers out of them, and lose none."""
    assert columns(tmp_path, "a;b\n00123;1,5\n00124;2\n")["a"] == [123, 124]


def test_a_first_line_of_numbers_is_no_header(tmp_path: Path) -> None:
    assert columns(tmp_path, "1,5;2,5\n3,5;4\n") == {"x0": [1.5, 3.5], "x1": [2.5, 4]}
    assert columns(tmp_path, "5 %;a\n7 %;b\n") == {"x0": [5, 7], "x1": ["a", "b"]}
    assert columns(tmp_path, "25%,75%\n3,4\n") == {"25%": [3], "75%": [4]}


# --- encodings ----------------------------------------------------------------------------------

TEXT = "Größe;Stadt\n1,5;Köln\n2,5;Łódź\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
)
def test_marks_name_the_encoding(tmp_path: Path, encoding: str) -> None:
    raw = TEXT.encode(encoding)
    expected = {"Größe": [1.5, 2.5], "Stadt": ["Köln", "Łódź"]}
    if encoding.endswith("e") and encoding != "utf-8":
        assert f"encoding='{encoding}' (--encoding {encoding})" in refusal(tmp_path, raw)
        assert columns(tmp_path, raw, encoding=encoding) == expected
    else:
        assert columns(tmp_path, raw) == expected


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    text = "Ort;n\nBonn;1\nKöln;2\n"
    said = refusal(tmp_path, text.encode("cp1252"))
    assert said == (
        ", line 3: the byte 0xF6 is not UTF-8: name the file's encoding, most likely"
        " encoding='cp1252' (--encoding cp1252), in which this is 'Köln'."
    )
    assert columns(tmp_path, text.encode("cp1252"), encoding="Windows-1252")["Ort"][1] == "Köln"
    assert columns(tmp_path, text.encode("latin-1"), encoding="latin1")["Ort"][1] == "Köln"
    far = ("Ort;n\n" + "Bonn;1\n" * 100_000 + "Köln;2\n").encode("cp1252")
    assert refusal(tmp_path, far).startswith(", line 100002: the byte 0xF6")


@pytest.mark.parametrize(
    ("raw", "encoding", "says"),
    [
        (b"a,b\n1,\xc3\n", "utf-8", ", line 2: the byte 0xC3 is not UTF-8: name the file's enc"),
        (b"a,b\n1,\x81\n", None, ", line 2: the byte 0x81 is not UTF-8: name the file's encod"),
        (b"a,b\n1,\x81\n", "cp1252", ", line 2: the byte 0x81 is not cp1252"),
        ("a,b\n1,2\n".encode("utf-16"), "cp1252", " begins with the mark of utf-16-le: leave enc"),
        ("a,b\n1,2\n".encode("utf-16-le"), "utf-16", " lacks the mark that tells the order of b"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], None, ", line 2: the byte 0x0A is not utf-16-le"),
        (b"a,b\n1,x\n" * 99 + b"1,\0\n", None, ", line 199: a zero byte, which is no text"),
    ],
)
def test_bad_bytes(tmp_path: Path, raw: bytes, encoding: str | None, says: str) -> None:
    assert refusal(tmp_path, raw, encoding=encoding).startswith(says)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("decimal", ";"), ("decimal", ""), ("encoding", "klingon"), ("encoding", "punycode"),
        ("encoding", "rot13"), ("encoding", "a\0b"), ("separator", ""), ("separator", "::"),
        ("separator", "\n"), ("separator", '"'), ("separator", "x"), ("separator", "."),
    ],
)  # fmt: skip
def test_options_that_cannot_be(option: str, value: str) -> None:
    with pytest.raises(DataError, match=f"^{option}="):
        Dialect(**{option: value})


# --- separators ---------------------------------------------------------------------------------


def test_separators(tmp_path: Path) -> None:
    expected = {"a": [1.5, 2], "b": ["x", "y"]}
    assert columns(tmp_path, "a|b\n1.5|x\n2|y\n") == expected
    assert columns(tmp_path, "sep=^\r\na^b\r\n1.5^x\r\n2^y\r\n") == expected
    assert columns(tmp_path, "a^b\n1.5^x\n2^y\n", separator="^") == expected
    assert columns(tmp_path, "a\tb\n1.5\tx\n2\ty\n", separator="tab") == expected
    assert columns(tmp_path, "v\n1,5\n2,5\n", decimal=",") == {"v": [1.5, 2.5]}
    assert "(--separator)" in refusal(tmp_path, "a,b\n1,5,2\n")
    assert read(write(tmp_path, "a\u2028b;c\n1;2\n")).X.shape == (1, 2)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_BLOCK", 200)
    monkeypatch.setattr(passes, "_LARGE", 0)


# --- any table in any dialect -------------------------------------------------------------------


def shown(value: float, decimal: str, thousands: str, digits: int, unit: str) -> str:
    text = f"{value:,.{digits}f}".replace(",", "T").replace(".", decimal)
    text = text.replace("T", thousands)
    return f"{text} {unit}" if unit == "%" else f"{unit}{text}"


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, dict[str, list[Any]], dict[str, Any]]:
    """A file, what it holds, and options that it needs."""
    decimal = draw(st.sampled_from(".,"))
    others = [" ", "'", "", "," if decimal == "." else "."]
    thousands = draw(st.sampled_from(others))
    separator = draw(st.sampled_from(";\t|,"))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-be"]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    rows = draw(st.integers(2, 30))
    values: dict[str, list[Any]] = {}
    cells: dict[str, list[str]] = {}
    for name, digits, unit in (("a", 2, ""), ("b", 1, "%"), ("c", 2, "€"), ("d", 0, "")):
        scaled = st.integers(-(10**8), 10**8).map(lambda n, digits=digits: n / 10**digits)
        column = draw(st.lists(scaled, min_size=rows, max_size=rows))
        column[0] += 0.5 if digits else 0  # something has to settle the mark
        column = [round(value, digits) for value in column]
        missing = draw(st.lists(st.integers(1, rows - 1), max_size=3)) if name == "b" else []
        texts = [shown(value, decimal, thousands, digits, unit) for value in column]
        values[name] = [np.nan if k in missing else value for k, value in enumerate(column)]
        cells[name] = ["" if k in missing else text for k, text in enumerate(texts)]
    word = st.text("aböéß x\n;,\"|'", min_size=1, max_size=9).map(lambda t: f"w{t}w")
    values["w"] = cells["w"] = draw(st.lists(word, min_size=rows, max_size=rows))
    writer = csv.writer(out := io.StringIO(), delimiter=separator, lineterminator=ending)
    writer.writerow(cells)
    writer.writerows(zip(*cells.values(), strict=True))
    options: dict[str, Any] = {"encoding": encoding} if encoding in ("cp1252", "utf-16-be") else {}
    if any("\n" in text for text in values["w"][:20]):  # the guess looks at lines
        options["separator"] = separator
    return out.getvalue().encode(encoding), values, options


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_any_table_in_any_dialect(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[bytes, dict[str, list[Any]], Any]
) -> None:
    raw, values, options = table
    words = values.pop("w")
    for size, large in ((1 << 19, 8), (150, 0)):  # in one block, and in many by polars
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(passes, "_BLOCK", size)
            patch.setattr(passes, "_LARGE", large)
            found = columns(tmp_path_factory.mktemp("any"), raw, **options)
        assert found.pop("w") == words
        for name, column in values.items():
            assert_array_equal(found[name], column, err_msg=name)


def test_a_column_of_thousands_beside_decimal_commas(tmp_path: Path, small_blocks: None) -> None:
    rows = [f"{k}.{k:03}\t{k},5\tx\n" for k in range(100, 300)]
    found = columns(tmp_path, "a\tb\tc\n" + "".join(rows))
    assert found["a"] == [1001 * k for k in range(100, 300)]


# --- polars behind our checks -------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    text=st.sampled_from([*MISSING_MARKS])
    | st.text("0123456789.eE+-_ infaNxX\t\u00a0\u0661", max_size=8)
    | st.floats().map(repr)
    | st.floats(width=32).map(repr)
)
def test_polars_reads_no_number_otherwise_than_python(text: str) -> None:
    import polars as pl

    values = Packed(pl.Series([text], dtype=pl.String)).floats(".")
    if values is not None:
        assert "_" not in text
        assert_array_equal(values, [np.nan if is_missing(text) else float(text)])


LINES = [
    "1,x,2.5", "2,,1e3", '3,"y,y",7', '4,"say ""no""",8', '5,5" nail,9', "6, z ,?", '"7","ö",10',
    "", "8,\u2028,1", '9,"two\nlines",2', "10,NA,nan", '11,"",3', "00012,a_b,4", "13,'q',5\r",
]  # fmt: skip


@pytest.mark.parametrize("zero", ["01,5", "-01,5", "1,05", "00", "0,5", "10,01e-05", "x"])
def test_zeros_in_front_of_commas(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, zero: str
) -> None:
    text = "a;b\n" + "2,5;x\n" * 60 + f"{zero};y\n"
    with_polars = columns(tmp_path, text, decimal=",")
    monkeypatch.setattr("nbmlp.data.quick._polars", lambda: None)
    assert columns(tmp_path, text, decimal=",") == with_polars
    assert (with_polars["a"][0] == "2,5") == (zero in ("01,5", "-01,5", "x"))


@pytest.mark.parametrize("seed", range(30))
def test_with_and_without_polars(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    body = "\n".join(rng.choice(LINES[: 1 + seed % len(LINES)]) for _ in range(60))
    with_polars = columns(tmp_path, f"n,t,v\n{body}\n")
    monkeypatch.setattr("nbmlp.data.quick._polars", lambda: None)
    without = columns(tmp_path, f"n,t,v\n{body}\n")
    monkeypatch.setattr("nbmlp.data.fields.counted", lambda *given: None)
    plainly = columns(tmp_path, f"n,t,v\n{body}\n")
    for name in ("n", "t", "v"):
        assert_array_equal(with_polars[name], plainly[name])
        assert_array_equal(without[name], plainly[name])


def naive(text: str) -> list[list[str]] | None:
    """Fields of the lines that are not blank, or None where the table is broken."""
    lines = csv.reader(io.StringIO(text + "\nx", newline=""))
    try:
        found = [row for row in lines if len(row) > 1 or (row and row[0].strip())]
    except csv.Error:
        return None
    whole = found.pop() == ["x"] and {*map(len, found)} == {len(found[0])}
    return found if whole and "\0" not in text else None


@pytest.mark.parametrize("part", range(25))
def test_damaged_files_are_refused(tmp_path: Path, small_blocks: None, part: int) -> None:
    """What polars fills, renames or cuts in silence."""
    rng = random.Random(part)
    words = ["Bonn", "Rome", "", "é", '"a,b"']
    lines = ["k,v,w"] + [f"{i},{i / 7:.3f},{words[i % 5]}" for i in range(60)]
    for _ in range(25):
        damaged = list("\n".join(lines) + "\n")
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(30, len(damaged))
            word = rng.choice([",", "\n", '"', "\0", ",,,", "\r", "", ";", "x", "1"])
            damaged[at : at + rng.choice((0, 1, 3))] = word
        text = "".join(damaged)
        expected = naive(text)
        try:
            found = columns(tmp_path, text, separator=",", header=True, decimal=".")
        except DataError:
            found = None
        assert (found is None) == (expected is None), text
        if found is None or expected is None:
            continue
        assert len(found["k"]) == len(expected) - 1
        for j, column in enumerate(found.values()):
            cells = [row[j].strip() for row in expected[1:]]
            assert [_cell(c) for c in cells] == [_cell(c) for c in column]


def _cell(value: object) -> object:
    if value is None or value == "" or value != value:
        return None
    number = read_number(str(value), ".")
    return str(value) if number is None else number.value


# --- all ways in --------------------------------------------------------------------------------

GERMAN = "Fläche;Ort;Miete\n" + "".join(
    f"{20 + k},5;{'Köln' if k % 2 else 'Bonn'};€ {300 + 7 * k},50\n" for k in range(60)
)


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GERMAN.replace(";", "^").encode("cp1252"), "de.csv")
    train = ["train", "--data", "de.csv", "--target", "Miete", "--hidden", "4", "--epochs", "2"]
    assert run([*train, "--quiet"]) == 1
    assert "line 1: the byte 0xE4" in (said := capsys.readouterr().err)
    assert "--encoding cp1252" in said
    told = ["--encoding", "cp1252", "--separator", "^", "--decimal", ","]
    assert run([*train, "--quiet", "--out", "m.safetensors", *told]) == 0
    english = GERMAN.replace(",", ".").replace("€ ", "")
    write(tmp_path, english.replace(";", ","), "en.csv")
    model = ["m.safetensors", "--data"]
    assert run(["predict", *model, "de.csv", *told]) == 0
    german = capsys.readouterr().out
    assert run(["predict", *model, "en.csv"]) == 0
    assert capsys.readouterr().out == german
    why = ["why", "--data", "de.csv", "--target", "Miete", *told, "--seconds", "0.1", "--quiet"]
    assert run([*why, "--hidden", "4", "--epochs", "2"]) in (0, 1)
    assert capsys.readouterr().err == ""


def test_text_stays_text_in_later_rows(tmp_path: Path) -> None:
    train = write(tmp_path, "code;n\n1,5;1\nA;2\nB;3\nC;2\n", "train.csv")
    origin = Origin.of(read(train, columns=["code"], target="n"))
    assert origin.text == ("code",)
    later = origin.read(write(tmp_path, "code;n\n1,5;1\n2,5;2\n", "later.csv"))
    assert isinstance(later.X, Table)
    assert later.X["code"].tolist() == ["1,5", "2,5"]
    noted = Origin.noted({"origin": {**origin.to_dict(), "text": ["code"]}})
    assert noted == origin
    old = origin.to_dict()
    del old["text"]  # a model of an earlier version
    assert Origin.noted({"origin": old}) is not None


def upload(folder: Path, raw: bytes, dialect: Dialect | None = None, **limits: int) -> Table:
    settings = ServerSettings(data_dir=folder, parse_seconds=60, **limits)
    source, out = write(folder, raw, "raw"), folder / "out"
    read_upload(source, out, "de.csv", settings, lambda path, size: None, dialect)
    X = load_rows(folder / "out").X
    assert isinstance(X, Table)
    return X


def test_server(tmp_path: Path) -> None:
    raw = GERMAN.encode("cp1252")
    with pytest.raises(RefusedFileError, match=r"^de\.csv, line 1: .*encoding='cp1252'"):
        upload(tmp_path, raw)
    X = upload(tmp_path, raw, Dialect(encoding="cp1252"))
    assert X["Fläche"][:2].tolist() == [20.5, 21.5]
    assert X["Miete"][:2].tolist() == [300.5, 307.5]
    with pytest.raises(RefusedFileError, match=r"line 2: column 'a' has '1\.234'.*decimal=','"):
        upload(tmp_path, b"a;b\n1.234;x\n")
    assert upload(tmp_path, b"a;b\n1.234;x\n", Dialect(decimal=","))["a"].tolist() == [1234]
    with pytest.raises(RefusedFileError, match="utf-16-le"):
        upload(tmp_path, "a;b\n1;x\n".encode("utf-16-le"))
    marked = upload(tmp_path, GERMAN.encode("utf-16"))
    assert marked["Ort"][:2].tolist() == ["Bonn", "Köln"]


def test_server_with_little_memory_reads_without_polars(tmp_path: Path) -> None:
    raw = "a;b;c\n" + "1,5;Köln;2\n" * 250_000  # large enough for polars
    X = upload(tmp_path, raw.encode(), parse_memory_mb=192)
    assert X["a"].tolist() == [1.5] * 250_000
