"""Files in: each format, what its array becomes, and one sentence for each bad file."""

from __future__ import annotations

import builtins
import gzip
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy.io import savemat

from nbmlp.data import Dataset, Table, read
from nbmlp.data import passes as passes_module
from nbmlp.errors import DataError

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: NDArray[Any]) -> bytes:
    code = IDX_CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def matrix(data: Dataset) -> NDArray[Any]:
    assert isinstance(data.X, np.ndarray)
    return data.X


def table(data: Dataset) -> Table:
    assert isinstance(data.X, Table)
    return data.X


# --- IDX ----------------------------------------------------------------------------------------


@pytest.fixture
def mnist_like(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, rows in (("train", 7), ("t10k", 3)):
        images = rng.integers(0, 256, (rows, 4, 5), dtype=np.uint8)
        labels = rng.integers(0, 10, rows, dtype=np.uint8)
        write(tmp_path / f"{part}-images-idx3-ubyte.gz", idx_bytes(images))
        write(tmp_path / f"{part}-labels-idx1-ubyte", idx_bytes(labels))
    return tmp_path


def test_idx_folder_has_train_and_test(mnist_like: Path) -> None:
    data = read(mnist_like)
    assert matrix(data).shape == (7, 20)
    assert matrix(data).dtype == np.uint8
    assert data.target_names == ("label",)
    assert data.test is not None
    assert matrix(data.test).shape == (3, 20)
    assert len(data.feature_names) == 20


@pytest.mark.parametrize("kind", IDX_CODES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_types(tmp_path: Path, kind: str, suffix: str) -> None:
    array = np.arange(12, dtype=kind).reshape(3, 4)
    data = read(write(tmp_path / f"some-ubyte{suffix}", idx_bytes(array)))
    assert_array_equal(matrix(data), array)


def test_unpacked_idx_is_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "a-ubyte", idx_bytes(np.zeros((3, 4), dtype=np.uint8)))
    base: Any = matrix(read(path))
    while not isinstance(base, np.memmap):
        base = base.base
        assert base is not None, "the array is not backed by a memory map"


@pytest.mark.parametrize("name", ["a-ubyte", "a-ubyte.gz"])
@pytest.mark.parametrize(("change", "says"), [(-1, "truncated"), (1, "after its end")])
def test_idx_of_another_size(tmp_path: Path, name: str, change: int, says: str) -> None:
    raw = idx_bytes(np.zeros((3, 4), dtype=np.uint8))
    path = write(tmp_path / name, raw[:change] if change < 0 else raw + b"\0")
    with pytest.raises(DataError, match=says):
        read(path)


def test_idx_header_that_promises_the_impossible(tmp_path: Path) -> None:
    raw = b"\0\0\x08\x02" + b"\xff" * 8
    for name in ("a-ubyte", "a-ubyte.gz"):
        with pytest.raises(DataError, match=r"truncated.* promises 18446744065119617025 bytes"):
            read(write(tmp_path / name, raw))


def test_idx_header_cut_short(mnist_like: Path) -> None:
    write(mnist_like / "train-images-idx3-ubyte.gz", b"\0\0\x08\x03\0\0")
    with pytest.raises(DataError, match="truncated within its header"):
        read(mnist_like)


def test_idx_wrong_magic(mnist_like: Path) -> None:
    write(mnist_like / "train-images-idx3-ubyte.gz", b"\0\0\x07\x03" + bytes(40))
    with pytest.raises(DataError, match="not an IDX file: its first bytes are 00 00 07 03"):
        read(mnist_like)


def test_idx_folder_without_labels(mnist_like: Path) -> None:
    (mnist_like / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no t10k-labels"):
        read(mnist_like)


def test_idx_labels_of_another_length(mnist_like: Path) -> None:
    write(mnist_like / "train-labels-idx1-ubyte", idx_bytes(np.zeros(6, dtype=np.uint8)))
    with pytest.raises(DataError, match="X has 7 rows and y 6"):
        read(mnist_like)


def test_folder_without_known_files(tmp_path: Path) -> None:
    write(tmp_path / "table.csv", "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"holds no IDX files .* it holds table\.csv"):
        read(tmp_path)


def test_prepared_data_refuse_columns(mnist_like: Path) -> None:
    assert len(read(mnist_like, target="label")) == 7
    for options in ({"target": "digit"}, {"columns": [0]}, {"variables": "X"}):
        with pytest.raises(DataError, match="comes with its inputs and its target 'label'"):
            read(mnist_like, **options)  # type: ignore[arg-type]


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_bytes_in_text_stay_bytes(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", "label,p0,p1\r\n700,0,255\r\n3,7,9\r\n")
    data = read(path, target="label")
    assert matrix(data).dtype == np.uint8
    assert_array_equal(matrix(data), [[0, 255], [7, 9]])
    assert data.y is not None
    assert data.y.dtype == np.int64
    assert_array_equal(data.y, [700, 3])
    assert data.feature_names == ("p0", "p1")
    assert data.target_names == ("label",)


@pytest.mark.parametrize("value", ["256", "-1", "0.5", ""])
def test_other_numbers_become_float64(tmp_path: Path, value: str) -> None:
    data = read(write(tmp_path / "t.csv", f"a,b,c\n1,2,3\n1,{value},3\n"))
    assert data.y is None
    assert matrix(data).dtype == np.float64
    expected = float(value) if value else np.nan
    assert_array_equal(matrix(data), [[1, 2, 3], [1, expected, 3]])


def test_a_late_float_changes_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes_module, "_BLOCK", 64)
    lines = ["a,b", *(f"{i % 256},{i % 7}" for i in range(500)), "1.5,2"]
    data = read(write(tmp_path / "t.csv", "\n".join(lines)))
    expected = [(i % 256, i % 7) for i in range(500)] + [(1.5, 2)]
    assert matrix(data).dtype == np.float64
    assert_array_equal(matrix(data), expected)


def test_text_that_comes_late_is_kept_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes_module, "_BLOCK", 64)
    lines = ["code,n,y", *(f"{i:03d},{i},0" for i in range(200)), "A1,5,x", "007,?,1"]
    data = read(write(tmp_path / "t.csv", "\n".join(lines)), target="y")
    X = table(data)
    assert X["code"][7] == "007"
    assert X["code"][200] == "A1"
    assert X["n"].dtype == np.float64
    assert np.isnan(X["n"][201])
    assert data.y is not None
    assert list(data.y[-3:]) == ["0", "x", "1"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('1,"2\n', 3),
        ('1,"2', 3),
        ('1,x\n2,"y\n3,z\n', 4),
        ('1,"a\nb"\n2,"y ""z""\n3,z\n', 5),
        ('"1\n",2\n3,"a\n', 5),
        ('1,"a\n","b\n', 4),
    ],
)
def test_a_quote_that_is_never_closed(rows: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n5,6\n" + rows)
    with pytest.raises(DataError, match=f", line {line}: a quote begins here and is never closed"):
        read(path, target="b")


def test_quotes_that_are_closed_in_time(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('a,b\n1,"x\ny"\n2,5" nail\n3,"say ""no"""')
    assert read(path, target="b").y.tolist() == ["x\ny", '5" nail', 'say "no"']


def test_missing_marks_and_quotes(tmp_path: Path) -> None:
    text = 'age,job,y\n39, "Clerk, old",1\n?,?,0\n,"Line\nbreak",1\n50,NA,0\n'
    data = read(write(tmp_path / "t.csv", text.replace(', "', ',"')), target="y")
    assert_array_equal(table(data)["age"], [39, np.nan, np.nan, 50])
    assert table(data)["job"].tolist() == ["Clerk, old", None, "Line\nbreak", None]


@pytest.mark.parametrize(
    ("text", "names", "shape"),
    [
        ("a,b\n1,2\n", ("a", "b"), (1, 2)),
        ("1,2\n3,4\n", ("x0", "x1"), (2, 2)),
        ("label,0,1\n5,6,7\n", ("label", "0", "1"), (1, 3)),
        ("# a comment\n# a;b\n1;2\n", ("a", "b"), (1, 2)),
        ("# a comment\n\n# another\na;b\n1;2\n", ("a", "b"), (1, 2)),
        ("# a comment\n1;2\n", ("x0", "x1"), (1, 2)),
        ("1\t2\t3\n\n4\t5\t6\n", ("x0", "x1", "x2"), (2, 3)),
        ("1 2  3\n4 5 6", ("x0", "x1", "x2"), (2, 3)),
        ("\ufeffa,b\n1,2\n", ("a", "b"), (1, 2)),
        (",b\n1,2\n", ("column0", "b"), (1, 2)),
        ("v\n1\n\n2\n", ("v",), (2, 1)),
    ],
)
def test_layouts(tmp_path: Path, text: str, names: tuple[str, ...], shape: tuple[int, int]) -> None:
    data = read(write(tmp_path / "t.txt", text))
    assert data.feature_names == names
    assert data.X.shape == shape


def test_header_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "0,1\n5,6\n7,8\n")
    assert len(read(path)) == 3
    assert read(path, header=True).feature_names == ("0", "1")
    words = write(tmp_path / "w.csv", "red,blue\ngreen,red\n")
    assert len(read(words)) == 1
    assert len(read(words, header=False)) == 2
    assert read(path, separator=";", header=False).X.shape == (3, 1)


def test_names_with_digits_are_not_numbers(tmp_path: Path) -> None:
    assert table(read(write(tmp_path / "t.csv", "id,v\n1_0,2\n10,3\n")))["id"].tolist() == [
        "1_0",
        "10",
    ]


def test_columns_and_targets(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b,c,d\n1,2,3,4.5\n5,6,7,8\n")
    data = read(path, target=["d", 0], columns=["c", "b"])
    assert_array_equal(matrix(data), [[3, 2], [7, 6]])
    assert data.y is not None
    assert_array_equal(data.y, [[4.5, 1], [8, 5]])
    assert data.target_names == ("d", "a")
    assert read(path, target="-1").target_names == ("d",)
    assert read(path, target="e", require_target=False).y is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "pricf"}, r"no column 'pricf': did you mean 'price'\?"),
        ({"target": "zzz"}, "its columns are a, b, price"),
        ({"target": 1.5}, "no column 1.5: its columns are"),
        ({"target": 3}, "no column 3: its 3 columns are 0 to 2"),
        ({"target": "a", "columns": ["a", "b"]}, "'a' is both input and target"),
        ({"target": ["a", "b", "price"]}, "no input columns are left"),
        ({"separator": "::"}, "'::' must be one character"),
        ({"variables": "X"}, r"variables does not go with .*: it is for \.npz and \.mat"),
    ],
)
def test_bad_columns(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "t.csv", "a,b,price\n1,2,3\n")
    with pytest.raises(DataError, match=says):
        read(path, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n3\n4,5\n", "line 3: 1 fields where 2 are expected"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4: 3 fields where 2 are expected"),
        ("a,b,a\n1,2,3\n", "columns 0 and 2 are both called 'a'"),
        ("a,b\n", "has a header but no rows"),
        ("# only a comment\n", "holds no rows"),
        ("a,b\n1,2\n\xff\n".encode("latin-1"), "the byte 0xFF is not UTF-8"),
        ("", "is empty"),
        ("a,b\nx,1\ny," + "9" * 200_000 + "\n", "line 3: not a line of a table"),
    ],
    ids=range(8),
)
def test_bad_text(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(DataError, match=says):
        read(path)


def test_ragged_line_far_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes_module, "_BLOCK", 64)
    lines = ["a,b", *["1,2"] * 300, "1,2,3", "1,2"]
    with pytest.raises(DataError, match="line 302: 3 fields"):
        read(write(tmp_path / "t.csv", "\n".join(lines)))


def test_text_among_several_targets(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b,c\n1,2,x\n1,2,y\n")
    with pytest.raises(DataError, match="several targets have to be numbers"):
        read(path, target=["b", "c"])


# --- NumPy and MATLAB ---------------------------------------------------------------------------


def test_npy_is_mapped_with_targets_beside_or_within(tmp_path: Path) -> None:
    A = np.arange(20.0).reshape(4, 5)
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "y.npy", np.array(["a", "b", "a", "b"]))
    data = read(tmp_path / "A.npy", target=str(tmp_path / "y.npy"))
    assert_array_equal(matrix(data), A)
    assert not matrix(data).flags.writeable
    assert data.y is not None
    assert list(data.y) == ["a", "b", "a", "b"]
    within = read(tmp_path / "A.npy", target=0)
    assert_array_equal(matrix(within), A[:, 1:])
    assert not matrix(within).flags.writeable
    assert_array_equal(matrix(read(tmp_path / "A.npy", target=2)), A[:, [0, 1, 3, 4]])
    with pytest.raises(DataError, match=r"z\.npy: no such file"):
        read(tmp_path / "A.npy", target=str(tmp_path / "z.npy"))


def test_pictures_become_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((3, 2, 2), dtype=np.uint8), y=np.arange(3))
    data = read(tmp_path / "a.npz")
    assert matrix(data).shape == (3, 4)
    assert matrix(data).dtype == np.uint8


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_variables(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    parts = {"pos": rng.random((8, 6)), "check": rng.random((4, 6)), "t": rng.random((8, 1))}
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, **parts)  # type: ignore[arg-type]
    else:
        savemat(path, parts)
    data = read(path, variables={"X": "pos", "X_test": "check"}, columns=range(5), target=5)
    assert_array_equal(matrix(data), parts["pos"][:, :5])
    assert matrix(data).strides[1] == 8
    assert data.test is not None
    assert_array_equal(matrix(data.test), parts["check"][:, :5])
    assert data.test.y is not None
    assert_array_equal(data.test.y, parts["check"][:, 5])
    pair = read(path, variables=["pos", "t"])
    assert pair.y is not None
    assert pair.y.shape == (8,)
    assert pair.target_names == ("y",)
    with pytest.raises(DataError, match=r"no variable 'post': it has (pos|check)"):
        read(path, variables="post")
    with pytest.raises(DataError, match="none is called X"):
        read(path)
    with pytest.raises(DataError, match="name those of X, y, X_test and y_test"):
        read(path, variables={"input": "pos"})


def test_zip_that_is_no_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as f:
        f.writestr("x", "hello")
    with pytest.raises(DataError, match="is no array"):
        read(tmp_path / "a.npz")


def test_keras_names(tmp_path: Path) -> None:
    A = np.zeros((4, 3))
    np.savez(tmp_path / "a.npz", x_train=A, y_train=A[:, 0], x_test=A[:2], y_test=A[:2, 0])
    data = read(tmp_path / "a.npz")
    assert data.test is not None
    assert len(data.test) == 2


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    objects = np.array([[Bomb(), 1]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="holds Python objects, which are never loaded"):
            read(tmp_path / name)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "exploded").exists(), "the bomb of this test does not work"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
@pytest.mark.parametrize("keep", [0.15, 0.9])
def test_truncated_arrays(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"a{suffix}"
    A = np.random.default_rng(0).random((50, 4))
    {".npy": lambda: np.save(path, A), ".npz": lambda: np.savez(path, X=A)}.get(
        suffix, lambda: savemat(path, {"X": A})
    )()
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


def test_matlab_values_that_are_no_matrix(tmp_path: Path) -> None:
    from scipy.sparse import eye

    savemat(tmp_path / "a.mat", {"cells": np.array(["a", 1], dtype=object), "S": eye(3)})
    with pytest.raises(DataError, match="inputs must be numbers"):
        read(tmp_path / "a.mat", variables="cells")
    with pytest.raises(DataError, match=r"sparse: save full\(S\)"):
        read(tmp_path / "a.mat", variables="S")


def test_matlab_4_is_read(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"X": np.eye(3)}, format="4")
    assert_array_equal(matrix(read(tmp_path / "a.mat")), np.eye(3))


def test_array_without_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(5))
    with pytest.raises(DataError, match=r"shape \(5,\): inputs need rows and columns"):
        read(tmp_path / "a.npy")


# --- Parquet ------------------------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "n": [1, None, 3],
            "pixel": pl.Series([0, 128, 255], dtype=pl.UInt8),
            "word": ["a", None, "c"],
            "flag": [True, None, False],
            "when": pl.Series([1, 2, 3]).cast(pl.Date),
            "lists": [[1], [2], [3]],
            "y": ["p", "q", "p"],
        }
    )
    path = tmp_path / "t.parquet"
    frame.write_parquet(path)
    data = read(path, target="y", columns=["n", "pixel", "word", "flag"])
    assert_array_equal(table(data)["n"], [1, np.nan, 3])
    assert_array_equal(table(data)["flag"], [1, np.nan, 0])
    assert table(data)["word"].tolist() == ["a", None, "c"]
    assert data.y is not None
    assert list(data.y) == ["p", "q", "p"]
    numbers = read(path, target=["n", "pixel"], columns="flag")
    assert numbers.y is not None
    assert_array_equal(table(numbers)["flag"], [1, np.nan, 0])
    assert_array_equal(numbers.y, [[1, 0], [np.nan, 128], [3, 255]])
    assert matrix(read(path, columns="pixel")).dtype == np.uint8
    assert matrix(read(path, columns="n")).dtype == np.float64
    days = table(read(path, target="y", columns="when"))["when"]
    assert_array_equal(days.astype("M8[D]").astype(int), [1, 2, 3])
    with pytest.raises(DataError, match="column 'lists' holds List"):
        read(path)
    with pytest.raises(DataError, match=r"did you mean 'word'\?"):
        read(path, target="wort")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


def test_parquet_without_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(DataError, match=r"needs polars: pip install 'nbmlp\[cli\]'"):
        read(write(tmp_path / "t.parquet", b"PAR1" + bytes(50)))


# --- files that cannot be read ------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no such file: did you mean train\.csv\?"):
        read(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="did you mean the data set 'digits'"):
        read("digit")
    with pytest.raises(DataError, match="nor is there a folder"):
        read(tmp_path / "nowhere" / "train.csv")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.csv", "a,b\n1,2\n")
    real_open = builtins.open

    def refuse(name: Any, *args: Any, **kwargs: Any) -> Any:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(DataError, match="no permission to read it"):
        read(path)


@pytest.mark.parametrize("name", ["t.csv.gz", "a-ubyte.gz"])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_gzip(tmp_path: Path, name: str, damage: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2000, 10), dtype=np.uint8)
    text = "\n".join(",".join(map(str, row)) for row in pixels.tolist())
    path = write(tmp_path / name, idx_bytes(pixels) if "ubyte" in name else text)
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    else:
        raw[-6] ^= 0xFF  # within the check sum
    path.write_bytes(raw)
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.npy", b"PAR1" + bytes(20), r"ends in \.npy but holds a Parquet file"),
        ("t.csv", b"\x93NUMPY" + bytes(20), r"ends in \.csv but holds a NumPy \.npy file"),
        ("t.mat", b"just text", r"ends in \.mat but holds text"),
        ("t.parquet", b"a,b\n1,2\n", r"ends in \.parquet but holds text"),
        ("t.csv", b"\x00\x01\x02", r"ends in \.csv but holds binary data"),
        ("photo.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "holds binary data of no known format"),
        ("t.npy.gz", b"\x93NUMPY" + bytes(20), "packed with gzip: unpack it first"),
    ],
)
def test_another_format(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(write(tmp_path / name, content))


# --- the package --------------------------------------------------------------------------------


def test_digits_by_name() -> None:
    data = read("digits")
    assert matrix(data).shape == (1797, 64)
    assert matrix(data).min() == 0.0
    assert matrix(data).max() == 1.0
    assert data.target_names == ("digit",)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data, bunch = read("digits"), load_digits()
    np.testing.assert_array_equal(matrix(data) * 16, bunch.data)
    np.testing.assert_array_equal(np.asarray(data.y), bunch.target)
    assert list(data.feature_names or ()) == bunch.feature_names


def test_import_is_light() -> None:
    """And so is reading the digits, which are a file of scikit-learn's."""
    heavy = ["numba", "sklearn", "scipy", "polars", "pandas"]
    code = (
        "import sys, nbmlp.data as data; data.read('digits');"
        f"sys.exit(any(m in sys.modules for m in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_repr_says_what_it_is(mnist_like: Path) -> None:
    text = repr(read(mnist_like))
    assert text.endswith(": 7 x 20 uint8; target label; 3 test rows)")


def test_split_sets_rows_aside() -> None:
    data = read("digits")
    parts = data.split(0.25, seed=3, stratify=True)
    assert parts.test is not None
    assert parts.y is not None
    assert parts.test.y is not None
    assert len(parts) + len(parts.test) == len(data)
    counts = np.bincount(np.asarray(data.y))
    assert (np.abs(np.bincount(parts.test.y) - counts / 4) < 1).all()


# --- the real files -----------------------------------------------------------------------------


def test_real_mnist(data_dir: Path) -> None:
    data = read(data_dir / "mnist")
    assert matrix(data).shape == (60_000, 784)
    assert data.y is not None
    assert data.test is not None
    assert np.bincount(data.y).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert len(data.test) == 10_000


def test_real_digit_recognizer_within_twice_its_size(data_dir: Path) -> None:
    tracemalloc.start()
    try:
        data = read(data_dir / "digit-recognizer" / "train.csv.gz", target="label")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrix(data).dtype == np.uint8
    assert matrix(data).shape == (42_000, 784)
    assert data.y is not None
    assert np.bincount(data.y).tolist() == [
        4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188,
    ]  # fmt: skip
    assert peak <= 2 * matrix(data).nbytes


def test_real_tables(data_dir: Path) -> None:
    adult = read(data_dir / "adult" / "adult.csv.gz", target="income-per-year")
    X = table(adult)
    text = [name for name in X if X[name].dtype == object]
    assert len(adult) == 32_561
    assert len(text) == 8
    lacking = np.zeros(len(adult), dtype=bool)
    for name in text:
        lacking |= np.equal(X[name], None)
    assert lacking.sum() == 2_399

    housing = read(data_dir / "california-housing" / "housing.csv", target="median_house_value")
    assert np.isnan(table(housing)["total_bedrooms"]).sum() == 207
    assert housing.y is not None
    assert housing.y.max() == 500_001

    ccpp = read(data_dir / "ccpp" / "CCPP.csv", target="PE")
    assert ccpp.feature_names == ("AT", "V", "AP", "RH")
    assert ccpp.y is not None
    assert ccpp.y.mean() == pytest.approx(454.365, abs=5e-4)

    letters = read(data_dir / "letter-recognition" / "letter-recognition.data", target=-1)
    assert letters.X.shape == (20_000, 16)
    assert letters.y is not None
    assert set(letters.y) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_real_arrays(data_dir: Path) -> None:
    text = read(data_dir / "airfoil" / "airfoil_self_noise.dat", target=5)
    mat = read(data_dir / "airfoil" / "airfoil_self_noise.mat")
    assert_array_equal(matrix(text), matrix(mat))
    assert text.y is not None
    assert mat.y is not None
    assert_array_equal(text.y, mat.y)

    sarcos = read(
        data_dir / "sarcos" / "sarcos_inv_test.mat",
        variables="sarcos_inv_test",
        columns=range(21),
        target=range(21, 28),
    )
    assert sarcos.X.shape == (4449, 21)
    assert sarcos.y is not None
    assert sarcos.y.shape == (4449, 7)

    symbols = read(data_dir / "math-symbols" / "handwritten_math_symbols_28x28.npz")
    assert symbols.X.shape == (9548, 784)
    assert symbols.y is not None
    assert np.bincount(symbols.y)[18] == 138

    abalone = read(data_dir / "abalone" / "abalone_all.mat")
    assert abalone.y is not None
    assert abalone.y.dtype == np.uint8
