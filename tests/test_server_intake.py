"""Uploaded files: what is taken, what is refused, and in which words."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import intake_mistakes
import numpy as np
import polars as pl
import pytest
import scipy.io

from nbmlp.server.intake import parse
from nbmlp.server.intake.reader import IntakeError, RefusedFileError, read_upload
from nbmlp.server.ports import NoSpaceError, ParsedDataset
from nbmlp.server.rows import load_rows
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings


def upload(folder: Path, data: bytes, name: str = "file", **limits: Any) -> ParsedDataset:
    (folder / "raw").write_bytes(data)
    settings = ServerSettings(**{"data_dir": folder, "parse_seconds": 60, **limits})
    return read_upload(folder / "raw", folder / "out", name, settings, lambda path, size: None)


def refused(folder: Path, data: bytes, **limits: Any) -> tuple[int, str]:
    with pytest.raises(RefusedFileError) as caught:
        upload(folder, data, "my file", **limits)
    text = str(caught.value)
    assert text.startswith("my file")
    assert str(folder) not in text
    assert len(text.splitlines()) == 1
    return caught.value.status, text


def npy(array: np.ndarray, **options: Any) -> bytes:
    np.save(file := io.BytesIO(), array, **options)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    np.savez_compressed(file := io.BytesIO(), **arrays)
    return file.getvalue()


def mat(**variables: Any) -> bytes:
    scipy.io.savemat(file := io.BytesIO(), variables, do_compression=True)
    return file.getvalue()


def parquet(**columns: Any) -> bytes:
    pl.DataFrame(columns).write_parquet(file := io.BytesIO())
    return file.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file := io.BytesIO(), fields)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def test_a_table(tmp_path: Path) -> None:
    found = upload(tmp_path, b"age,city,price\n31,Bonn,1.5\n,Rome,2\n44,,2.5\n", "t.csv")
    assert (found.name, found.format, found.rows, found.target_guess) == ("t.csv", "csv", 3, None)
    kinds = [(c.name, c.kind, c.missing, c.distinct) for c in found.columns]
    assert kinds == [("age", "integer", 1, 2), ("city", "text", 1, 2), ("price", "number", 0, 3)]
    assert (found.columns[0].minimum, found.columns[0].maximum) == (31, 44)
    assert found.preview == ((31, "Bonn", 1.5), (None, "Rome", 2), (44, None, 2.5))
    table = load_rows(found.path).X
    assert table.names == ("age", "city", "price")
    assert table["city"].tolist() == ["Bonn", "Rome", None]


@pytest.mark.parametrize(
    ("data", "target"),
    [(b"a,Label\n1,2.5\n2,3\n", "Label"), (b"a,b\n1,x\n2,y\n", "b"), (b"a,b\n1,.5\n2,.7\n", None)],
)
def test_guess_of_the_target(tmp_path: Path, data: bytes, target: str | None) -> None:
    assert upload(tmp_path, data).target_guess == target


@pytest.mark.parametrize("kind", ["npy", "npz", "mat", "parquet"])
def test_numbers_of_every_format(tmp_path: Path, kind: str) -> None:
    X, y = np.arange(12.0).reshape(4, 3), np.arange(4.0)[:, np.newaxis]
    data = {
        "npy": npy(X),
        "npz": npz(X=X, y=y),
        "mat": mat(X=X, y=y),
        "parquet": parquet(a=X[:, 0], b=X[:, 1], c=X[:, 2]),
    }[kind]
    found = upload(tmp_path, data)
    assert (found.format, found.rows) == (kind, 4)
    stored = load_rows(found.path)
    values = np.column_stack(list(stored.X.columns.values())) if kind == "parquet" else stored.X
    assert np.array_equal(values, X)
    assert (stored.y is not None) == (kind in ("npz", "mat"))


def test_types_that_files_know_and_we_do_not(tmp_path: Path) -> None:
    found = upload(tmp_path, npz(X=np.eye(2, dtype=np.longdouble), y=np.array([b"a", b"b"])))
    stored = load_rows(found.path)
    assert stored.X.dtype == np.float64
    assert stored.y.tolist() == ["a", "b"]


def test_infinite_and_missing_values_can_be_told(tmp_path: Path) -> None:
    found = upload(tmp_path, npy(np.array([[np.nan, np.inf], [1.0, -np.inf]])))
    assert found.preview == ((None, "inf"), (1.0, "-inf"))
    assert found.columns[1].minimum is None
    json.dumps([c.minimum for c in found.columns], allow_nan=False)


#: What is large is made when it is needed: every process that runs tests reads this.
WRONG: dict[str, Any] = {
    "empty": (b"", 422, "empty"),
    "only a header": (b"a,b\n", 422, "no rows"),
    "ragged": (b"a,b\n1,2\n3\n", 422, "line 3: 1 fields where 2"),
    "duplicate columns": (b"a,a\n1,2\n", 422, "both called 'a'"),
    "Latin-1": ("a,b\n1,é\n".encode("latin-1"), 422, "UTF-8"),
    "UTF-16 without its mark": ("a,b\n1,2\n".encode("utf-16-le"), 422, "encoding='utf-16-le'"),
    "UTF-16 cut short": ("a,b\n1,2\n".encode("utf-16")[:-1], 422, "line 2: the byte"),
    "open quote": (lambda: b'a,b\n"' + b"1,2\n" * 5_000_000, 422, "quote"),
    "binary": (bytes(range(256)) * 4, 415, "not taken"),
    "pickle": (b"\x80\x04\x95" + bytes(40), 415, "not taken"),
    "gzip of noise": (b"\x1f\x8b\x08" + bytes(40), 422, "truncated or damaged"),
    "gzip cut short": (gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], 422, "truncated or damaged"),
    "gzip of an array": (gzip.compress(npy(np.eye(3))), 415, "unpack it first"),
    "gzip of a gzip": (gzip.compress(gzip.compress(b"a\n1\n")), 415, "not taken"),
    "gzip bomb": (lambda: gzip.compress(b"1,2\n" * 17_000_000, 6), 413, "200 times"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), 415, "not taken"),
    "mat 7.3": (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", 415, "7.3"),
    "npy of objects": (npy(np.array([[{}]], object), allow_pickle=True), 422, "objects"),
    "npy of records": (npy(np.zeros((3, 2), "f8,i4")), 422, "numbers"),
    "npy of text": (npy(np.array([["a"]])), 422, "numbers"),
    "npy of dates": (npy(np.zeros((2, 2), "M8[s]")), 422, "numbers"),
    "npy of complex": (npy(np.zeros((2, 2), complex)), 422, "numbers"),
    "npy, one dimension": (npy(np.zeros(3)), 422, "rows and columns"),
    "npy without rows": (npy(np.zeros((0, 3))), 422, "no rows"),
    "npy that claims 8 TiB": (header((1 << 20, 1 << 20)), 413, "unpacked"),
    "npy, overflow": (header((1 << 62, 1 << 62)), 413, "unpacked"),
    "npy, negative": (header((-3, 2)), 422, "damaged"),
    "npy cut short": (npy(np.zeros((9, 9)))[:-1], 422, "damaged"),
    "npy with more behind": (npy(np.zeros((9, 9))) + b"x", 422, "damaged"),
    "npy, header of nests": (b"\x93NUMPY\x01\x00\xff\x1f" + b"(" * 0x1FFF, 422, "header"),
    "npz, not arrays": (zipped(X=npy(np.eye(2))).replace(b"X.npy", b"X.txt"), 415, "zip"),
    "npz of objects": (npz(X=np.array([[{}]], object)), 422, "objects"),
    "npz that claims 8 TiB": (zipped(X=header((1 << 20, 1 << 20))), 413, "unpacked"),
    "npz bomb": (lambda: npz(X=np.zeros((9000, 1000))), 413, "200 times"),
    "npz, many members": (zipped(**{f"a{i}": b"" for i in range(65)}), 413, "65 members"),
    "npz, lengths": (npz(X=np.eye(3), y=np.zeros(2)), 422, "y 2"),
    "npz without X": (npz(a=np.eye(2), b=np.eye(2)), 422, "called X"),
    "npz cut short": (npz(X=np.eye(9))[:-30], 422, "damaged"),
    "mat of cells": (mat(X=np.array([[1, "a"]], object)), 422, "numbers"),
    "mat cut short": (mat(X=np.eye(9))[:-9], 422, "truncated"),
    "mat bomb": (lambda: mat(X=np.zeros((9000, 1000))), 413, "200 times"),
    "parquet cut short": (parquet(a=[1])[:-9], 422, "damaged"),
    "parquet of hours": (parquet(a=pl.Series([0]).cast(pl.Time)), 422, "numbers, text or dates"),
    "parquet of lists": (parquet(a=[[1]]), 422, "numbers, text or dates"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    data, status, words = WRONG[case]
    data = data() if callable(data) else data
    found = refused(tmp_path, data)
    assert found[0] == status, found
    assert words in found[1]


def test_a_packed_table(tmp_path: Path) -> None:
    """One of several members, as programs that append leave it, is read whole."""
    text = b"size,town\n" + b"1.5,Bonn\n2.5,Ulm\n" * 50
    packed = gzip.compress(text[:33]) + gzip.compress(text[33:])
    found, plain = upload(tmp_path, packed), upload(tmp_path, text)
    assert (found.format, found.rows, found.sha256) == ("csv", 100, plain.sha256)
    assert found.columns == plain.columns


def test_a_packed_table_is_counted_while_it_is_unpacked(tmp_path: Path) -> None:
    text = b"size,town\n" + b"1.5,Bonn\n" * 300_000
    assert refused(tmp_path, gzip.compress(text), expanded_mb=1) == (
        413, "my file takes 1 MB unpacked; at most 1 MB are taken.",
    )  # fmt: skip


def test_too_many_columns(tmp_path: Path) -> None:
    for data in (b"1,2,3,4\n", npy(np.eye(4)), parquet(a=[1], b=[1], c=[1], d=[1])):
        assert refused(tmp_path, data, max_columns=3)[0] == 413


def test_a_parquet_file_of_many_rows_in_few_bytes(tmp_path: Path) -> None:
    data = parquet(a=np.zeros(5_000_000, np.int8))
    assert len(data) < 100_000
    assert refused(tmp_path, data, expanded_mb=16)[0] == 413


def test_a_mat_file_whose_tag_lies(tmp_path: Path) -> None:
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    lying = head + struct.pack("<II", 15, 1 << 31) + zlib.compress(bytes(100))
    assert refused(tmp_path, lying) == (422, "my file is truncated: save or fetch it again.")


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    text = b"a,b\n" + b"1.5,2\n" * 4_000_000
    status, said = refused(tmp_path, text, parse_memory_mb=64)
    assert (status, "memory" in said) == (413, True)


def test_time_that_is_not_there(tmp_path: Path) -> None:
    text = b"a,b\n" + b"1.5,x\n" * 2_000_000
    status, said = refused(tmp_path, text, parse_seconds=0.2)
    assert (status, "longer" in said) == (413, True)


def test_a_crash_of_the_reader_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "run", intake_mistakes.crash)
    assert refused(tmp_path, b"a,b\n1,2\n")[0] == 422


@pytest.mark.parametrize(("mistake", "said"), [("stumble", "a detail"), ("leave", "code 3")])
def test_a_mistake_of_our_own_is_not_blamed_on_the_file(
    mistake: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "run", getattr(intake_mistakes, mistake))
    with pytest.raises(IntakeError, match=said):
        upload(tmp_path, b"a,b\n1,2\n")


def test_kinds_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    assert upload(tmp_path, npy(np.eye(3)), "table.csv").format == "npy"


# -- space


def bomb(rows: int = 20_000) -> bytes:
    """A Parquet file of some kB that holds the same long text in each row."""
    file = io.BytesIO()
    pl.DataFrame({"text": ["x" * 1000] * rows, "n": range(rows)}).write_parquet(file)
    return file.getvalue()


def test_rows_are_written_once_there_is_room_for_all_of_them(tmp_path: Path) -> None:
    data, asked = bomb(), list[tuple[Path, int]]()
    (tmp_path / "raw").write_bytes(data)
    settings = ServerSettings(data_dir=tmp_path, parse_seconds=60)
    out = tmp_path / "out"

    def room(path: Path, size: int) -> None:
        assert not out.exists()
        asked.append((path, size))

    parsed = read_upload(tmp_path / "raw", out, "bomb", settings, room)
    assert asked == [(out, out.stat().st_size)]
    assert len(data) < 200_000 < 20_000_000 < out.stat().st_size
    assert parsed.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    out.unlink()

    def none(path: Path, size: int) -> None:
        raise NoSpaceError("the disk is full.")

    with pytest.raises(NoSpaceError):
        read_upload(tmp_path / "raw", out, "bomb", settings, none)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_the_quota_holds_for_what_is_being_written(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path / "data", quota_mb=30, reserve_mb=0)
    service = LocalService(settings)
    raw, out, other = (service.upload_path() for _ in range(3))
    raw.write_bytes(bomb())
    service.promise_space(other, 15 << 20)  # somebody else's, on its way in
    with pytest.raises(NoSpaceError, match="quota"):
        read_upload(raw, out, "bomb", settings, service.promise_space)
    assert not out.exists()
    service.discard_upload(other)
    parsed = read_upload(raw, out, "bomb", settings, service.promise_space)
    assert service.add_dataset(parsed).bytes > 20_000_000
    service.close()
