"""How long one prediction takes over HTTP: one row of net C, one connection, server running.

python -m bench.predict_latency
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.serving import Serving, serving
from nbmlp.client import Client

_ROWS = 2000


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


def _request(server: Serving, model: str) -> bytes:
    tensor = {"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4, 0.5]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\n"
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder / "data", "--rate", "1e6", "--burst", "1000000") as server:
            with server.client() as client:
                model = _train(client, folder)
            request = _request(server, model)
            _measure(server.port, request, 200)
            times = _measure(server.port, request, calls)
    p50, p99 = np.percentile(times, [50, 99])
    print(f"{calls} calls of one row, keep-alive: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


if __name__ == "__main__":
    main()
