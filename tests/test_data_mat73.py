"""MATLAB 7.3 files: matrices as MATLAB shows them, everything else refused in a sentence."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nbmlp import DataError, MissingPackageError, read

h5py = pytest.importorskip("h5py")

HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
A = np.random.default_rng(0).random((50, 6))


def put(file: Any, name: str, values: Any, kind: str = "double", **options: Any) -> Any:
    """A matrix as MATLAB stores it: columns first."""
    stored = file.create_dataset(name, data=np.asarray(values).T, **options)
    stored.attrs["MATLAB_class"] = np.bytes_(kind)
    return stored


def save(path: Path, fill: Callable[[Any], object], head: bool = True) -> Path:
    """A file with MATLAB's 512 bytes before HDF5's."""
    with h5py.File(path, "w", userblock_size=512 if head else 0) as file:
        fill(file)
    if head:
        with open(path, "r+b") as raw:
            raw.write(HEAD.ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": (2, 25)}])
def test_variables_and_columns(tmp_path: Path, head: bool, options: dict[str, Any]) -> None:
    def fill(file: Any) -> None:
        put(file, "training_data_pos", A, **options)
        put(file, "validation_data_pos", A[:7])
        file.create_group("#refs#")

    path = save(tmp_path / "a.mat", fill, head)
    roles = {"X": "training_data_pos", "X_test": "validation_data_pos"}
    data = read(path, variables=roles, columns=range(5), target=5)
    assert_array_equal(data.X, A[:, :5])
    assert_array_equal(data.y, A[:, 5])
    assert data.test is not None
    assert_array_equal(data.test.X, A[:7, :5])
    assert data.X.strides == (48, 8)
    with pytest.raises(DataError, match="no variable 'pos': it has training_data_pos, valid"):
        read(path, variables="pos")


@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8", "int16", "uint64"])
def test_types_stay_as_they_are(tmp_path: Path, dtype: str) -> None:
    values = (A * 100).astype(dtype)
    data = read(save(tmp_path / "a.mat", lambda file: put(file, "X", values)))
    assert_array_equal(data.X, values)
    assert data.X.dtype == values.dtype.newbyteorder("=")


def test_logical_values_are_no_bytes_of_a_picture(tmp_path: Path) -> None:
    values = (A > 0.5).astype(np.uint8)
    data = read(save(tmp_path / "a.mat", lambda file: put(file, "X", values, "logical")))
    assert data.X.dtype == np.bool_
    assert_array_equal(data.X, A > 0.5)


def test_more_dimensions_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbmlp.data.mat73._BLOCK", 100)
    values = np.arange(5 * 3 * 4, dtype=float).reshape(5, 3, 4)
    data = read(save(tmp_path / "a.mat", lambda file: put(file, "X", values)))
    assert_array_equal(data.X, values.reshape(5, 12))


def sparse(file: Any) -> None:
    group = file.create_group("X")
    group.attrs["MATLAB_sparse"] = np.uint64(3)
    group["data"] = np.ones(2)


def empty(file: Any) -> None:
    put(file, "X", np.array([0, 3], np.uint64)).attrs["MATLAB_empty"] = np.uint8(1)


def cells(file: Any) -> None:
    place = file.create_dataset("v", data=A)
    references = np.array([[place.ref]], dtype=h5py.ref_dtype)
    file.create_dataset("X", data=references).attrs["MATLAB_class"] = np.bytes_("cell")


def struct(file: Any) -> None:
    file.create_group("X").attrs["MATLAB_class"] = np.bytes_("struct")


def complex_values(file: Any) -> None:
    pairs = np.zeros((3, 2), [("real", float), ("imag", float)])
    put(file, "X", pairs)


def bomb(file: Any) -> None:
    """Chunks that were never written: 8 TB out of a few bytes."""
    file.create_dataset("X", shape=(10**6, 10**6), dtype="f8", chunks=(100, 100))


def one_great_chunk(file: Any) -> None:
    """A small matrix in a chunk of 800 MB, which is unpacked as a whole."""
    file.create_dataset(
        "X", shape=(2, 2), maxshape=(None, None), dtype="f8", chunks=(10**4, 10**4),
        compression="gzip",
    )  # fmt: skip


def in_other_files(file: Any) -> None:
    file.create_dataset("X", (4, 4), "f8", external=[("/etc/passwd", 0, 128)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4, 4), "f8")
    layout[:] = h5py.VirtualSource("other.mat", "X", (4, 4))
    file.create_virtual_dataset("X", layout)


def external_link(file: Any) -> None:
    file["X"] = h5py.ExternalLink("other.mat", "X")


def soft_link(file: Any) -> None:
    put(file, "v", A)
    file["X"] = h5py.SoftLink("/v")


def lzf(file: Any) -> None:
    put(file, "X", A, compression="lzf")


REFUSED: list[tuple[Callable[[Any], object], str]] = [
    (sparse, "is sparse: save it as a full matrix"),
    (empty, "is empty"),
    (cells, "MATLAB's class cell: inputs must be numbers"),
    (struct, "is a struct: save its matrices as variables"),
    (lambda file: put(file, "X", np.full((1, 4), 97, np.uint16), "char"), "class char"),
    (complex_values, "complex or other compound values"),
    (bomb, "claims 8,000,000,000,000 bytes, but no more than 0 are in the file"),
    (one_great_chunk, "claims 800,000,000 bytes"),
    (in_other_files, "keeps its values in other files, which are never read"),
    (virtual, "keeps its values in other files, which are never read"),
    (external_link, "links are never followed"),
    (soft_link, "links are never followed"),
    (lzf, "compressed as MATLAB never does"),
    (lambda file: file.create_dataset("X", data=1.0), "inputs need rows and columns"),
    (lambda file: file.create_dataset("X", data=h5py.Empty("f8")), "is empty"),
]


@pytest.mark.parametrize(("fill", "says"), REFUSED, ids=[r[0].__name__ for r in REFUSED])
def test_refused_in_a_sentence(tmp_path: Path, fill: Callable[[Any], object], says: str) -> None:
    save(tmp_path / "other.mat", lambda file: put(file, "X", A))
    path = save(tmp_path / "a.mat", fill)
    with pytest.raises(DataError, match=says) as caught:
        read(path, variables="X")
    assert str(caught.value).count("\n") == 0


def test_every_cut_and_scattered_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mat", lambda file: put(file, "X", A))
    raw = path.read_bytes()
    rng = np.random.default_rng(1)
    for keep in range(530, len(raw), 97):
        path.write_bytes(raw[:keep])
        with pytest.raises(DataError, match="truncated or damaged"):
            read(path)
    for _ in range(100):
        damaged = bytearray(raw)
        for place in rng.integers(512, min(len(raw), 3000), 4):
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert read(path).X.shape[0] > 0


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.mat", lambda file: put(file, "X", A))
    true = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "h5py":
            raise ImportError
        return true(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingPackageError, match=r'7.3 file needs h5py: pip install "nbmlp\[mat\]"'
    ):
        read(path)


def test_other_hdf5_files_are_not_taken_for_matlabs(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", lambda file: put(file, "X", A), head=False)
    with pytest.raises(DataError, match="binary data of no known format"):
        read(path)
