"""Requests that are made to cost far more than they should: each list of them ends by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

__all__ = ["ATTACKS"]

_MB = 1 << 20
_SECONDS = 300.0
Address = tuple[str, int]
Attack = Callable[[Address, str], Any]
#: What may come of an attack: it is refused, or answered, and never a mistake of the server.
_FINE = {200, 201, 204, 400, 404, 413, 422, 429}


def _client(address: Address, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url="http://{}:{}".format(*address), headers=headers, timeout=_SECONDS)


def _model(http: httpx.Client) -> str:
    """One of named columns, ``age`` and ``city``."""
    return str(http.get("/v1/models").json()["data"][0]["id"])


def _post(http: httpx.Client, path: str, content: bytes, **headers: str) -> int:
    """The status; 0 when the connection was closed instead, as it is on bodies without end."""
    kinds = {"Content-Type": "application/json", **headers}
    try:
        with http.stream("POST", path, content=content, headers=kinds) as answer:
            for _ in answer.iter_raw():
                pass
            return answer.status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


def _get(http: httpx.Client, path: str) -> int:
    with http.stream("GET", path) as answer:
        for _ in answer.iter_raw():
            pass
        return answer.status_code


def _all(calls: Iterator[Callable[[], int]], at_once: int = 4) -> Counter[int]:
    with ThreadPoolExecutor(at_once) as pool:
        found = Counter(pool.map(lambda call: call(), calls))
    assert set(found) <= _FINE | {0}, found
    return found


def _infer(
    address: Address, token: str, content: bytes, times: int, **headers: str
) -> Counter[int]:
    with _client(address, token) as http:
        path = f"/v2/models/{_model(http)}/infer"
        return _all((lambda: _post(http, path, content, **headers)) for _ in range(times))


def _tensors(rows: int, age: str, city: str) -> bytes:
    """A request in JSON, with values as they are to stand in it."""
    return (
        f'{{"inputs": [{{"name": "age", "shape": [{rows}], "datatype": "FP64", "data": [{age}]}},'
        f' {{"name": "city", "shape": [{rows}], "datatype": "BYTES", "data": [{city}]}}]}}'
    ).encode()


def one_output_many_times(address: Address, token: str) -> Any:
    """0.5 MB, for which the answer was 824 MB."""
    rows = 20_000
    text = json.loads(_tensors(rows, ", ".join(["1.5"] * rows), ", ".join(["null"] * rows)))
    text["outputs"] = [{"name": "probabilities"}] * 2000
    return _infer(address, token, json.dumps(text).encode(), 40)


def unknown_names(address: Address, token: str) -> Any:
    """To a route that takes 64 kB."""
    long = json.dumps({f"unknown {i}": i for i in range(600_000)}).encode()
    short = json.dumps({f"unknown {i}": i for i in range(900)}).encode()
    assert len(long) > 12 * _MB
    with _client(address, token) as http:
        bodies = [long, *[short] * 40] * 4
        return _all((lambda body=body: _post(http, "/v1/jobs", body)) for body in bodies)


def nested_lists(address: Address, token: str) -> Any:
    """16 MB, as wide and as deep as they can be."""
    size = 16 * _MB - 1000
    bodies = [
        _tensors(1, "[]," * (size // 3) + "1", '"a"'), _tensors(1, "[" * size, '"a"'),
        _tensors(1, '{"":0},' * (size // 7) + "1", '"a"'), b"[" * size,
    ]  # fmt: skip
    return [_infer(address, token, body, 2) for body in bodies]


def long_numbers(address: Address, token: str) -> Any:
    """16 MB that are all right."""
    rows = 700_000
    return _infer(address, token, _tensors(rows, ",".join(["1.25"] * rows),
                                           ",".join(['"Bonn"'] * rows)), 2)  # fmt: skip


def large_answers(address: Address, token: str) -> Any:
    """Few bytes a row, and many of the answer."""
    found = []
    for rows in (200_000, 2_600_000):
        sizes = {"age": ("UINT8", rows), "city": ("BYTES", 5 * rows)}
        inputs = [
            {"name": name, "shape": [rows], "datatype": kind,
             "parameters": {"binary_data_size": size}}
            for name, (kind, size) in sizes.items()
        ]  # fmt: skip
        head = json.dumps({"inputs": inputs}).encode()
        length = {"Inference-Header-Content-Length": str(len(head))}
        body = head + bytes(rows) + b"\1\0\0\0x" * rows
        found.append(_infer(address, token, body, 4, **length))
    return found


def wide_tables(address: Address, token: str) -> Any:
    """Lists of tables with thousands of columns, and such a table."""
    with _client(address, token) as http:
        first = http.get("/v1/datasets?limit=1").json()["data"][0]["id"]
        paths = ["/v1/datasets?limit=200", "/", "/v1/jobs?limit=200", f"/v1/datasets/{first}"] * 25
        return _all((lambda path=path: _get(http, path)) for path in paths)


def long_curves(address: Address, token: str) -> Any:
    """A hundred thousand epochs, in all the ways in which they can be asked for."""
    with _client(address, token) as http:
        jobs = http.get("/v1/jobs?limit=200").json()["data"]
        job = next(job["id"] for job in jobs if job["epoch"] == 100_000)
        ways = ["metrics?points=2000", "metrics?after=97000", "metrics"] * 20 + ["events"] * 2
        paths = [f"/v1/jobs/{job}/{way}" for way in ways] + [f"/jobs/{job}/curve.csv"] * 2
        return _all((lambda path=path: _get(http, path)) for path in paths)


ATTACKS: list[tuple[str, Attack]] = [
    ("one output 2000 times", one_output_many_times), ("unknown names", unknown_names),
    ("nested lists", nested_lists), ("16 MB of numbers and texts", long_numbers),
    ("large answers", large_answers), ("wide tables", wide_tables), ("long curves", long_curves),
]  # fmt: skip
