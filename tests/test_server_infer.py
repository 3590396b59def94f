"""Predictions over the Open Inference Protocol, version 2."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from server_fake import FakeService
from server_live import Live, live
from tritonclient.utils import InferenceServerException

from nbmlp import MLP, Client, ServerError
from nbmlp.data import Table
from nbmlp.server.http.serving import Kept
from nbmlp.server.settings import ServerSettings
from nbmlp.tabular.model import TabularModel
from nbmlp.tabular.options import Options

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)).astype(np.float32)
CITIES = np.array(["Bonn", "Rome", "Oslo"], object)[RNG.integers(0, 3, 300)]
TABLE = Table({"age": RNG.normal(40, 9, 300), "city": CITIES})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    settings = ServerSettings(data_dir=folder, port=0, rate=1e6, burst=10**6, body_mb=1)
    with live(FakeService(folder), settings) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Live) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def numbers(server: Live) -> tuple[str, MLP]:
    mlp = MLP(50, epochs=1, task="regression", threads=1).fit(X, X.sum(axis=1))
    return server.service.add_model(mlp, [(f"x{j}", "number") for j in range(5)]).id, mlp


@pytest.fixture(scope="module")
def towns(server: Live) -> tuple[str, MLP]:
    mlp = MLP(5, epochs=1, threads=1).fit(TABLE, CITIES)
    return server.service.add_model(mlp, [("age", "number"), ("city", "text")]).id, mlp


def tensor(values: Any, shape: list[int], kind: str = "FP32", name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": kind, "data": values}


def ask(http: httpx.Client, model: str, *tensors: dict[str, Any], **more: Any) -> httpx.Response:
    return http.post(f"/v2/models/{model}/infer", json={"inputs": tensors, **more})


def test_server_and_model_tell_of_themselves(http: httpx.Client, numbers: Any, towns: Any) -> None:
    assert http.get("/v2").json()["name"] == "nbmlp"
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    found = http.get(f"/v2/models/{numbers[0]}").json()
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 5]}]
    assert found["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    found = http.get(f"/v2/models/{towns[0]}/versions/1").json()
    assert found["versions"] == ["1"]
    assert [(i["name"], i["datatype"]) for i in found["inputs"]] == [
        ("age", "FP64"),
        ("city", "BYTES"),
    ]
    assert [(o["name"], o["shape"]) for o in found["outputs"]] == [
        ("prediction", [-1]),
        ("probabilities", [-1, 3]),
    ]
    assert http.get(f"/v2/models/{towns[0]}/versions/1/ready").json()["ready"] is True
    assert http.get(f"/v2/models/{towns[0]}/ready").json()["ready"] is True


def test_numbers(http: httpx.Client, numbers: tuple[str, MLP]) -> None:
    name, mlp = numbers
    for data in (X[:4].ravel().tolist(), X[:4].tolist()):
        found = ask(http, name, tensor(data, [4, 5]), id="7").json()
        assert (found["id"], found["model_name"], found["model_version"]) == ("7", name, "1")
        (output,) = found["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("prediction", "FP64", [4])
        assert output["data"] == mlp.predict(X[:4]).tolist()


def test_version_in_the_path(http: httpx.Client, numbers: tuple[str, MLP]) -> None:
    body = {"inputs": [tensor(X[0].tolist(), [1, 5])]}
    path = f"/v2/models/{numbers[0]}/versions"
    assert http.post(f"{path}/1/infer", json=body).status_code == 200
    assert http.post(f"{path}/2/infer", json=body).status_code == 404


def test_raw_rows_of_a_table(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    name, mlp = towns
    cities = ["Rome", "Paris", None]
    found = ask(
        http, name,
        tensor(cities, [3, 1], "BYTES", "city"), tensor([40, None, 31.5], [3], "FP64", "age"),
    ).json()["outputs"]  # fmt: skip
    rows = Table({"age": [40, np.nan, 31.5], "city": np.array(cities, object)})
    assert found[0]["datatype"] == "BYTES"
    assert found[0]["data"] == mlp.predict(rows).tolist()
    assert found[1]["shape"] == [3, 3]
    assert np.allclose(found[1]["data"], mlp.predict_proba(rows).ravel(), atol=1e-7)


@pytest.mark.parametrize("task", ["classes", "regression"])
def test_rows_of_a_table_through_an_ensemble(http: httpx.Client, server: Live, task: str) -> None:
    """One request after the other and many at once: each has the answer that it has alone."""
    y = CITIES if task == "classes" else TABLE["age"] + 3.0 * (CITIES == "Rome")
    options = Options(preset="fast", n_members=2, epochs=2, jobs=1)
    model, _ = TabularModel.fit(TABLE, y, task, options)
    name = server.service.add_model(model, [("age", "number"), ("city", "text")]).id
    ages, cities = [40.0, np.nan, 31.5], ["Rome", "Paris", None]
    rows = Table({"age": np.array(ages), "city": np.array(cities, object)})
    given = (
        tensor(cities, [3], "BYTES", "city"), tensor([40, None, 31.5], [3], "FP64", "age"),
    )  # fmt: skip

    def answer(_: int) -> Any:
        return ask(http, name, *given).json()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(answer, range(8))
    assert all(other == first for other in others)
    assert "city 'Paris'" in first["parameters"]["unknown"]
    assert first["outputs"][0]["shape"] == [3]
    predicted = model.predict(rows)
    if task == "classes":
        assert first["outputs"][0]["data"] == predicted.tolist()
        proba = model.predict_proba(rows).ravel()
        assert np.allclose(first["outputs"][1]["data"], proba, atol=1e-7)
    else:
        assert np.allclose(first["outputs"][0]["data"], predicted, rtol=1e-6)
    assert "the data lack 'age'" in ask(http, name, given[0]).json()["error"]


def test_only_the_outputs_that_are_wanted(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    given = tensor(["Rome"], [1], "BYTES", "city"), tensor([40], [1], "INT32", "age")
    found = ask(http, towns[0], *given, outputs=[{"name": "probabilities"}]).json()
    assert [output["name"] for output in found["outputs"]] == ["probabilities"]


def test_texts_that_the_model_does_not_know_are_told(
    http: httpx.Client, towns: tuple[str, MLP]
) -> None:
    def remark(*cities: str | None) -> str | None:
        given = tensor(list(cities), [len(cities)], "BYTES", "city")
        found = ask(http, towns[0], given, tensor([40] * len(cities), [len(cities)], "FP64", "age"))
        assert found.status_code == 200
        return found.json().get("parameters", {}).get("unknown")

    begin = "not known from training, so each counts as unknown: city"
    assert remark("Rome", None) is None
    assert remark("Rome", "Rom", "Rom") == f"{begin} 'Rom'."
    assert remark(*(f"town {i}" for i in range(1000)), "x" * 1000) == (
        f"{begin} 'town 0', 'town 1', 'town 10', 'town 100', 'town 101' and 996 more."
    )
    shown = http.get(f"/v1/models/{towns[0]}").json()
    assert shown["categories"] == {"city": ["Bonn", "Oslo", "Rome"]}


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "no JSON"),
    "no inputs": ({"inputs": []}, "inputs"),
    "too few values": ({"inputs": [tensor([1.0], [1, 5])]}, "1 values"),
    "columns": ({"inputs": [tensor([1.0] * 4, [1, 4])]}, "4 columns"),
    "no rows": ({"inputs": [tensor([], [0, 5])]}, "no rows"),
    "text for numbers": ({"inputs": [tensor(["1"] * 5, [1, 5])]}, "no FP32"),
    "objects for numbers": ({"inputs": [tensor([{}] * 5, [1, 5])]}, "no FP32"),
    "ragged": ({"inputs": [tensor([[1, 2], [3, 4, 5]], [1, 5])]}, "no FP32"),
    "too large for int8": ({"inputs": [tensor([999] * 5, [1, 5], "INT8")]}, "no INT8"),
    "unknown type": ({"inputs": [tensor([1] * 5, [1, 5], "FP99")]}, "FP99"),
    "unknown output": (
        {"inputs": [tensor([1.0] * 5, [1, 5])], "outputs": [{"name": "z"}]},
        "no output 'z'",
    ),
    "missing": ({"inputs": [tensor([None] * 5, [1, 5])]}, "NaN at row 0, column 'x0'"),
    "too large": ({"inputs": [tensor([1e300] * 5, [1, 5], "FP64")]}, "too large for float32"),
    "halves for int8": ({"inputs": [tensor([0.5] * 5, [1, 5], "INT8")]}, "no INT8"),
    "twice": ({"inputs": [tensor([1.0] * 5, [1, 5])] * 2}, "same name"),
    "negative": ({"inputs": [tensor([1.0] * 5, [-1, 5])]}, "greater than"),
    "nothing behind": (
        {"inputs": [{**tensor(None, [1, 5]), "parameters": {"binary_data_size": 20}}]},
        "not 20 bytes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(http: httpx.Client, numbers: tuple[str, MLP], case: str) -> None:
    body, words = WRONG[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = http.post(f"/v2/models/{numbers[0]}/infer", content=content)
    assert answer.status_code in (400, 422), answer.text
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"], answer.text


def test_wrong_columns_of_a_table(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    for tensors, words in (
        ([tensor([1.0], [1], "FP64", "age")], "lack 'city'"),
        ([tensor([1.0, 2.0], [1, 2], "FP64", "age")], "shape"),
        ([tensor(["a"], [1], "BYTES", n) for n in ("age", "city")], "held numbers"),
        (
            [tensor([1], [1], "FP64", "age"), tensor(["a", "b"], [2], "BYTES", "city")],
            "same length",
        ),
    ):
        answer = ask(http, towns[0], *tensors)
        assert answer.status_code == 422
        assert words in answer.json()["error"]


def test_models_that_do_not_exist(http: httpx.Client) -> None:
    for name in ("0" * 26, "nonsense", "..", "%00"):
        answer = http.get(f"/v2/models/{name}/ready")
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}


def test_bodies_have_a_limit(http: httpx.Client, numbers: tuple[str, MLP]) -> None:
    answer = http.post(f"/v2/models/{numbers[0]}/infer", content=b" " * (1 << 21))
    assert answer.status_code == 413


def test_a_model_is_loaded_once(server: Live, numbers: tuple[str, MLP]) -> None:
    before = server.service.loads
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda row: ask(client, numbers[0], tensor(row.tolist(), [1, 5])).json(), X[:200]
        )
        found = [answer["outputs"][0]["data"][0] for answer in answers]
    assert found == numbers[1].predict(X[:200]).tolist()
    assert server.service.loads - before <= 1


def test_rows_of_many_requests_share_a_pass(tmp_path: Any) -> None:
    service = FakeService(tmp_path)
    mlp = MLP(50, epochs=1, task="regression", threads=1).fit(X, X.sum(axis=1))
    name = service.add_model(mlp, [(f"x{j}", "number") for j in range(5)]).id
    passes: list[int] = []

    async def run() -> list[Any]:
        served = await Kept(service, 1).get(name)
        net = served._batcher._net
        outputs = net.outputs
        net.outputs = lambda rows: passes.append(len(rows)) or outputs(rows)
        return await asyncio.gather(*(served.predict(X[i : i + 2]) for i in range(0, 100, 2)))

    found = asyncio.run(run())
    assert passes == [100]
    assert (
        np.concatenate([f["prediction"] for f in found]).tolist() == mlp.predict(X[:100]).tolist()
    )


def test_models_kept_are_those_asked_last(tmp_path: Any) -> None:
    service = FakeService(tmp_path)
    mlp = MLP(2, epochs=1, task="regression", threads=1).fit(X, X.sum(axis=1))
    first, second = (
        service.add_model(mlp, [(f"x{j}", "number") for j in range(5)]).id for _ in range(2)
    )

    async def run() -> None:
        kept = Kept(service, 1)
        for name in (first, first, second, first):
            await kept.get(name)

    asyncio.run(run())
    assert service.loads == 3


def test_a_stock_client(server: Live, numbers: tuple[str, MLP], towns: tuple[str, MLP]) -> None:
    """NVIDIA's client, as it is: bytes behind the JSON, both ways. It writes into the headers."""
    stock = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready(numbers[0], headers=server.bearer)
    assert stock.get_server_metadata(headers=server.bearer)["name"] == "nbmlp"
    assert stock.get_model_metadata(numbers[0], headers=server.bearer)["platform"] == "nbmlp"
    for binary in (True, False):
        given = triton.InferInput("x", [4, 5], "FP32")
        given.set_data_from_numpy(X[:4], binary_data=binary)
        wanted = [triton.InferRequestedOutput("prediction", binary_data=binary)]
        for outputs in (wanted, None):
            found = stock.infer(numbers[0], [given], outputs=outputs, headers=server.bearer)
            assert np.array_equal(found.as_numpy("prediction"), numbers[1].predict(X[:4]))
    age = triton.InferInput("age", [2], "FP64")
    age.set_data_from_numpy(np.array([40.0, np.nan]))
    city = triton.InferInput("city", [2], "BYTES")
    city.set_data_from_numpy(np.array([b"Rome", "Köln".encode()], object))
    found = stock.infer(towns[0], [age, city], headers=server.bearer).as_numpy("prediction")
    rows = Table({"age": [40.0, np.nan], "city": np.array(["Rome", "Köln"], object)})
    assert [text.decode() for text in found] == towns[1].predict(rows).tolist()
    narrow = triton.InferInput("x", [1, 4], "FP32")
    narrow.set_data_from_numpy(X[:1, :4].copy())
    with pytest.raises(InferenceServerException, match="4 columns"):
        stock.infer(numbers[0], [narrow], headers=server.bearer)


def test_bytes_that_lie(http: httpx.Client, towns: tuple[str, MLP]) -> None:
    def send(raw: bytes, size: int, header: str | None = None) -> httpx.Response:
        city = {"name": "city", "shape": [1], "datatype": "BYTES"}
        head = json.dumps({"inputs": [{**city, "parameters": {"binary_data_size": size}}]})
        length = {"Inference-Header-Content-Length": header or str(len(head))}
        path = f"/v2/models/{towns[0]}/infer"
        return http.post(path, content=head.encode() + raw, headers=length)

    assert "middle of a text" in send(b"\xff\xff\xff\x7fab", 6).json()["error"]
    assert "not 99 bytes" in send(b"", 99).json()["error"]
    assert "UTF-8" in send(b"\x01\x00\x00\x00\xff", 5).json()["error"]
    assert "2 bytes" in send(b"\x01\x00", 2).json()["error"]
    for header in ("-1", "x", "99999"):
        answer = send(b"", 0, header)
        assert answer.status_code == 422, answer.text


def test_our_own_client(server: Live, numbers: tuple[str, MLP], towns: tuple[str, MLP]) -> None:
    with Client(server.url, server.secret) as client:
        assert client.predict(numbers[0], X[:3]) == numbers[1].predict(X[:3]).tolist()
        rows = [{"age": 40, "city": "Rome"}, {"age": None, "city": "Oslo"}]
        table = Table({"age": [40, np.nan], "city": np.array(["Rome", "Oslo"], object)})
        assert client.predict(towns[0], rows) == towns[1].predict(table).tolist()
        columns = {"age": [40.0, math.pi], "city": ["Rome", "Oslo"]}
        proba = client.predict(towns[0], columns, output="probabilities")
        assert [len(row) for row in proba] == [3, 3]
        with pytest.warns(UserWarning, match="counts as unknown: city 'Rom'"):
            client.predict(towns[0], [{"age": 40, "city": "Rom"}])
        with pytest.raises(ServerError, match="4 columns") as caught:
            client.predict(numbers[0], X[:1, :4])
        assert caught.value.status == 422
        assert {model["id"] for model in client.models()} >= {numbers[0], towns[0]}
