"""Training on Parquet files within less memory than their ready rows take."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.confined import confined
from bench.parquet import child, write_files

pytestmark = pytest.mark.soak
pytest.importorskip("polars", reason="needs polars to write Parquet files")

ROWS, COLUMNS = 3_000_000, 30
#: MB: rows that are ready take 343, what a training has beside them about 130.
LIMIT = 256


def test_less_memory_than_the_ready_rows_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBMLP_ROWS_DIR", str(tmp_path / "ready"))
    files = tmp_path / "files"
    files.mkdir()
    write_files(files, ROWS, COLUMNS)
    whole = child(files, "files", 2)
    (ready,) = (tmp_path / "ready").glob("*/train.f32")
    assert ready.stat().st_size > LIMIT << 20
    with confined(LIMIT) as limit:
        if limit.peak() is None:
            pytest.skip("no memory cgroup can be made here: that takes root")
        within = child(files, "files", 2, limit=limit)
        assert "failed" not in within, within
        assert LIMIT / 2 < limit.peak() <= LIMIT
    assert within["digest"] == whole["digest"]
    assert within["anonymous_mb"] < LIMIT
