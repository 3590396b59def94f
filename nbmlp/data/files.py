"""Opening files: which format one holds, and one sentence for each way in which it fails."""

from __future__ import annotations

import codecs
import difflib
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from nbmlp.errors import DataError

__all__ = [
    "HEAD_BYTES",
    "detect_format",
    "is_gzip",
    "marked_encoding",
    "open_binary",
    "reading",
    "unmarked_utf16",
]

#: Of a file, by which its format is told.
HEAD_BYTES = 512

#: Format -> what messages call it.
FORMATS = {
    "idx": "an IDX file",
    "npy": "a NumPy .npy file",
    "npz": "a NumPy .npz file",
    "mat": "a MATLAB file",
    "parquet": "a Parquet file",
    "text": "text",
    "binary": "binary data of no known format",
}
_MAGIC = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"PK\x05\x06": "npz",
    b"MATLAB": "mat",
    b"PAR1": "parquet",
}
_SUFFIXES = {
    ".npy": "npy",
    ".npz": "npz",
    ".mat": "mat",
    ".parquet": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".dat": "text",
    ".data": "text",
}
#: UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
#: Of an unmarked file in UTF-16, so large a share of one byte of each pair is zero.
_ZERO_BYTES = 0.8
_IDX_TYPES = bytes([0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system or gzip raises while `path` is read into a DataError.

    Raises
    ------
    DataError
        No such file (the nearest name in its folder is suggested), a folder, no permission,
        truncated or damaged gzip data, or any other failure of the system.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file{_nearest(path)}") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it; ask its owner, or copy it.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: name a file in it.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(
            f"{path} is truncated or damaged (its compressed data end too early or do not"
            " check): fetch it again."
        ) from None
    except MemoryError:
        raise DataError(f"{path} does not fit into memory.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _nearest(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f", nor is there a folder {path.parent}."
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else f" in {path.parent.resolve()}."


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip data do, whatever its name."""
    with open(path, "rb") as f:
        return f.read(2) == b"\x1f\x8b"


def open_binary(path: Path) -> IO[bytes]:
    """Open for reading, unpacking gzip on the way."""
    return cast("IO[bytes]", gzip.open(path, "rb") if is_gzip(path) else open(path, "rb"))


def marked_encoding(head: bytes) -> tuple[str, int] | None:
    """Encoding that a mark at the beginning of a text names, and the mark's bytes."""
    return next(((name, len(m)) for m, name in _MARKS.items() if head.startswith(m)), None)


def unmarked_utf16(head: bytes) -> str | None:
    """Which UTF-16 the beginning of a file looks like, if it does: Latin letters have a zero."""
    for name, zeros, letters in (
        ("utf-16-le", head[1::2], head[::2]),
        ("utf-16-be", head[::2], head[1::2]),
    ):
        most = _ZERO_BYTES * len(zeros)
        if len(head) >= 4 and zeros.count(0) > most and not letters.count(0):
            return name
    return None


def _format_of(head: bytes) -> str:
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and head[3] > 0:
        return "idx"
    if marked_encoding(head) or unmarked_utf16(head):
        return "text"
    return "binary" if b"\0" in head or head.startswith(b"\x89HDF") else "text"


def detect_format(path: Path, text: bool = False) -> str:
    """Format of a file, by its first bytes; a known ending has to agree with them.

    Parameters
    ----------
    path : Path
    text : bool
        What is of no known format is text, for its encoding has been given.

    Returns
    -------
    str
        ``"idx"``, ``"npy"``, ``"npz"``, ``"mat"``, ``"parquet"`` or ``"text"``.

    Raises
    ------
    DataError
        Empty, of no known format, or of another format than its ending says.
    """
    with open_binary(path) as f:
        head = f.read(HEAD_BYTES)
    if not head:
        raise DataError(f"{path} is empty.")
    found = _format_of(head)
    if found == "binary" and text:
        found = "text"
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    expected = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if expected == "mat" and found == "binary":
        return "mat"  # version 4 has no mark, other HDF5 than MATLAB's has HDF5's
    if expected and found != expected:
        raise DataError(
            f"{path} ends in {suffixes[-1]} but holds {FORMATS[found]}: give it the right"
            " ending, or name another file."
        )
    if found == "binary":
        raise DataError(
            f"{path} holds {FORMATS[found]}: .csv, .npy, .npz, .mat, .parquet and IDX files"
            " can be read."
        )
    return found
