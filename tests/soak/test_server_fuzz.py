"""Thousands of damaged files: each is taken or refused in one sentence, and the server lives."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.io
from server_fake import FakeService
from server_live import Live, live

from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.soak

FILES = 5000
SEED = 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))


def _file(write: object, *given: object, **options: object) -> bytes:
    write(file := io.BytesIO(), *given, **options)
    return file.getvalue()


def originals() -> dict[str, bytes]:
    words = ["Bonn", "Rome", "", "NaN", "é", '"a,b"', "1e400", "-inf"]
    lines = [f"{i},{i / 7:.3f},{words[i % 8]}" for i in range(60)]
    frame = pl.DataFrame({"a": X[:, 0], "b": ["x", None] * 20, "c": list(range(40))})
    arrays = {"X": X, "y": np.arange(40)[:, np.newaxis]}
    return {
        "csv": ("a,b,c\n" + "\n".join(lines) + "\n").encode(),
        "npy": _file(np.save, X),
        "npz": _file(np.savez, **arrays),
        "npz packed": _file(np.savez_compressed, **arrays),
        "mat": _file(scipy.io.savemat, arrays),
        "mat packed": _file(scipy.io.savemat, arrays, do_compression=True),
        "parquet": _file(lambda file: frame.write_parquet(file)),
        "parquet plain": _file(lambda file: frame.write_parquet(file, compression="uncompressed")),
    }


WORDS = [
    b"\0", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"(", b"'descr': '|O'", b"99999999999",
    b"-1", b"NaN", b"inf", b'"', b"\n", b",", b",,,,", b"\r", b"\xef\xbb\xbf", b"\x1f\x8b", b"PK",
]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, repeated, or replaced by something nasty."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(found) + 1)
        # Headers decide the most.
        at = min(at, rng.choice((16, 128, 512, len(found))))
        kind = rng.randrange(6)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            word = rng.choice(WORDS)
            found[at : at + len(word)] = word
        elif kind == 2:
            found[at:at] = rng.choice(WORDS)
        elif kind == 3:
            del found[at : at + rng.choice((1, 8, 100))]
        elif kind == 4:
            piece = found[at : at + rng.choice((1, 20, 300))]
            found[at:at] = piece * rng.choice((1, 3, 50))
        else:
            del found[rng.randrange(len(found) + 1) :]
    return bytes(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("fuzz")
    settings = ServerSettings(
        data_dir=folder, port=0, rate=1e6, burst=10**6, parse_memory_mb=2048, parse_seconds=20
    )
    with live(FakeService(folder), settings) as running:
        yield running


def test_damaged_files(server: Live, capsys: pytest.CaptureFixture[str]) -> None:
    rng, sources = random.Random(SEED), originals()
    statuses: Counter[tuple[str, int]] = Counter()
    with server.client() as client:
        for i in range(FILES):
            kind = list(sources)[i % len(sources)]
            data = mutated(sources[kind], rng)
            answer = client.put(f"/v1/datasets/file-{i}", content=data)
            said = answer.json()
            statuses[kind, answer.status_code] += 1
            if answer.status_code == 201:
                client.delete(f"/v1/datasets/{said['id']}")
                continue
            assert answer.status_code in (413, 415, 422), (i, answer.text)
            assert set(said) == {"error"}
            assert said["error"].startswith(f"file-{i}"), said
            assert len(said["error"].splitlines()) == 1, said
            assert str(server.settings.data_dir) not in said["error"]
        assert client.get("/v2/health/ready").status_code == 200
    with capsys.disabled():
        print(f"\n{FILES} damaged files:")
        for (kind, status), count in sorted(statuses.items()):
            print(f"  {kind:14} {status}: {count}")


def test_originals_are_taken(server: Live) -> None:
    with server.client() as client:
        for kind, data in originals().items():
            assert client.put(f"/v1/datasets/{kind}", content=data).status_code == 201, kind


def test_paths_are_nowhere(server: Live) -> None:
    assert {path.parent for path in Path(server.settings.data_dir).rglob("*")} == {
        server.settings.data_dir
    }
