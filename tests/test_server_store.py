"""The server's database and data folder: modes, migrations, errors, sweeping."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from server_jobs import add_table, make_settings, make_table, spec_for

from nbmlp.data import Dataset, Table
from nbmlp.errors import DataError, ModelFileError
from nbmlp.server.files import DataFolder, new_id
from nbmlp.server.jobs.places import checkpoints_in
from nbmlp.server.ports import (
    BusyError,
    ConflictError,
    JobState,
    NoSpaceError,
    NotFoundError,
    ServiceError,
)
from nbmlp.server.rows import content_hash, load_rows, save_rows, select
from nbmlp.server.service import LocalService
from nbmlp.server.store import schema
from nbmlp.server.store.database import Database, journal_mode
from nbmlp.server.store.reports import Reports, StaleError


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """Its executor is not started: jobs stay queued."""
    service = LocalService(make_settings(tmp_path / "data", database_timeout=0.1))
    yield service
    service.close()


def test_wal_only_where_it_is_safe() -> None:
    assert journal_mode((3, 51, 2)) == journal_mode((3, 40, 1)) == "TRUNCATE"
    assert journal_mode((3, 51, 3)) == journal_mode((4, 0, 0)) == "WAL"


def test_migrations_give_the_tables_of_the_schema(tmp_path: Path) -> None:
    for _ in range(2):  # new, and opened again
        database = Database(tmp_path / "db", 1.0)
        with database.read() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, schema.metadata) == []
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("synchronous", "journal_mode", "foreign_keys")
            ]
        assert pragmas == [2, journal_mode().lower(), 1]
        database.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "db", 1.0).close()
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ServiceError, match="newer version of nbmlp"):
        Database(tmp_path / "db", 1.0)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"x" * 5000)
    with pytest.raises(ServiceError, match="cannot be used: file is not a database"):
        Database(tmp_path / "db", 1.0)


def test_a_locked_database_is_waited_for_then_named(service: LocalService) -> None:
    dataset_id = add_table(service)
    other = sqlite3.connect(service._files.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BusyError, match="locked by another program"):
        service.submit(spec_for(dataset_id))
    assert not service.health().ready
    other.execute("ROLLBACK")
    other.close()
    assert service.submit(spec_for(dataset_id)).state is JobState.QUEUED


def test_a_transaction_that_fails_changes_nothing(
    service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbmlp.io import atomic
    from nbmlp.server import faults

    dataset_id = add_table(service)
    monkeypatch.setenv("NBMLP_FAULT", "server.commit:1:enospc")
    monkeypatch.setenv("NBMLP_FAULT_MARK", str(tmp_path / "mark"))
    before = atomic.on_step
    faults._passed.clear()
    faults.arm("server")
    try:
        with pytest.raises(NoSpaceError, match="disk"):
            service.submit(spec_for(dataset_id), "key")
    finally:
        faults._reach, atomic.on_step = faults._nothing, before
    assert service.list_jobs().items == ()
    assert service.submit(spec_for(dataset_id), "key").state is JobState.QUEUED


def test_only_the_holder_of_the_token_may_report_and_an_end_is_final(
    service: LocalService,
) -> None:
    job_id = service.submit(spec_for(add_table(service))).id
    jobs: Reports = service._reports
    old = jobs.begin(job_id)
    with pytest.raises(ConflictError):
        jobs.begin(job_id)
    jobs.finish(job_id, old, JobState.INTERRUPTED)
    new = jobs.begin(job_id)
    assert new == old + 1
    with pytest.raises(StaleError):
        jobs.finish(job_id, old, JobState.SUCCEEDED)
    jobs.finish(job_id, new, JobState.FAILED, error="why", error_kind="data")
    for late in (
        lambda: jobs.finish(job_id, new, JobState.SUCCEEDED),
        lambda: jobs.report(job_id, new),
    ):
        with pytest.raises(StaleError):
            late()
    with pytest.raises(ConflictError):
        service.cancel(job_id)
    ends = [e.data["state"] for e in service.events(job_id)]
    assert ends == ["queued", "compiling", "interrupted", "compiling", "failed"]


def test_lists_come_in_pages(service: LocalService) -> None:
    dataset_id = add_table(service)
    ids = [service.submit(spec_for(dataset_id)).id for _ in range(5)]
    first = service.list_jobs(limit=3)
    assert [j.id for j in first.items] == ids[:1:-1]
    assert first.has_more
    last = service.list_jobs(after=first.items[-1].id, limit=3)
    assert [j.id for j in last.items] == ids[1::-1]
    assert not last.has_more


def test_content_is_stored_once_and_goes_with_its_last_data_set(service: LocalService) -> None:
    first, second = add_table(service), add_table(service)
    folder = service._files.root / "datasets"
    assert len(list(folder.iterdir())) == 1
    service.delete_dataset(first)
    assert len(list(folder.iterdir())) == 1
    job = service.submit(spec_for(second))
    with pytest.raises(ConflictError, match="still needs these data"):
        service.delete_dataset(second)
    service.cancel(job.id)
    service.delete_dataset(second)
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFoundError):
        service.get_dataset(second)


def test_tokens_are_kept_hashed(service: LocalService) -> None:
    token, secret = service.create_token("laptop")
    assert service.verify_token(secret) == token
    assert service.verify_token(secret[:-1]) is None
    assert secret.encode() not in service._files.database.read_bytes()
    service.delete_token(token.id)
    assert service.verify_token(secret) is None
    assert service.list_tokens() == []


def test_sweeping_leaves_what_is_known(service: LocalService) -> None:
    dataset_id = add_table(service)
    job = service.submit(spec_for(dataset_id))
    root, over = service._files.root, service.submit(spec_for(dataset_id)).id
    service._jobs.move(over, {JobState.QUEUED}, JobState.CANCELLED)
    unknown = (
        root / "datasets" / f"{'0' * 64}.safetensors", root / "models" / f"{new_id()}.safetensors",
        service._files.job(new_id()) / "lease",
    )  # fmt: skip
    kept = service._files.job(job.id) / "checkpoint-000000003.safetensors"
    for path in (
        kept, kept.with_name(".tmp-abc-checkpoint"), service.upload_path(),
        service.upload_path().with_suffix(".unpacked"), service._files.job(over) / "lease",
        root / "models" / f".tmp-{'a' * 12}-{new_id()}.safetensors", *unknown,
    ):  # fmt: skip
        path.write_bytes(b"x")
    service._executor.recover()
    left = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    sha256 = service.get_dataset(dataset_id).sha256
    aside = {name for name in left if name.startswith("quarantine/")}
    assert left - {"nbmlp.sqlite-journal"} - aside == {
        "lock", "nbmlp.json", "nbmlp.sqlite", f"datasets/{sha256}.safetensors",
        f"jobs/{job.id}/checkpoint-000000003.safetensors",
    }  # fmt: skip
    assert {name.split("/", 2)[2] for name in aside} == {
        path.relative_to(root).as_posix() for path in unknown
    }
    assert service.health().quarantined == 3


def test_the_quota_is_kept(tmp_path: Path) -> None:
    files = DataFolder(tmp_path / "data", quota=1000, reserve=0)
    files.check_space(900)
    with pytest.raises(NoSpaceError, match="quota"):
        files.check_space(1001)
    files.close()
    files = DataFolder(tmp_path / "data", quota=1000, reserve=1 << 60)
    with pytest.raises(NoSpaceError, match="free some space"):
        files.check_space()
    files.close()


def test_what_is_being_written_is_not_free(tmp_path: Path) -> None:
    """Two files that come at once, each of which would fit alone."""
    files = DataFolder(tmp_path / "data", quota=10_000, reserve=0)
    first, second = files.upload(), files.upload()
    files.promise(first, 6000)
    with pytest.raises(NoSpaceError, match="quota"):
        files.promise(second, 6000)
    with pytest.raises(NoSpaceError, match="quota"):
        files.check_space(6000)
    first.write_bytes(bytes(5000))
    first.with_name(f".tmp-1-{first.name}").write_bytes(bytes(1000))
    files.promise(second, 3000)
    with pytest.raises(NoSpaceError, match="quota"):
        files.promise(second, 5000)
    files.discard(first)
    first.with_name(f".tmp-1-{first.name}").unlink()
    files.promise(second, 6000)
    files.expect(new_id(), 4000)  # a job is not ended by it, but others wait
    with pytest.raises(NoSpaceError, match="quota"):
        files.check_space(1)
    files.close()


def test_asking_how_the_server_is_measures_the_folder_now_and_then_only(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking costs no more where there are more files, and they are noticed all the same."""
    clock, walks = [1000.0], []
    walk = service._files.used

    def slow() -> int:
        walks.append(clock[0])
        clock[0] += 2.0  # there are many files
        return walk()

    monkeypatch.setattr("nbmlp.server.files.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(service._files, "used", slow)
    monkeypatch.setattr(service._files, "_quota", walk() + 1000)
    service._files._stale = 0.0
    assert all(service.health().ready for _ in range(1000))
    service._files.upload().write_bytes(bytes(2000))
    clock[0] += 150.0
    assert service.health().ready
    clock[0] += 51.0
    assert not service.health().ready
    assert walks == [1000.0, 1203.0]
    with pytest.raises(NoSpaceError):  # who wants to write is told the truth of now
        service._files.check_space()
    assert len(walks) == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", ".", "x\0y", "I" * 26])
def test_foreign_names_never_become_paths(name: str, tmp_path: Path) -> None:
    files = DataFolder(tmp_path / "data", 1000, 0)
    for place in (files.job, files.model, files.dataset):
        with pytest.raises(NotFoundError):
            place(name)
    files.close()


def test_checkpoints_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("checkpoint-000000002", "checkpoint-000000010", ".tmp-1-checkpoint-000000011"):
        (tmp_path / f"{name}.safetensors").touch()
    assert [p.name[11:20] for p in checkpoints_in(tmp_path)] == ["000000010", "000000002"]


def test_tables_and_matrices_come_back_as_they_were(tmp_path: Path) -> None:
    table = make_table(40)
    table = Table({**table.columns, "note": ["", None, "ü\0x", "🙂"] * 10})
    sizes: list[int] = []
    for name in "ab":
        save_rows(tmp_path / name, Dataset(table), sizes.append)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    assert sizes == [(tmp_path / "a").stat().st_size] * 2
    back = load_rows(tmp_path / "a").X
    for name in table:
        assert np.array_equal(back[name], table[name], equal_nan=name in ("size", "price"))
    matrix = Dataset(np.arange(12, dtype=np.uint8).reshape(4, 3), np.array(["a", "b", "a", "b"]))
    save_rows(tmp_path / "c", matrix)
    found = select(load_rows(tmp_path / "c"), None, None)
    assert found.X.dtype == np.uint8
    assert found.y.tolist() == ["a", "b", "a", "b"]
    by_name = select(load_rows(tmp_path / "c"), "y", ["x0", "x2"])
    assert by_name.feature_names == ("x0", "x2")
    assert select(load_rows(tmp_path / "c"), 1, None).target_names == ("x1",)
    with pytest.raises(DataError, match="names no target"):
        select(Dataset(table), None, None)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        load_rows(tmp_path / "c")
