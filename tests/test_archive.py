"""Model files: what goes in comes out, and whatever is not whole is refused with a sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from nbmlp.errors import ModelFileError, SpecError
from nbmlp.io import archive, metadata
from nbmlp.io.atomic import FolderSyncError, atomic_write, save_failure

ARRAYS = {
    "weights/0": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3),
    "weights/1": np.array([[math.nan, math.inf], [-0.0, 5e-324]]),
    "step": np.array(7, dtype=np.int64),
    "order": np.arange(5, dtype=np.int32),
    "pixels": np.arange(9, dtype=np.uint8),
    "mask": np.array([True, False, True]),
    "nothing": np.zeros((0, 4), dtype=np.float32),
}
METADATA = {"spec": {"hidden": [45, 16], "l2": 2e-6}, "labels": ["null", "eins", "Größe 雪"]}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    archive.write(path, ARRAYS, METADATA, kind="model")
    return path


def refusal(path, kind="model"):
    with pytest.raises(ModelFileError) as caught:
        archive.read(path, kind=kind)
    sentence = str(caught.value)
    assert sentence.startswith(f"cannot read {path}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def sealed(header, data=b""):
    """A file with this header, its digest made right."""
    header.setdefault("__metadata__", {}).setdefault("sha256", "0" * 64)
    text = json.dumps(header).encode()
    raw = struct.pack("<Q", len(text)) + text + data
    digest = hashlib.sha256(raw).hexdigest().encode()
    return raw.replace(b"0" * 64, digest, 1)


def entries(**changes):
    ours = {"format": "nbmlp", "format_version": "1", "kind": "model", "metadata": "{}"}
    return {"__metadata__": {**ours, **changes}}


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_round_trip(tmp_path, kind):
    path = tmp_path / "Modell ü.safetensors"
    archive.write(path, ARRAYS, METADATA, kind=kind)
    arrays, values = archive.read(str(path), kind=kind)
    assert_same(arrays, ARRAYS)
    assert values == METADATA
    assert all(a.flags.writeable and a.flags.aligned for a in arrays.values())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("dtype", archive._CODES)
def test_every_dtype(tmp_path, dtype):
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype)}
    archive.write(tmp_path / "m", arrays, {}, kind="model")
    assert_same(archive.read(tmp_path / "m", kind="model")[0], arrays)


def test_strided_big_endian_and_large_arrays(tmp_path):
    large = np.arange(700_001, dtype=np.float32)  # beyond two pieces, not a whole number of them
    square = np.arange(12.0).reshape(3, 4)
    arrays = {
        "large": large,
        "transposed": square.T,
        "reversed": large[::-2],
        "big": square.astype(">f8"),
    }
    archive.write(tmp_path / "m", arrays, {}, kind="model")
    assert_same(archive.read(tmp_path / "m", kind="model")[0], arrays)


def test_no_arrays(tmp_path):
    archive.write(tmp_path / "m", {}, {}, kind="model")
    assert archive.read(tmp_path / "m", kind="model") == ({}, {})


def test_same_content_gives_the_same_bytes(model, tmp_path):
    again = tmp_path / "again"
    archive.write(again, dict(reversed(ARRAYS.items())), METADATA, kind="model")
    assert again.read_bytes() == model.read_bytes()


def test_array_that_changes_while_it_is_saved(tmp_path, monkeypatch):
    """The digest belongs to the bytes in the file, whatever another thread does meanwhile."""
    array = np.zeros(700_000, np.float32)

    class Meddling:
        def __init__(self):
            self.digest = hashlib.new("sha256")
            self.hexdigest = self.digest.hexdigest

        def update(self, piece):
            self.digest.update(piece)
            array[:] += 1

    with monkeypatch.context() as patch:
        patch.setattr(archive.hashlib, "sha256", Meddling)
        archive.write(tmp_path / "m", {"w": array}, {}, kind="model")
    found, _ = archive.read(tmp_path / "m", kind="model")
    assert (found["w"][0], found["w"][-1]) == (1, 3)


def test_the_documented_reader_reads_it(model, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "model-file.md"
    _, code = page.read_text(encoding="utf-8").split("```python\n")
    monkeypatch.chdir(model.parent)
    found: dict[str, object] = {}
    exec(code.split("```")[0], found)  # it opens model.safetensors
    assert_same(found["arrays"], ARRAYS)
    assert found["metadata"] == METADATA
    damaged = bytearray(model.read_bytes())
    damaged[-1] ^= 1
    model.write_bytes(damaged)
    with pytest.raises(AssertionError, match="the file is damaged"):
        exec(code.split("```")[0], {})


def test_the_safetensors_package_reads_it(model):
    with safe_open(model, framework="numpy") as file:
        assert_same({name: file.get_tensor(name) for name in file.keys()}, ARRAYS)  # noqa: SIM118
        assert json.loads(file.metadata()["metadata"]) == METADATA


# ---------------------------------------------------------------- metadata

special = st.sampled_from([math.nan, math.inf, -math.inf, -0.0])
keys = st.text().filter(lambda key: key != "$float")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | special | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@settings(max_examples=30)
@given(st.dictionaries(keys, values))
def test_metadata_round_trip(values):
    text = metadata.encode(values)
    assert text.isascii()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert repr(metadata.decode(text)) == repr(values)  # repr: NaN equals itself, -0.0 is not 0.0


def test_numpy_scalars_and_tuples_become_plain():
    values = {
        "i": np.int32(3),
        "f": np.float32(0.1),
        "b": np.bool_(True),
        "s": np.str_("ä"),
        "n": np.float64("nan"),
        "t": (1, (np.uint8(2), "x")),
    }
    found = metadata.decode(metadata.encode(values))
    assert math.isnan(found.pop("n"))
    assert found == {"i": 3, "f": float(np.float32(0.1)), "b": True, "s": "ä", "t": [1, [2, "x"]]}
    assert [type(found[key]) for key in "ifbs"] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"a": {"b": [0, b"x"]}}, "metadata['a']['b'][1] is of type bytes"),
        ({"a": np.zeros(2)}, "metadata['a'] is of type ndarray"),
        ({"a": {1: "one"}}, "metadata['a'] has the key 1"),
        ({"a": {"$float": 1}}, "metadata['a'] has the key '$float'"),
        ({"a": {1, 2}}, "metadata['a'] is of type set"),
    ],
)
def test_metadata_that_do_not_fit_are_named(tmp_path, values, place):
    with pytest.raises(ModelFileError) as caught:
        archive.write(tmp_path / "m", {}, values, kind="model")
    assert str(caught.value).startswith(place)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(2, "c16")])
def test_dtype_that_does_not_fit_is_named(tmp_path, array):
    with pytest.raises(ModelFileError, match=r"^array 'w' has dtype .* convert it to one of"):
        archive.write(tmp_path / "m", {"w": array}, {}, kind="model")


@pytest.mark.parametrize("name", ["__metadata__", "a\nb", "\ud800"])
def test_array_name_that_does_not_fit(tmp_path, name):
    with pytest.raises(ModelFileError, match="cannot be stored under the name"):
        archive.write(tmp_path / "m", {name: np.zeros(1)}, {}, kind="model")


def test_too_much_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_LARGEST_HEADER", 1000)
    with pytest.raises(ModelFileError, match="at most 1000: store long lists as arrays"):
        archive.write(tmp_path / "m", {}, {"long": "x" * 1000}, kind="model")
    assert os.listdir(tmp_path) == []


def test_unknown_kind(model, tmp_path):
    with pytest.raises(SpecError, match="unknown kind 'modle': did you mean 'model'"):
        archive.write(tmp_path / "m", {}, {}, kind="modle")
    with pytest.raises(SpecError, match="did you mean 'checkpoint'"):
        archive.read(model, kind="checkpont")


# ---------------------------------------------------------------- refusals


def test_missing(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.safetensors")


def test_folder(tmp_path):
    assert "it is a folder" in refusal(tmp_path)


def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "it is a device or pipe" in refusal(tmp_path / "pipe")


@contextmanager
def ordinary_user():
    """A folder of an ordinary user, and the process in that role (root may do everything)."""
    with tempfile.TemporaryDirectory() as folder:
        user = os.geteuid()
        if user == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_no_permission_to_read():
    with ordinary_user() as folder:
        archive.write(folder / "m", ARRAYS, METADATA, kind="model")
        (folder / "m").chmod(0)
        assert "Permission denied; check the name and the permissions" in refusal(folder / "m")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x93NUMPY\x01\x00v\x00{'descr'", b"a,b,c\n" * 1000, b"PK\x03\x04" * 99],
)
def test_another_format(tmp_path, content):
    path = tmp_path / "m"
    path.write_bytes(content)
    assert "it is not a safetensors file" in refusal(path)


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000_001, 2**31, 2**63, 2**64 - 1])
def test_absurd_header_size(model, size):
    raw = model.read_bytes()
    model.write_bytes(struct.pack("<Q", size) + raw[8:])
    refusal(model)


def test_safetensors_of_someone_else(tmp_path):
    path = tmp_path / "m"
    np_format = {"__metadata__": {"format": "np"}}
    for header in (np_format, {}, {"__metadata__": None}, {"__metadata__": [1]}):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        assert "it was not saved by nbmlp" in refusal(path)


@pytest.mark.parametrize("text", [b"{" * 100_000, b'{"a":' * 100_000, b'{"a":"\xff"}', b"{]"])
def test_header_that_is_not_json(tmp_path, text):
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert "it was not saved by nbmlp, or its header is damaged" in refusal(path)


def test_sealed_file_is_read(tmp_path):
    """The files that the refusals below are made from would be read if nothing were wrong."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (tmp_path / "m").write_bytes(sealed({**entries(), "w": entry}, bytes(8)))
    arrays, _ = archive.read(tmp_path / "m", kind="model")
    assert_same(arrays, {"w": np.zeros(2, np.float32)})


def test_newer_format(tmp_path):
    (tmp_path / "m").write_bytes(sealed(entries(format_version="3")))
    assert "format version 3 is newer than 2" in refusal(tmp_path / "m")
    assert "upgrade nbmlp" in refusal(tmp_path / "m")


@pytest.mark.parametrize("number", ["", "0", "-1", "1.5", "x" * 10_000, "9" * 5000, "²"])
def test_format_version_that_is_no_number(tmp_path, number):
    (tmp_path / "m").write_bytes(sealed(entries(format_version=number)))
    sentence = refusal(tmp_path / "m")
    assert "is not a number" in sentence
    assert len(sentence) < len(str(tmp_path)) + 150


def test_another_kind(model, tmp_path):
    assert "it is a model, not a checkpoint; load it with MLP.load" in refusal(model, "checkpoint")
    archive.write(model, ARRAYS, METADATA, kind="checkpoint")
    assert "it is a checkpoint, not a model; continue from it" in refusal(model, "model")
    model.write_bytes(sealed(entries(kind="banana" * 1000)))
    assert "it is of the unknown kind 'banana" in refusal(model)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]},
        {"dtype": "object", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32"},
        [],
    ],
)
def test_hostile_description_of_an_array(tmp_path, entry):
    (tmp_path / "m").write_bytes(sealed({**entries(), "w": entry}, bytes(8)))
    assert "its arrays are not described properly" in refusal(tmp_path / "m")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "NaN", '{"a":NaN}', '{"a":{"$float":"1"}}', '{"a":{"$float":[]}}', "[" * 99_999],
)
def test_hostile_metadata(tmp_path, text):
    (tmp_path / "m").write_bytes(sealed(entries(metadata=text)))
    assert "its metadata are not proper JSON" in refusal(tmp_path / "m")


def test_entries_that_are_not_strings(tmp_path):
    (tmp_path / "m").write_bytes(sealed(entries(kind=["model"])))
    assert "its header is damaged" in refusal(tmp_path / "m")


# ---------------------------------------------------------------- damage


def test_cut_short_anywhere(model):
    raw = model.read_bytes()
    for length in range(len(raw)):
        model.write_bytes(raw[:length])
        assert "cut short" in refusal(model)


def test_any_damaged_byte(model):
    raw = model.read_bytes()
    rng = np.random.default_rng(6)
    for place in range(len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= int(rng.integers(1, 256))
        model.write_bytes(damaged)
        refusal(model)


def test_damage_in_a_large_file(tmp_path):
    path = tmp_path / "m"
    archive.write(path, {"w": np.ones((400, 300), np.float32)}, {}, kind="model")
    raw = path.read_bytes()
    rng = np.random.default_rng(7)
    for place in rng.integers(0, len(raw), 60):
        path.write_bytes(raw[:place])
        refusal(path)
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refusal(path)


def test_bytes_added_or_swapped(model):
    raw = model.read_bytes()
    for changed in (raw + b"\0", raw[:-2] + raw[:-3:-1], b"\0" + raw, raw + raw):
        assert changed != raw
        model.write_bytes(changed)
        refusal(model)


# ---------------------------------------------------------------- saving that fails


def content(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def failed_save(path, arrays=ARRAYS):
    with pytest.raises(ModelFileError) as caught:
        archive.write(path, arrays, {"new": True}, kind="model")
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert isinstance(caught.value.__cause__, OSError)
    return sentence


@contextmanager
def largest_file(size):
    """Let every write beyond `size` bytes fail, as the system does it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failed_save_beyond(size, path, arrays=ARRAYS):
    error = None
    with largest_file(size):
        try:
            archive.write(path, arrays, {"new": True}, kind="model")
        except ModelFileError as caught:
            error = caught
    assert error is not None
    assert f"cannot save {path}: File too large" in str(error)
    assert "whatever was there before is unchanged" in str(error)


def test_write_fails_at_any_byte(model):
    before = content(model.parent)
    twin = model.parent / "twin"
    archive.write(twin, ARRAYS, {"new": True}, kind="model")
    size = twin.stat().st_size
    twin.unlink()
    for limit in range(size):
        failed_save_beyond(limit, model)
        assert content(model.parent) == before
    with largest_file(size):
        archive.write(model, ARRAYS, {"new": True}, kind="model")
    assert archive.read(model, kind="model")[1] == {"new": True}


def test_write_of_many_pieces_fails_at_some_byte(model):
    before = content(model.parent)
    large = {"w": np.ones(800_000, np.float32)}
    for limit in np.random.default_rng(8).integers(0, 3_200_000, 20):
        failed_save_beyond(int(limit), model, large)
        assert content(model.parent) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
def test_system_call_fails_before_the_replacement(model, monkeypatch, call, code):
    before = content(model.parent)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    sentence = failed_save(model)
    assert f"cannot save {model}: {os.strerror(code)} (whatever was there" in sentence
    assert content(model.parent) == before


@pytest.mark.parametrize("call", ["fsync", "open", "replace", "chmod"])
def test_nth_call_fails(model, monkeypatch, call):
    """Whatever fails, the folder holds the old file or the new one, and the sentence is right."""
    old = content(model.parent)
    real = getattr(os, call)
    outcomes = []
    for nth in range(1, 10):
        calls = []

        def fail(*args, _calls=calls, _nth=nth):
            _calls.append(args)
            if len(_calls) == _nth:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                archive.write(model, ARRAYS, {"new": True}, kind="model")
            except ModelFileError as error:
                outcomes.append("was saved" in str(error))
        if len(calls) < nth:
            break
        assert content(model.parent).keys() == old.keys()
        found = archive.read(model, kind="model")[1]
        assert found == ({"new": True} if outcomes[-1] else METADATA)
        model.write_bytes(old[model.name])
    # Only after the replacement, when the folder is flushed, is the new file in place.
    assert outcomes == {"fsync": [False, True], "open": [True]}.get(call, [False])


def test_folder_that_offers_no_sync(model, monkeypatch):
    real = os.fsync

    def no_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    archive.write(model, ARRAYS, {"new": True}, kind="model")
    assert archive.read(model, kind="model")[1] == {"new": True}


def test_no_such_folder(tmp_path):
    sentence = failed_save(tmp_path / "none" / "m")
    assert "No such file or directory" in sentence
    assert "create its folder first" in sentence


def test_name_of_a_folder_or_pipe(tmp_path):
    assert "it is a folder" in failed_save(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in failed_save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_no_permission_to_write():
    with ordinary_user() as folder:
        archive.write(folder / "m", ARRAYS, METADATA, kind="model")
        before = content(folder)
        folder.chmod(0o500)
        sentence = failed_save(folder / "m")
        folder.chmod(0o700)
        assert "Permission denied" in sentence
        assert "choose a folder that you may write to" in sentence
        assert content(folder) == before


def test_folder_that_may_be_written_but_not_listed():
    with ordinary_user() as folder:
        folder.chmod(0o300)
        archive.write(folder / "m", ARRAYS, METADATA, kind="model")
        assert_same(archive.read(folder / "m", kind="model")[0], ARRAYS)
        folder.chmod(0o700)


IN_A_MOUNT = """
import os, subprocess, sys
import numpy as np
from nbmlp.errors import ModelFileError
from nbmlp.io import archive

folder, case = sys.argv[1:]
path = os.path.join(folder, "m")
archive.write(path, {"w": np.ones(9)}, {"old": True}, kind="model")
if case == "read-only":
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
for _ in range(3):
    try:
        archive.write(path, {"w": np.ones(60_000)}, {}, kind="model")
    except ModelFileError as error:
        print(error)
    assert os.listdir(folder) == ["m"]
    assert archive.read(path, kind="model")[1] == {"old": True}
"""


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("full", "No space left on device (whatever was there before is unchanged); free some"),
        ("read-only", "Read-only file system (whatever was there before is unchanged); choose a"),
    ],
)
def test_real_mount(tmp_path, case, said):
    """A disk of 128 kB, mounted in a namespace of its own."""
    mount = 'mount -t tmpfs -o size=128k none "$0"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*inside, mount, tmp_path], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let us mount a small disk")
    program = [sys.executable, "-c", IN_A_MOUNT, tmp_path, case]
    done = subprocess.run(
        [*inside, f'{mount} && exec "$@"', tmp_path, *program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"cannot save {tmp_path}/m: {said}") == 3


def test_killed_at_any_moment_leaves_the_old_file(model):
    """SIGKILL cannot be cleaned up after, but the file itself is whole."""
    script = textwrap.dedent("""
        import os, signal, sys, time
        import numpy as np
        from nbmlp.io import archive
        print("go", flush=True)
        while True:
            archive.write(sys.argv[1], {"w": np.ones(300_000)}, {"old": False}, kind="model")
    """)
    for delay in np.random.default_rng(9).uniform(0, 0.05, 4):
        child = subprocess.Popen([sys.executable, "-c", script, model], stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            threading.Event().wait(delay)
            child.kill()
        archive.read(model, kind="model")
    names = {entry.name for entry in model.parent.iterdir()} - {model.name}
    assert all(name.startswith(".tmp-") and name.endswith(f"-{model.name}") for name in names)


def test_readers_never_see_a_mixture(tmp_path):
    path = tmp_path / "m"

    def save(i):
        arrays = {"a": np.full(20_000, i, np.int32), "b": np.full(20_000, i)}
        archive.write(path, arrays, {"i": i}, kind="model")

    def write_all():
        for i in range(1, 61):
            save(i)
        done.set()

    def read_all():
        while not done.is_set():
            arrays, values = archive.read(path, kind="model")
            seen.append({values["i"], *arrays["a"].tolist(), *arrays["b"].tolist()})

    save(0)
    seen: list[set[int]] = []
    done = threading.Event()
    threads = [threading.Thread(target=target) for target in (write_all, read_all, read_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) > 2
    assert all(len(values) == 1 for values in seen)
    assert os.listdir(tmp_path) == ["m"]


# ---------------------------------------------------------------- the atomic writer alone


def test_text(tmp_path):
    with atomic_write(tmp_path / "t.csv", "w") as file:
        file.write("größe\r\n1\n")
    assert (tmp_path / "t.csv").read_bytes() == "größe\r\n1\n".encode()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_exception_in_the_block_changes_nothing(tmp_path, error):
    path = tmp_path / "t"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as file:  # noqa: PT012
        file.write(b"new")
        raise error
    assert content(tmp_path) == {"t": b"old"}


def test_permissions_are_kept_and_default_to_the_umask(tmp_path):
    path = tmp_path / "t"
    before = os.umask(0o027)
    try:
        with atomic_write(path):
            pass
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        with atomic_write(path):
            pass
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "t")
    for text in (b"first", b"second"):
        with atomic_write(tmp_path / "link") as file:
            file.write(text)
        assert content(tmp_path / "real") == {"t": text}
    assert (tmp_path / "link").is_symlink()


def test_longest_name(tmp_path):
    for name in ("x" * 255, "é" * 127):
        with atomic_write(tmp_path / name) as file:
            file.write(b"x")
        assert (tmp_path / name).read_bytes() == b"x"
    assert "choose a shorter name" in failed_save(tmp_path / ("x" * 256))


def test_sentence_for_an_error_without_number():
    assert save_failure("m", OSError("odd")).startswith("cannot save m: odd (whatever")
    assert "was saved" in save_failure("m", FolderSyncError(errno.EIO, "odd"))
