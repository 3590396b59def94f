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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from server_jobs import until

from nbmlp import MLP, Client
from nbmlp.client import DatasetInfo, JobInfo

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
def running(folder: Path, *options: str, token: str = "") -> Iterator[Server]:
    """A server on the data in a folder; the token of a former start, unless it is the first."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, _hard()), _hard()))
    command = [
        sys.executable, "-m", "nbmlp", "serve", "--port", "0", "--data-dir", str(folder / "data"),
        "--log-level", "error", *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        yield Server(process, port, token or process.stdout.readline().split()[-1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """With a model to ask and a job that goes on for long."""
    with running(folder, "--cores", "1", *options) as server:
        prepare(server, folder)
        yield server


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def rows(folder: Path, count: int) -> Path:
    """Five columns and their sum."""
    X = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    path = folder / "c.npz"
    np.savez(path, X=X, y=X.sum(axis=1))
    return path


def prepare(server: Server, folder: Path) -> None:
    with Client(server.url, server.token) as client:
        data = client.upload(rows(folder, 100_000))
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


@asynccontextmanager
async def connected(server: Server, found: Counter) -> AsyncIterator[Any]:
    """A connection; what breaks it is counted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    except (OSError, asyncio.IncompleteReadError) as error:
        found[type(error).__name__] += 1
        await asyncio.sleep(0.2)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def turned_away(status: int, head: bytes, found: Counter) -> bool:
    """Count an answer; wait a moment if it says so."""
    found[status] += 1
    if status == 429:
        found["with Retry-After"] += b"retry-after: " in head.lower()
        await asyncio.sleep(0.5)
    return status == 429


async def ask(server: Server, end: float, found: Counter, times: list[float]) -> None:
    """Predictions, one after the other, on one connection for as long as it lasts."""
    request = server.infer()
    while time.monotonic() < end:
        async with connected(server, found) as (reader, writer):
            while time.monotonic() < end:
                start = time.perf_counter()
                writer.write(request)
                status, head, _ = await answer_to(reader)
                times.append(1e3 * (time.perf_counter() - start))
                if await turned_away(status, head, found):
                    break


async def follow(server: Server, end: float, found: Counter) -> None:
    """The events of a job that runs."""
    request = server.head("GET", f"/v1/jobs/{server.job}/events")
    while time.monotonic() < end:
        async with connected(server, found) as (reader, writer):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if await turned_away(int(head.split()[1]), head, found):
                continue
            try:
                async with asyncio.timeout(max(0.1, end - time.monotonic())):
                    while piece := await reader.read(1 << 16):
                        found["bytes"] += len(piece)
            except TimeoutError:
                return
            found["ended early"] += 1


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
    """Of a job with much to tell: more than the system's buffers hold."""
    with running(tmp_path, *RAISED, "--write-seconds", "2") as server:
        with Client(server.url, server.token) as client:
            data = client.upload(rows(tmp_path, 40))
            server.job = client.submit(data, model={"hidden": [4], "epochs": 100_000})["id"]
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", server.port))
        stalled.sendall(server.head("GET", f"/v1/jobs/{server.job}/events"))
        process = psutil.Process(server.process.pid)
        local = stalled.getsockname()[1]

        def open_still() -> bool:
            return any(c.raddr and c.raddr.port == local for c in process.net_connections())

        until(open_still, 10)  # accepted
        before = memory(server)
        until(lambda: not open_still(), 60)
        assert memory(server) < before + 30
        stalled.close()


def open_streams(server: Server, job: str, count: int) -> list[socket.socket]:
    """Followers of a job who have been answered and read no further."""
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", server.port))
        stream.sendall(server.head("GET", f"/v1/jobs/{job}/events"))
        assert stream.recv(20).split()[1] == b"200"
        streams.append(stream)
    return streams


def terminate(server: Server) -> float:
    """Seconds from the signal to the end."""
    start = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(20)
    return time.monotonic() - start


EPOCHS = 150


def submit_two(client: Client, data: DatasetInfo) -> list[JobInfo]:
    """Jobs of some seconds, one core each."""
    model = {"hidden": [50], "epochs": EPOCHS, "batch_size": 8, "dropout": 0.1}
    return [client.submit(data, model={**model, "seed": seed}, threads=1) for seed in (1, 2)]


def left_by(folder: Path) -> list[psutil.Process]:
    """Processes that work below a folder."""
    return [p for p in psutil.process_iter(["cwd"]) if str(folder) in (p.info["cwd"] or "")]


def check_resumed(client: Client, job: JobInfo, undisturbed: JobInfo, folder: Path) -> None:
    """It went on from a checkpoint, once, and is the same as the other in every bit."""
    told = [e["data"]["text"] for e in client.stream(job) if e["kind"] == "message"]
    assert len(told) == 1
    assert re.fullmatch(r"resumed from (row [1-9]\d* of )?epoch [1-9]\d*", told[0])
    models = []
    for found in (client.job(job), undisturbed):
        client.download(found["model_id"], folder / "model")
        models.append(MLP.load(folder / "model"))
    assert np.array_equal(models[0].get_flat(), models[1].get_flat())
    assert len(models[0].history) == len(client.metrics(job)) == EPOCHS


def test_the_end_with_streams_open_and_the_jobs_that_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*RAISED, "--cores", "2", "--checkpoint-seconds", "0.5")
    with running(tmp_path, *options) as server, Client(server.url, server.token) as client:
        data = client.upload(rows(tmp_path, 50_000))
        undisturbed = [client.wait(job) for job in submit_two(client, data)]
        jobs = submit_two(client, data)
        while not all((j := client.job(job))["state"] == "running" and j["epoch"] > 20
                      for job in jobs):  # fmt: skip
            time.sleep(0.05)
        streams = [s for job in jobs for s in open_streams(server, job["id"], 50)]
        seconds = terminate(server)
        for stream in streams:
            stream.close()
    assert left_by(tmp_path) == []
    with (
        running(tmp_path, *options, token=server.token) as server,
        Client(server.url, server.token) as client,
    ):
        for job, other in zip(jobs, undisturbed, strict=True):
            check_resumed(client, job, other, tmp_path)
    with capsys.disabled():
        print(f"\n2 jobs, 100 streams: ended in {seconds:.2f} s, both went on with the same bits")
    assert seconds < 5


def test_thousands_of_epochs_per_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept of each epoch is small and on disk: the server's memory stays as it is."""
    epochs, database = 50_000, tmp_path / "data" / "nbmlp.sqlite"
    with running(tmp_path, *RAISED) as server, Client(server.url, server.token) as client:
        data = client.upload(rows(tmp_path, 40))
        used = []
        for _ in range(4):
            start = time.monotonic()
            job = client.submit(data, model={"hidden": [4], "epochs": epochs})
            streamed = [
                row["epoch"]
                for event in client.stream(job)
                if event["kind"] == "epochs"
                for row in event["data"]["rows"]
            ]
            seconds = time.monotonic() - start
            assert streamed == list(range(1, epochs + 1))
            assert [row["epoch"] for row in client.metrics(job)] == streamed
            used.append(memory(server))
        size = database.stat().st_size / (4 * epochs)
    with capsys.disabled():
        told = ", ".join(f"{m:.0f}" for m in used)
        print(
            f"\n4 jobs of {epochs} epochs, the last at {epochs / seconds:.0f}/s: memory after each"
            f" {told} MB; {size:.0f} bytes of the database per epoch"
        )
    # The first job brings in what is loaded once. Kept in memory, each further one would add 50 MB.
    assert used[-1] < 1.1 * used[1] + 20
    assert size < 400
