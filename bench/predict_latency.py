"""How long one prediction takes over HTTP: one row of net C, one connection, server running.

python -m bench.predict_latency
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from nbmlp.client import Client

_ROWS = 2000


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _start(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    command = [
        sys.executable, "-m", "nbmlp", "serve", "--port", str(port), "--data-dir", str(folder),
        "--rate", "1e6", "--burst", "1000000", "--log-level", "warning",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    token = server.stdout.readline().split()[-1]
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").raise_for_status()
            return server, token
        except httpx.HTTPError:
            time.sleep(0.1)


def _train(client: Client, folder: Path) -> str:
    """A model of net C, 5-50-1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(_ROWS, 5)).astype(np.float32)
    np.savez(folder / "c.npz", X=X, y=X.sum(axis=1))
    data = client.upload(folder / "c.npz")
    spec = {"hidden": [50], "epochs": 2, "task": "regression"}
    model = client.wait(client.submit(data, model=spec))["model_id"]
    assert model is not None
    return model


def _request(port: int, token: str, model: str) -> bytes:
    tensor = {"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4, 0.5]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _measure(port: int, request: bytes, calls: int) -> list[float]:
    """Milliseconds of each call, the client's own work left out as far as can be."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(calls):
            start = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(1 << 16)
            times.append(1e3 * (time.perf_counter() - start))
            assert answer.startswith(b"HTTP/1.1 200"), answer
    return times


def main() -> None:
    """Start a server, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args().calls
    port = _free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, token = _start(folder / "data", port)
        try:
            with Client(f"http://127.0.0.1:{port}", token) as client:
                model = _train(client, folder)
            request = _request(port, token, model)
            _measure(port, request, 200)
            times = _measure(port, request, calls)
        finally:
            server.terminate()
            server.wait()
    p50, p99 = np.percentile(times, [50, 99])
    print(f"{calls} calls of one row, keep-alive: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


if __name__ == "__main__":
    main()
