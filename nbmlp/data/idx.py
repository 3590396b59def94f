"""IDX files, the format of MNIST: a big-endian header (type, dimensions), then the array."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import Dataset, from_matrix
from nbmlp.data.files import is_gzip, open_binary
from nbmlp.errors import DataError

__all__ = ["read_idx", "read_idx_folder"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
#: Deflate cannot pack more bytes than this into one.
_MOST_PACKED = 1032
_TEST_PREFIXES = ("t10k", "test")


def _read_header(f: IO[bytes], path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = f.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise DataError(f"{path} is not an IDX file: its first bytes are {magic.hex(' ')}.")
    sizes = f.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path} is truncated within its header: fetch it again.")
    return np.dtype(_TYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def read_idx(path: Path) -> NDArray[Any]:
    """The array of an IDX file, gzip or not.

    An unpacked file is mapped into memory, read-only; a packed one is unpacked straight into
    its array.

    Raises
    ------
    DataError
        Wrong magic number, or more or fewer bytes than the header promises.
    """
    with open_binary(path) as f:
        dtype, shape = _read_header(f, path)
        start = 4 + 4 * len(shape)
        size = math.prod(shape) * dtype.itemsize
        if not is_gzip(path):
            _check_size(path, path.stat().st_size - start, size)
            return np.asarray(np.memmap(path, dtype, mode="r", offset=start, shape=shape))
        if size > _MOST_PACKED * path.stat().st_size:
            raise DataError(
                f"{path} is truncated or damaged: its header promises {size} bytes of data, more"
                " than are packed in it; fetch it again."
            )
        array = np.empty(shape, dtype)
        target = array.reshape(-1).view(np.uint8).data
        filled = 0
        while filled < size and (count := f.readinto(target[filled:])):  # type: ignore[attr-defined]
            filled += count
        _check_size(path, filled + len(f.read(1)), size)
    return array


def _check_size(path: Path, found: int, promised: int) -> None:
    if found != promised:
        state = "is truncated" if found < promised else "has bytes after its end"
        raise DataError(
            f"{path} {state}: its header promises {promised} bytes of data"
            f"{f' and {found} are there' if found < promised else ''}; fetch it again."
        )


def _find(folder: Path, prefixes: tuple[str, ...], kind: str) -> Path | None:
    """The file of one part; an unpacked one before its packed copy."""
    found = [
        p
        for p in folder.iterdir()
        if any(f"{prefix}-{kind}" in p.name for prefix in prefixes)
        and p.name.removesuffix(".gz").endswith("ubyte")
    ]
    return min(found, key=lambda p: (p.suffix == ".gz", p.name), default=None)


def _read_part(folder: Path, prefixes: tuple[str, ...]) -> Dataset | None:
    images, labels = (_find(folder, prefixes, kind) for kind in ("images", "labels"))
    if images is None:
        return None
    if labels is None:
        raise DataError(
            f"{folder} has {images.name} but no {prefixes[0]}-labels...-ubyte beside it."
        )
    return from_matrix(read_idx(images), y=read_idx(labels), source=str(images))


def read_idx_folder(folder: Path) -> Dataset:
    """MNIST and its kin: train-images*, train-labels* and, as the test part, t10k-* or test-*.

    Raises
    ------
    DataError
        The folder holds no such files, labels are missing, or their number is another.
    """
    train = _read_part(folder, ("train",))
    if train is None:
        names = sorted(p.name for p in folder.iterdir())
        there = f"it holds {', '.join(names[:5])}" if names else "it is empty"
        raise DataError(
            f"{folder} holds no IDX files (train-images...-ubyte): {there}; name a file instead."
        )
    test = _read_part(folder, _TEST_PREFIXES)
    return Dataset(train.X, train.y, train.feature_names, ("label",), test, str(folder))
