"""Content that is made to cost more than it is worth: refused in a sentence, never a 500."""

from __future__ import annotations

import asyncio
import ctypes
import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from server_fake import FakeService
from server_live import Live, live

from nbmlp import MLP
from nbmlp.data import Table
from nbmlp.server.http import inference, memory
from nbmlp.server.http.tensors import InferRequest, binary_form, decode
from nbmlp.server.settings import ServerSettings
from nbmlp.server.strict_json import MalformedError, loads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9000, 5)).astype(np.float32)
CITIES = np.array(["Bonn", "Rome", "Köln"], object)[RNG.integers(0, 3, 9000)]
AGES = RNG.normal(40, 9, 9000)
DIGITS = "9" * 5000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    settings = ServerSettings(data_dir=folder, port=0, rate=1e6, burst=10**6, body_mb=4, work_mb=16)
    with live(FakeService(folder), settings) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Live) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def numbers(server: Live) -> tuple[str, MLP]:
    mlp = MLP(20, epochs=1, task="regression", threads=1).fit(X[:300], X[:300].sum(axis=1))
    return server.service.add_model(mlp, [(f"x{j}", "number") for j in range(5)]).id, mlp


@pytest.fixture(scope="module")
def towns(server: Live) -> tuple[str, MLP]:
    table = Table({"age": AGES[:300], "city": CITIES[:300]})
    mlp = MLP(5, epochs=1, threads=1).fit(table, CITIES[:300])
    return server.service.add_model(mlp, [("age", "number"), ("city", "text")]).id, mlp


def tensor(values: Any, shape: list[int], kind: str = "FP32", name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": kind, "data": values}


def ask(http: httpx.Client, model: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/v2/models/{model}/infer", content=content, headers=headers)


def refused(answer: httpx.Response, words: str, *statuses: int) -> None:
    assert answer.status_code in (statuses or (400, 422)), answer.text[:300]
    said = answer.json()["error"]
    assert words in said
    assert len(said) < 500
    assert len(answer.content) < 1000


# -- what is refused

ONE = tensor([1.0] * 5, [1, 5])
TEXT = json.dumps({"inputs": [ONE]})
DEEP = "[" * 100_000
WRONG: dict[str, tuple[Any, str]] = {
    "one output 2000 times": (
        {"inputs": [ONE], "outputs": [{"name": "prediction"}] * 2000}, "two outputs",
    ),
    "a name twice": (TEXT[:-1] + ', "inputs": []}', "'inputs' twice"),
    "a name twice within": (TEXT.replace('"shape"', '"name": "y", "shape"'), "'name' twice"),
    "many names": ({"inputs": [ONE], **{str(i): 0 for i in range(3000)}}, "3001 names"),
    "deep": ('{"inputs": ' + DEEP, "too deeply"),
    "deep data": ({"inputs": [tensor([[[[[[1.0]]]]]] * 5, [1, 5])]}, "no FP32"),
    "a product that overflows": (
        {"inputs": [tensor([], [0, 2**31, 2**31, 2**31])]}, "no rows",
    ),
    "another": ({"inputs": [tensor([], [1, 0, 2**31, 2**31])]}, "no rows"),
    "a large product": ({"inputs": [tensor([1.0], [2**31, 2**31])]}, "1 values"),
    "a number of 5000 digits": (TEXT.replace("1.0", DIGITS), "too long"),
    "a shape of 5000 digits": (TEXT.replace("[1, 5]", f"[{DIGITS}]"), "too long"),
    "many wrong inputs": ({"inputs": [{}] * 10_000}, "inputs.0"),
    "many inputs": (
        {"inputs": [tensor([1.0], [1], "FP32", str(i)) for i in range(100)]}, "100 inputs",
    ),
    "a wide text among many": (
        {"inputs": [tensor(["a" * 30_000] + [1] * 10_000, [10_001, 1])]}, "no FP32",
    ),
    "half a surrogate pair": ({"inputs": [tensor(["\ud800"], [1], "BYTES")]}, "no BYTES"),
    "lists": ({"inputs": [tensor([[]] * 100_000, [100_000, 5])]}, "values"),
    "objects": ({"inputs": [tensor([{}] * 100_000, [20_000, 5])]}, "no FP32"),
    "not UTF-8": (b'{"id": "\xff"}', "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(http: httpx.Client, numbers: tuple[str, MLP], case: str) -> None:
    body, words = WRONG[case]
    refused(ask(http, numbers[0], body.encode() if isinstance(body, str) else body), words)


@pytest.mark.parametrize("length", [DIGITS, "-1", "1e3", "0x10", "99999999", "²", ""])
def test_lengths_that_are_none(http: httpx.Client, numbers: tuple[str, MLP], length: str) -> None:
    headers = {inference.JSON_LENGTH.encode(): length.encode()}
    body = json.dumps({"inputs": [ONE]})
    answer = http.post(f"/v2/models/{numbers[0]}/infer", content=body, headers=headers)
    refused(answer, "no length")


@pytest.mark.parametrize(
    ("raw", "size", "shape", "words"),
    [
        (b"\0" * 8, 8, [2**31], "8 bytes"),
        (b"\0" * 8, 8, [0, 2**31, 2**31, 2**31], "no rows"),
        (b"\0" * 8, 8, [1], "more values"),
        (b"\1\0\0\0\xff" * 2, 10, [2], "UTF-8"),
        (b"\1\0\0\0a\3", 6, [1], "more values"),
        (b"\5\0\0\0abc", 7, [1], "middle"),
        (b"", 2**70, [1], "not 1180591620717411303"),
    ],
)
def test_bytes_that_lie(
    http: httpx.Client, towns: tuple[str, MLP], raw: bytes, size: int, shape: list[int], words: str
) -> None:
    age = tensor([1.0] * min(shape[0], 4), [min(shape[0], 4)], "FP64", "age")
    if shape[0] > 4:
        age["shape"] = shape
    city = {"name": "city", "shape": shape, "datatype": "BYTES"}
    city["parameters"] = {"binary_data_size": size}
    for inputs in ([city, age], [city]):
        head = json.dumps({"inputs": inputs}).encode()
        answer = ask(http, towns[0], head + raw, **{inference.JSON_LENGTH: str(len(head))})
        assert answer.status_code == 422, answer.text
        if len(inputs) == 2:
            assert words in answer.json()["error"]


def test_an_answer_that_is_too_large(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    """Its size is known before a single row is predicted: 4 MB are a quarter of what may be."""
    rows = 60_000
    inputs = [
        {**tensor(None, [rows], "UINT8", "age"), "parameters": {"binary_data_size": rows}},
        {**tensor(None, [rows], "BYTES", "city"), "parameters": {"binary_data_size": 4 * rows}},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    length = {inference.JSON_LENGTH: str(len(head))}
    answer = ask(http, towns[0], head + bytes(5 * rows), **length)
    refused(answer, "fewer rows", 413)
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "prediction"}]}).encode()
    length = {inference.JSON_LENGTH: str(len(head))}
    answer = ask(http, towns[0], head + bytes(5 * rows), **length)
    assert len(answer.json()["outputs"][0]["data"]) == rows


def test_a_job_with_a_name_twice_or_thousands_of_mistakes(http: httpx.Client) -> None:
    for body, words in (
        ('{"dataset_id": "' + "0" * 26 + '", "model": {"l1": 0, "l1": 1}}', "'l1' twice"),
        (json.dumps({f"unknown {i}": 0 for i in range(900)}), "more)"),
        (json.dumps({f"k{i}": 0 for i in range(5000)}), "5000 names"),
        (json.dumps({"dataset_id": "0" * 26, "columns": [{}] * 10_000}), "columns"),
        ('{"dataset_id": ' + "[" * 30_000, "too deeply"),
        ('{"dataset_id": ' + "9" * 10_000 + "}", "too long"),
        ("{", "line 1, column 2"),
    ):
        headers = {"Content-Type": "application/json"}
        refused(http.post("/v1/jobs", content=body, headers=headers), words)


# -- what is taken, however long


@pytest.mark.parametrize("long", [False, True], ids=["here", "in a process"])
def test_long_numbers(
    http: httpx.Client, numbers: tuple[str, MLP], long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer, and the same refusals, whoever reads the JSON."""
    if not long:
        monkeypatch.setattr(inference, "_LONG", 1 << 21)
    found = ask(http, numbers[0], {"inputs": [tensor(X.ravel().tolist(), [9000, 5])]}).json()
    (output,) = found["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP64", [9000])
    assert output["data"] == numbers[1].predict(X).tolist()
    for values, words in ((["1"] * 45_000, "no FP32"), ([None] * 45_000, "NaN at row 0")):
        refused(ask(http, numbers[0], {"inputs": [tensor(values, [9000, 5])]}), words)
    body = (json.dumps({"inputs": [tensor([1.0] * 45_000, [9000, 5])]})[:-1] + "x").encode()
    refused(ask(http, numbers[0], body), "no JSON", 400)


@pytest.mark.parametrize("binary", [False, True])
def test_long_texts(http: httpx.Client, towns: tuple[str, MLP], binary: bool) -> None:
    cities = [None if i % 7 == 0 else city for i, city in enumerate(CITIES)]
    inputs = [
        tensor(AGES.tolist(), [9000, 1], "FP64", "age"), tensor(cities, [9000], "BYTES", "city"),
    ]  # fmt: skip
    outputs = [
        {"name": "probabilities", "parameters": {"binary_data": binary}}, {"name": "prediction"},
    ]  # fmt: skip
    answer = ask(http, towns[0], {"inputs": inputs, "outputs": outputs, "id": "7"})
    size = int(answer.headers.get(inference.JSON_LENGTH, len(answer.content)))
    found = json.loads(answer.content[:size])
    assert found["id"] == "7"
    table = Table({"age": AGES, "city": np.array(cities, object)})
    proba, labels = found["outputs"]
    assert (proba["shape"], labels["shape"]) == ([9000, 3], [9000])
    assert labels["data"] == towns[1].predict(table).tolist()
    told = np.frombuffer(answer.content[size:]) if binary else proba["data"]
    assert np.allclose(told, towns[1].predict_proba(table).ravel(), atol=1e-6)


def test_bytes_behind_long_json(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    raw = b"".join(struct.pack("<I", len(c.encode())) + c.encode() for c in CITIES)
    city = {"name": "city", "shape": [9000], "datatype": "BYTES"}
    city["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [city, tensor(AGES.tolist(), [9000], "FP64", "age")]}).encode()
    answer = ask(http, towns[0], head + raw, **{inference.JSON_LENGTH: str(len(head))})
    table = Table({"age": AGES, "city": CITIES})
    assert answer.json()["outputs"][0]["data"] == towns[1].predict(table).tolist()


KINDS = ("BOOL", "UINT8", "INT16", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES")


@pytest.mark.parametrize("kind", KINDS)
def test_the_binary_form_has_the_same_values(kind: str) -> None:
    values: list[Any] = {
        "BOOL": [True, False], "UINT64": [2**64 - 1, 2**63], "INT64": [-(2**63), 1],
        "BYTES": ["é", None, "", "x"],
    }.get(kind, [1, 2, 3])  # fmt: skip
    given = tensor(values, [len(values)], kind)
    asked = InferRequest.parse(json.dumps({"inputs": [given], "id": "a"}).encode(), 1)
    head, raw = binary_form(asked, memoryview(b""))
    again = InferRequest.model_validate(json.loads(json.dumps(head)))
    column = again.columns(memoryview(raw))["x"]
    expected = decode(asked.inputs[0])
    for start in range(0, len(values), 2):
        rows = min(2, len(values) - start)
        assert column.take(rows).tolist() == expected[start : start + rows].tolist()
    column.close()
    assert again.id == "a"


def test_strict_json() -> None:
    assert loads(b'{"a": [1, {"a": null}], "b": "\xc3\xa9"}') == {"a": [1, {"a": None}], "b": "é"}
    for text in (b'{"a": 1, "a": 1}', b"[" * 10**6, b"1" * 5000, b"", b"\xff", b"[1,]"):
        with pytest.raises(MalformedError):
            loads(text)


# -- whatever else may come

WORDS = [
    "null", "true", "-1", "0", "1e999", "NaN", "[]", "{}", '""', "[0,2147483648,2147483648]",
    "[1,5]", "9" * 400, DIGITS, '"BYTES"', '"FP64"', '"INT8"', '"x"', '"\\ud800"', "[[[[[1]]]]]",
    '{"binary_data_size": 8}', '{"binary_data_size": -1}', '{"binary_data_size": true}',
    '{"binary_data": true}', '[{"name": "prediction"}]', "2147483649", "[null]", '["a",1]', "-0.0",
]  # fmt: skip


def mutated(value: Any, rng: random.Random) -> str:
    """JSON with some values replaced, and now and then a name that comes twice."""
    if rng.random() < 0.12:
        return rng.choice(WORDS)
    if isinstance(value, dict):
        items = [(k, mutated(v, rng)) for k, v in value.items() if rng.random() > 0.04]
        items += items[:1] * (rng.random() < 0.02)
        return "{" + ", ".join(f"{json.dumps(k)}: {v}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(mutated(v, rng) for v in value) + "]"
    return json.dumps(value)


def test_no_request_is_a_mistake_of_the_server(
    http: httpx.Client, numbers: tuple[str, MLP], towns: tuple[str, MLP]
) -> None:
    rng = random.Random(5)
    text = tensor(["Bonn", None], [2], "BYTES", "city")
    infer = {
        "id": "1", "parameters": {"binary_data_output": False}, "outputs": [{"name": "prediction"}],
        "inputs": [tensor([40.5, None], [2], "FP64", "age"), text],
    }  # fmt: skip
    job = {
        "dataset_id": "0" * 26, "target": ["a", 1], "columns": ["b"], "name": "n", "test": 0.1,
        "model": {"hidden": [4], "epochs": 3, "loss": "huber(1.5)", "batch_size": None},
        "early_stopping": {"patience": 3}, "limits": {"memory_mb": 512},
    }  # fmt: skip
    answers = set()
    for i in range(1200):
        path, body = [
            (f"/v2/models/{numbers[0]}/infer", {"inputs": [ONE]}),
            (f"/v2/models/{towns[0]}/infer", infer),
            ("/v1/jobs", job),
        ][i % 3]
        content = mutated(body, rng).encode() + b"\0" * rng.choice((0, 0, 8))
        headers = {"Content-Type": "application/json"}
        if i % 3 < 2 and rng.random() < 0.5:
            headers[inference.JSON_LENGTH] = str(max(0, len(content) - rng.choice((0, 8, 9))))
        answer = http.post(path, content=content, headers=headers)
        answers.add(answer.status_code)
        assert answer.status_code in (200, 400, 404, 422), (content, answer.text)
        assert answer.status_code == 200 or {"error"} <= set(answer.json()) <= {"error", "fields"}
    assert {200, 400, 422} <= answers


QUERIES = ("after", "limit", "points", "last_event_id", "job", "like", "next")


def test_no_address_is_a_mistake_of_the_server(http: httpx.Client) -> None:
    rng = random.Random(6)
    strange = ["", "%00", "..", "%ff", "0" * 26, "9" * 5000, "-1", "1e3", "²", "%0a", "[", "null"]
    paths = ("/v1/datasets", "/v1/jobs", "/v1/models", "/v2/models", "/jobs", "/datasets",
             "/compare", "/models", "/")  # fmt: skip
    ends = ("", "/metrics", "/events", "/checkpoints", "/file", "/ready", "/curve.csv", "/status")
    for _ in range(400):
        path = rng.choice(paths) + rng.choice(("", "/" + rng.choice(strange))) + rng.choice(ends)
        path = "/" + path.lstrip("/")
        query = "&".join(f"{rng.choice(QUERIES)}={rng.choice(strange)}" for _ in range(2))
        headers = {"Last-Event-ID": "9" * 5000} if rng.random() < 0.1 else {}
        answer = http.get(f"{path}?{query}", headers=headers)
        assert answer.status_code < 500, (path, query, answer.text)


def test_memory_that_many_answers_leave_behind_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is worth it: not what is in use, and later that, too, once it is not."""
    sizes = [(100, 50), (105, 50), (150, 50), (115, 50), (130, 50),
             (300, 250), (250, 195), (250, 100)]  # fmt: skip
    told, trimmed, looked = iter(sizes), list[int](), asyncio.Event()
    resident, used = next(told)
    loops, sleep = list[asyncio.AbstractEventLoop](), asyncio.sleep

    def trim(_: int) -> None:
        nonlocal resident
        trimmed.append(resident)
        resident = used + 60

    async def wait(seconds: float) -> None:
        """The next look; a server of other tests sleeps as ever."""
        nonlocal resident, used
        if asyncio.get_running_loop() not in loops:
            return await sleep(seconds)
        if (size := next(told, None)) is None:
            looked.set()
            await asyncio.Event().wait()
        resident, used = size
        return None

    async def look() -> None:
        loops.append(asyncio.get_running_loop())
        tidy = memory.Tidy()
        tidy._trim = trim
        task = asyncio.create_task(tidy.watch())
        await looked.wait()
        task.cancel()

    monkeypatch.setattr(memory, "memory", lambda: (0, resident << 20))
    monkeypatch.setattr(memory, "_in_use", lambda: used << 20)
    monkeypatch.setattr(memory.asyncio, "sleep", wait)
    asyncio.run(look())
    assert trimmed == [150, 130, 250]


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library does not tell"
)
def test_large_blocks_stay_apart_however_many_came_before() -> None:
    """Of its own accord glibc mostly takes the second one from its heap."""
    code = (
        "from nbmlp.server.http import memory\n"
        "memory.keep_large_blocks_apart()\n"
        "def apart():\n"
        "    before = memory._info().hblkhd\n"
        "    block = bytearray(1 << 24)\n"
        "    return memory._info().hblkhd - before >= len(block)\n"
        "print(apart(), apart())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_what_the_c_library_has_handed_out_is_known() -> None:
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        assert memory._in_use() == 0
        return
    for count, size in ((1000, 10_000), (1, 100_000_000)):  # of its heap, and mapped
        before = memory._in_use()
        taken = [bytearray(size) for _ in range(count)]
        assert memory._in_use() - before > 0.9 * count * size
        del taken
