"""Parquet files in a store: S3's protocol, spoken by moto on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_stream import FIT, files, rows_folder, same, trained

from nbmlp.errors import DataError
from nbmlp.stream import folder

server = pytest.importorskip("moto.server", reason="needs moto[s3,server] and boto3")
boto3 = pytest.importorskip("boto3", reason="needs moto[s3,server] and boto3")
__all__ = ["files", "rows_folder"]  # fixtures


@pytest.fixture
def bucket(files: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same files there."""
    store = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    store.start()
    try:
        address = "http://{}:{}".format(*store.get_host_and_port())
        known = {
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true",
        }  # fmt: skip
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=address)
        client.create_bucket(Bucket="sales")
        for path in sorted(Path(files).parent.iterdir()):
            client.upload_file(str(path), "sales", f"2026/{path.name}")
        yield "s3://sales/2026/*.parquet"
    finally:
        store.stop()


def test_files_in_a_store_train_as_those_of_a_folder(bucket: str, files: str) -> None:
    there = trained(bucket, fit={**FIT, "sample_weight": "count"})
    assert folder.entries() == []
    same(there, trained(files, fit={**FIT, "sample_weight": "count"}))
    with pytest.raises(DataError, match=r"^s3://none/\*\.parquet cannot be read: .* code: 404"):
        trained("s3://none/*.parquet", fit=FIT)
