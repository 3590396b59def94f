"""A thousand clients, slow ones and stalled ones; and the end with streams open."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from nbmlp import Client

pytestmark = pytest.mark.soak

CLIENTS, SECONDS = 1000, 60
RAISED = (
    "--rate", "1e6", "--burst", "1000000", "--max-connections", "5000", "--max-streams", "5000",
)  # fmt: skip


@dataclass
class Server:
    process: subprocess.Popen
    port: int
    token: str
    model: str = ""
    job: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def head(self, method: str, path: str, *more: str) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.token}",
        ]
        return "\r\n".join([*lines, *more, "", ""]).encode()

    def infer(self) -> bytes:
        tensor = {
            "name": "x",
            "shape": [1, 5],
            "datatype": "FP32",
            "data": [0.1, 0.2, 0.3, 0.4, 0.5],
        }
        body = json.dumps({"inputs": [tensor]}).encode()
        path = f"/v2/models/{self.model}/infer"
        return self.head("POST", path, f"Content-Length: {len(body)}") + body


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, _hard()), _hard()))
    command = [
        sys.executable, "-m", "nbmlp", "serve", "--port", "0", "--data-dir", str(folder / "data"),
        "--log-level", "error", "--cores", "1", *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        token = process.stdout.readline().split()[-1]
        server = Server(process, port, token)
        prepare(server, folder)
        yield server
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def prepare(server: Server, folder: Path) -> None:
    """A model to ask, and a job that goes on for long."""
    X = np.random.default_rng(0).normal(size=(100_000, 5)).astype(np.float32)
    np.savez(folder / "c.npz", X=X, y=X.sum(axis=1))
    with Client(server.url, server.token) as client:
        data = client.upload(folder / "c.npz")
        model = {"hidden": [50], "epochs": 1, "task": "regression"}
        server.model = client.wait(client.submit(data, model=model))["model_id"]
        server.job = client.submit(data, model={**model, "epochs": 100_000, "batch_size": 8})["id"]
        while client.job(server.job)["state"] != "running":
            time.sleep(0.2)


async def answer_to(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split()[1]), head, body


async def ask(server: Server, end: float, found: Counter, times: list[float]) -> None:
    """Predictions, one after the other, on one connection for as long as it lasts."""
    request = server.infer()
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            while time.monotonic() < end:
                start = time.perf_counter()
                writer.write(request)
                status, head, _ = await answer_to(reader)
                times.append(1e3 * (time.perf_counter() - start))
                found[status] += 1
                if status == 429:
                    found["with Retry-After"] += b"retry-after: " in head.lower()
                    await asyncio.sleep(0.5)
                    break
        except (OSError, asyncio.IncompleteReadError) as error:
            found[type(error).__name__] += 1
            await asyncio.sleep(0.2)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def follow(server: Server, end: float, found: Counter) -> None:
    """The events of a job that runs."""
    request = server.head("GET", f"/v1/jobs/{server.job}/events")
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            found[status] += 1
            if status == 429:
                found["with Retry-After"] += b"retry-after: " in head.lower()
                await asyncio.sleep(0.5)
                continue
            async with asyncio.timeout(max(0.1, end - time.monotonic())):
                while piece := await reader.read(1 << 16):
                    found["bytes"] += len(piece)
            found["ended early"] += 1
        except TimeoutError:
            return
        except (OSError, asyncio.IncompleteReadError) as error:
            found[type(error).__name__] += 1
            await asyncio.sleep(0.2)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def crowd(
    server: Server, clients: int, seconds: float
) -> tuple[Counter, Counter, list[float]]:
    end = time.monotonic() + seconds
    asked, followed, times = Counter(), Counter(), []
    half = clients // 2
    async with asyncio.TaskGroup() as group:
        for _ in range(half):
            group.create_task(ask(server, end, asked, times))
            group.create_task(follow(server, end, followed))
            await asyncio.sleep(0.002)
    return asked, followed, times


def memory(server: Server) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


def test_a_thousand_clients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path, *RAISED) as server:
        asyncio.run(crowd(server, CLIENTS, 10))
        before = memory(server)
        asked, followed, times = asyncio.run(crowd(server, CLIENTS, SECONDS))
        after = memory(server)
    p50, p99 = np.percentile(times, [50, 99])
    with capsys.disabled():
        print(
            f"\n{CLIENTS} clients, {SECONDS} s: {sum(asked.values())} predictions"
            f" ({sum(asked.values()) / SECONDS:.0f}/s), p50 {p50:.0f} ms, p99 {p99:.0f} ms;"
            f" {followed['bytes'] / 1e6:.0f} MB of events; memory {before:.0f} -> {after:.0f} MB"
        )
    assert set(asked) == {200}
    assert set(followed) == {200, "bytes"}
    assert after < 1.2 * before + 20


def test_default_limits_say_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        asked, followed, _ = asyncio.run(crowd(server, CLIENTS, 15))
        found = asked + followed
        assert set(found) <= {200, 429, "bytes", "with Retry-After"}, found
        assert found["with Retry-After"] == found[429] > 0
        time.sleep(3)
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200


def test_slow_and_silent_ones_harm_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, *RAISED) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        upload = socket.create_connection(("127.0.0.1", server.port))
        upload.sendall(server.head("PUT", "/v1/datasets/slow", "Content-Length: 1000000"))
        end = time.monotonic() + 10
        asked: Counter = Counter()

        async def both() -> None:
            async def drip() -> None:
                while time.monotonic() < end:
                    upload.send(b"1")
                    await asyncio.sleep(1)

            times: list[float] = []
            await asyncio.gather(drip(), *(ask(server, end, asked, times) for _ in range(10)))

        asyncio.run(both())
        assert set(asked) == {200}
        assert asked[200] > 1000
        for connection in (upload, *held):
            connection.close()


def test_a_stalled_reader_is_cut_off(tmp_path: Path) -> None:
    with serving(tmp_path, *RAISED, "--write-seconds", "2") as server:
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", server.port))
        stalled.sendall(server.head("GET", f"/v1/jobs/{server.job}/events"))
        process = psutil.Process(server.process.pid)
        local = stalled.getsockname()[1]

        def open_still() -> bool:
            return any(c.raddr and c.raddr.port == local for c in process.net_connections())

        before = memory(server)
        for _ in range(600):
            if not open_still():
                break
            time.sleep(0.1)
        assert not open_still()
        assert memory(server) < before + 30
        stalled.close()


def test_the_end_with_streams_open(tmp_path: Path) -> None:
    with serving(tmp_path, *RAISED) as server:
        streams = []
        for _ in range(100):
            stream = socket.create_connection(("127.0.0.1", server.port))
            stream.sendall(server.head("GET", f"/v1/jobs/{server.job}/events"))
            assert stream.recv(20).split()[1] == b"200"
            streams.append(stream)
        start = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(20)
        assert time.monotonic() - start < 5
        for stream in streams:
            stream.close()
