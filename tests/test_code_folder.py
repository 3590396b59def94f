"""Compiled code that others could have written is not run; what we write is for us only."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nbmlp.errors import TrainingWarning
from nbmlp.kernels import _cache, _jit, code_folder
from nbmlp.kernels.family import Family

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
NAME = "sum_of_two"
Compile = Callable[[], tuple[bool, list[str]]]


def maker(scalar: type) -> Callable[[int, int], int]:
    def add(a: int, b: int) -> int:
        return a + b

    return add


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    code_folder.cache_folder.cache_clear()
    code_folder.usable_folder.cache_clear()
    monkeypatch.setattr(_cache._Files, "_told", False)
    for kind in ("float32", "float64"):
        _jit._KEEP.pop((NAME, kind), None)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(_jit._MAKERS, NAME, (Family(NAME, {"a": int, "b": int}), maker))
    yield tmp_path / "cache"
    monkeypatch.undo()
    forget(monkeypatch)


@pytest.fixture
def compile_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> Compile:
    """Build a piece as a new process would; whether it came from the cache, and warnings."""

    def compile_it() -> tuple[bool, list[str]]:
        forget(monkeypatch)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            _jit.piece_address(NAME, np.float64)
        kept = _jit._KEEP[NAME, "float64"]
        assert kept.ctypes(2, 3) == 5
        assert all(issubclass(one.category, TrainingWarning) for one in said)
        return bool(kept.cache_hits), [str(one.message) for one in said]

    return compile_it


class Planted:
    """What another user would like us to load."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


def plant(folder: Path, mark: Path, end: str) -> Path:
    (place,) = folder.glob(f"{NAME}*{end}")
    place.write_bytes(pickle.dumps(Planted(mark)))
    return place


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another user; only root can, for others it is they who change."""
    if os.getuid() == 0:
        os.chown(path, 54321, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 54321)


def test_a_kernel_in_any_folder_counts(tmp_path: Path) -> None:
    """Else changed kernels would run as they were compiled before."""
    names = ["gemm.py", "layers/dense.py", "layers/inputs/sparse.py"]
    for path in (tmp_path / name for name in [*names, "layers/notes.txt"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert sorted(code_folder._sources(tmp_path)) == [tmp_path / name for name in names]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000])
def test_what_we_write_is_for_us_only_and_is_read_again(
    umask: int, base: Path, compile_it: Compile
) -> None:
    before = os.umask(umask)
    try:
        assert [compile_it(), compile_it()] == [(False, []), (True, [])]
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.lstat().st_mode) for p in base.rglob("*") if p.is_dir()}
    assert modes | {stat.S_IMODE(base.stat().st_mode)} == {0o700}
    assert {stat.S_IMODE(p.lstat().st_mode) for p in base.rglob("*") if p.is_file()} == {0o600}


@pytest.mark.parametrize("end", [".nbi", ".nbc"])
def test_a_file_is_what_is_loaded(
    end: str, base: Path, compile_it: Compile, tmp_path: Path
) -> None:
    """What the tests below are about: of our own files the content is believed."""
    compile_it()
    plant(code_folder.cache_folder(), tmp_path / "mark", end)
    compile_it()
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("bad", ["group", "world", "owner"])
@pytest.mark.parametrize("what", ["cache", "nbmlp", "digest", ".nbi", ".nbc"])
def test_what_others_can_write_is_not_loaded(
    what: str, bad: str, base: Path, compile_it: Compile, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    compile_it()
    digest = code_folder.cache_folder()
    places = {"cache": base, "nbmlp": base / "nbmlp", "digest": digest}
    planted = plant(digest, tmp_path / "mark", what if what in (".nbi", ".nbc") else ".nbi")
    place = places.get(what, planted)
    if bad == "owner":
        give_away(place, monkeypatch)
    else:
        place.chmod(place.stat().st_mode | (0o020 if bad == "group" else 0o002))
    hit, said = compile_it()
    assert not hit
    assert not (tmp_path / "mark").exists()
    assert len(said) == 1
    assert str(place) in said[0] or bad == "owner"
    assert ("chmod go-w" in said[0]) == (bad != "owner")
    if place == planted and os.getuid() == 0:  # our folder: the file is replaced
        assert compile_it() == (True, [])
    elif place != planted:
        assert plant(digest, tmp_path / "mark", ".nbi")  # nothing was written there
        assert len(list(digest.glob(f"{NAME}*.nbi"))) == 1


def test_a_sticky_folder_above_is_no_harm(base: Path, compile_it: Compile) -> None:
    base.mkdir()
    base.chmod(0o1777)
    assert [compile_it(), compile_it()] == [(False, []), (True, [])]
    (base / "nbmlp").chmod(0o1777)  # but the folder itself is not to be shared
    assert compile_it()[0] is False


def test_a_link_is_followed_to_what_is_to_be_trusted(base: Path, compile_it: Compile) -> None:
    elsewhere = base.with_name("elsewhere")
    elsewhere.mkdir()
    base.symlink_to(elsewhere)
    assert [compile_it(), compile_it()] == [(False, []), (True, [])]
    elsewhere.chmod(0o777)
    hit, (said,) = compile_it()
    assert not hit
    assert str(elsewhere) in said


def test_a_folder_that_cannot_be_made_is_no_obstacle(base: Path, compile_it: Compile) -> None:
    base.write_text("a file")
    assert compile_it() == (False, [])


def test_one_warning_however_many_pieces(base: Path, compile_it: Compile) -> None:
    """As of a whole training; that it goes on without a cache is seen in test_compiled.py."""
    base.mkdir()
    base.chmod(0o777)
    hit, (said,) = compile_it()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _jit.piece_address(NAME, np.float32)
    assert not hit
    assert "is not used, and everything is compiled again" in said
    assert not list(base.rglob("*.nb?"))


def test_loading_compiled_code_loads_nothing_else(tmp_path: Path) -> None:
    """Numba brings in all that it can compile with, scipy among it, to compile; only then."""
    program = f"""
from __future__ import annotations
import sys
import numpy as np
from nbmlp.kernels import _jit
from nbmlp.kernels.family import family

@_jit.piece({NAME!r}, family({NAME!r}, a=int, b=int))
def maker(scalar):
    def add(a: int, b: int) -> int:
        return a + b
    return add

assert _jit.piece_function({NAME!r}, np.float64)(2, 3) == 5
print(_jit._KEEP[{NAME!r}, "float64"].cache_hits, "numba.np.arraymath" in sys.modules)
"""
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", program], env=env, check=True, capture_output=True)
        for _ in range(2)
    ]
    assert [one.stdout.split() for one in said] == [[b"0", b"True"], [b"1", b"False"]]
