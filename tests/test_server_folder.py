"""Whose folder it is: somebody's is neither changed nor emptied, ours is private."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from server_jobs import add_table, make_settings, spec_for

from nbmlp.cli import run
from nbmlp.server import files, quarantine
from nbmlp.server.files import DataFolder, new_id
from nbmlp.server.ports import NotFoundError, ServiceError
from nbmlp.server.service import LocalService
from nbmlp.server.store.recognise import is_database

MODEL = f"{new_id()}.safetensors"


def started(folder: Path, **options: bool) -> None:
    """Start a server over a folder and end it."""
    service = LocalService(make_settings(folder), **options)
    service._executor.recover()
    service.close()


def contents(folder: Path) -> dict[str, object]:
    """All that is in it, byte for byte, with modes; links are not followed."""
    found: dict[str, object] = {".": stat.S_IMODE(folder.stat().st_mode)}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), os.lstat(path).st_mode
        data = path.read_bytes() if stat.S_ISREG(mode) else None
        found[name] = mode, os.readlink(path) if stat.S_ISLNK(mode) else data
    return found


def models_in(folder: Path) -> Counter[bytes]:
    """The bytes of everything that may be a model or a data set, wherever it lies."""
    return Counter(path.read_bytes() for path in folder.rglob("*.safetensors"))


def fill(folder: Path) -> None:
    """Files of somebody who has nothing to do with a server."""
    for name in ("models/best.pt", f"models/{MODEL}", "datasets/iris.csv", "jobs/night/log",
                 "uploads/cat.png", "notes.txt", "ballast"):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder of ours with a data set, a job that waits, and a model that the database knows."""
    folder = tmp_path / "data"
    service = LocalService(make_settings(folder))
    job = service.submit(spec_for(add_table(service))).id
    fence, model = service._reports.begin(job), new_id()
    row = {"id": model, "job_id": job, "dataset_id": "", "created": 0.0, "bytes": 3,
           "sha256": "", "task": "", "inputs": [], "targets": [], "classes": [], "evaluation": {},
           "summary": ""}  # fmt: skip
    service._files.model(model).write_bytes(b"old")
    service._reports.succeed(job, fence, "", row)
    service.close()
    return folder


def first_version(folder: Path) -> None:
    """As version 0.1 left it: without a marker, readable for others, with its ballast."""
    (folder / "nbmlp.json").unlink()
    (folder / "quarantine").rmdir()
    (folder / "ballast").write_bytes(bytes(4 << 20))
    (folder / "nbmlp.sqlite").chmod(0o644)
    folder.chmod(0o755)


# -- somebody's


def test_a_folder_of_somebodys_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"holds other things.*notes.txt.*--adopt") as said:
            started(tmp_path)
        assert str(said.value).count("\n") == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("database", ["first", "foreign", "empty", "text"])
def test_a_database_alone_does_not_make_a_folder_ours(database: str, ours: Path) -> None:
    first_version(ours)
    file = ours / "nbmlp.sqlite"
    if database == "first":
        (ours / "models" / "best.pt").write_text("mine")
    elif database == "foreign":
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE datasets (id)")
        connection.close()
    else:
        file.write_bytes(b"" if database == "empty" else b"x" * 5000)
    before = contents(ours)
    for _ in range(2):
        with pytest.raises(ServiceError, match="holds other things"):
            started(ours)
    assert contents(ours) == before


@pytest.mark.parametrize("name", ["uploads", "datasets", "jobs", "models", "quarantine"])
@pytest.mark.parametrize("adopt", [False, True])
def test_a_link_leads_nowhere(name: str, adopt: bool, ours: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(ours / name, elsewhere)
    (elsewhere / MODEL).write_text("mine")
    (ours / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(ServiceError, match=f"{name} is a link or no folder"):
            started(ours, adopt=adopt)
    assert contents(tmp_path) == before


def test_what_is_adopted_keeps_what_is_not_a_servers(tmp_path: Path) -> None:
    """Even a name that might be ours is only moved aside."""
    fill(tmp_path)
    before = contents(tmp_path)
    for _ in range(2):
        started(tmp_path, adopt=True)
        started(tmp_path)
    after = contents(tmp_path)
    del before["."], before[f"models/{MODEL}"]
    assert {name: after.get(name) for name in before} == before
    (aside,) = quarantine.kept(tmp_path)
    assert (aside.path.name, aside.path.read_text()) == (MODEL, f"models/{MODEL}")


@pytest.mark.parametrize("adopt", [False, True])
def test_a_marked_folder_without_its_database_is_not_begun_anew_unasked(
    adopt: bool, ours: Path
) -> None:
    held = models_in(ours)
    for make in (Path.unlink, Path.touch):
        make(ours / "nbmlp.sqlite")
        before = contents(ours)
        for _ in range(2):
            with pytest.raises(ServiceError, match=r"lost its database.*--adopt"):
                started(ours)
        assert contents(ours) == before
    (ours / "nbmlp.sqlite").write_bytes(b"SQLite format 3\0 of somebody else")
    with pytest.raises(ServiceError, match="no database of nbmlp's: move it away"):
        started(ours, adopt=adopt)
    (ours / "nbmlp.sqlite").unlink()
    started(ours, adopt=True)
    started(ours)
    assert models_in(ours) == held
    assert {kept.kind for kept in quarantine.kept(ours)} == {"datasets", "models"}


def test_what_an_older_database_does_not_know_goes_aside_and_comes_back(ours: Path) -> None:
    shutil.copy(ours / "nbmlp.sqlite", ours.parent / "older")
    service = LocalService(make_settings(ours))
    job, dataset = (
        service.submit(spec_for(add_table(service, 50))),
        service.list_datasets().items[0],
    )
    checkpoint = service._files.job(job.id) / "checkpoint-000000003.safetensors"
    checkpoint.write_bytes(b"new")
    service.close()
    shutil.copy(ours / "nbmlp.sqlite", ours.parent / "newer")
    held = models_in(ours)
    shutil.copy(ours.parent / "older", ours / "nbmlp.sqlite")
    for _ in range(2):
        started(ours)
        assert models_in(ours) == held
        assert {(k.kind, k.path.name) for k in quarantine.kept(ours)} == {
            ("datasets", f"{dataset.sha256}.safetensors"), ("jobs", job.id),
        }  # fmt: skip
    shutil.copy(ours.parent / "newer", ours / "nbmlp.sqlite")
    started(ours)
    assert models_in(ours) == held
    assert checkpoint.read_bytes() == b"new"
    assert quarantine.kept(ours) == list((ours / "quarantine").iterdir()) == []


def test_a_renamed_model_is_kept_whatever_it_is_called(ours: Path) -> None:
    """A name of the user's own stays where it is; one of our form is moved aside."""
    (model,) = (ours / "models").iterdir()
    model.rename(ours / "models" / "houses 2026.safetensors")
    shutil.copy(ours / "models" / "houses 2026.safetensors", ours / "models" / MODEL)
    for _ in range(2):
        started(ours)
    assert [path.name for path in (ours / "models").iterdir()] == ["houses 2026.safetensors"]
    (aside,) = quarantine.kept(ours)
    assert (aside.path.name, aside.path.read_bytes()) == (MODEL, b"old")
    service = LocalService(make_settings(ours))
    with pytest.raises(NotFoundError, match="is gone"):
        service.model_path(model.stem)
    service.close()


def test_only_our_own_files_are_ever_removed(ours: Path) -> None:
    service = LocalService(make_settings(ours))
    job = service._files.job(service.list_jobs().items[0].id)
    for name in ("lease", "worker.log", "checkpoint-000000003.safetensors", ".tmp-1-x", "mine.txt"):
        (job / name).write_text(name)
    (job / "checkpoint-000000004.safetensors").symlink_to(ours / "nbmlp.sqlite")
    for name in ("uploads/mine", "uploads/tmp-mine", "datasets/iris.csv", "models/.tmp-mine"):
        (ours / name).write_text(name)
    upload = service.upload_path()
    upload.write_text("cut short")
    service._executor.recover()
    left = {path.name for path in job.iterdir()}
    assert left == {"mine.txt", "checkpoint-000000004.safetensors"}
    assert sorted(path.name for path in (ours / "uploads").iterdir()) == ["mine", "tmp-mine"]
    assert (ours / "datasets" / "iris.csv").exists()
    assert (ours / "models" / ".tmp-mine").exists()
    assert not upload.exists()
    service._files.remove_job(job.name)
    assert {path.name for path in job.iterdir()} == left
    service.close()


def test_a_foreign_ballast_is_no_ballast(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BALLAST", 5000)
    mine = ours / "nbmlp.ballast"
    for data in (b"lead", bytes(5000)):
        mine.write_bytes(data)
        folder = DataFolder(ours, 1 << 30, 0)
        folder.load_ballast()
        folder.drop_ballast()
        folder.close()
        assert mine.read_bytes() == data
    mine.unlink()
    folder = DataFolder(ours, 1 << 30, 0)
    folder.load_ballast()
    assert mine.stat().st_size == 5000
    mine.write_bytes(mine.read_bytes()[:100])  # cut short
    folder.load_ballast()
    assert mine.stat().st_size == 5000
    folder.drop_ballast()
    assert not mine.exists()
    folder.close()


# -- ours


def test_a_folder_of_the_first_version_gets_its_marker(ours: Path) -> None:
    first_version(ours)
    held = models_in(ours)
    started(ours)
    assert json.loads((ours / "nbmlp.json").read_text())["format"] == 1
    assert models_in(ours) == held
    assert quarantine.kept(ours) == []


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"what": "another program", "format": 1}'])
def test_a_damaged_marker_is_told(said: str, ours: Path) -> None:
    (ours / "nbmlp.json").write_text(said)
    with pytest.raises(ServiceError, match=r"is damaged, or not nbmlp's.*--adopt"):
        started(ours)
    started(ours, adopt=True)
    started(ours)
    assert quarantine.kept(ours) == []


def test_a_folder_of_a_newer_version_is_refused(ours: Path) -> None:
    marker = json.loads((ours / "nbmlp.json").read_text())
    (ours / "nbmlp.json").write_text(json.dumps({**marker, "format": 2}))
    for adopt in (False, True):
        with pytest.raises(ServiceError, match="written by a newer version"):
            started(ours, adopt=adopt)


@pytest.mark.parametrize("left", [
    (), ("lost+found/",), ("lock",), (".tmp-0123456789ab-nbmlp.json",), ("lock", "uploads/"),
])  # fmt: skip
def test_a_start_that_was_cut_short_is_no_obstacle(left: tuple[str, ...], tmp_path: Path) -> None:
    """At every step of the first start; from the marker on, all else may be there or not."""
    folder = tmp_path / "data"
    for name in left[:1] if "uploads/" in left else left:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.mkdir() if name.endswith("/") else place.touch()
    if "uploads/" in left:  # the marker has been written, the database has not
        DataFolder(folder, 1 << 30, 0).close()
    started(folder)
    assert not list(folder.glob(".tmp-*"))
    started(folder)


def test_a_database_that_a_crash_left_in_its_side_file_is_ours(ours: Path) -> None:
    """Killed before its pages were moved over: none of our tables is in the file itself yet."""
    file = ours / "nbmlp.sqlite"
    with closing(sqlite3.connect(file)) as whole:
        script = list(whole.iterdump())
    with closing(sqlite3.connect(ours.parent / "db", isolation_level=None)) as cut_short:
        cut_short.executescript("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;")
        cut_short.executescript("\n".join(script))
        shutil.copy(ours.parent / "db", file)
        shutil.copy(ours.parent / "db-wal", f"{file}-wal")
    assert not is_database(file)
    held = models_in(ours)
    started(ours)
    assert models_in(ours) == held
    assert quarantine.kept(ours) == []


def test_the_command_says_so_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    assert run(["serve", "--port", "0", "--data-dir", str(tmp_path)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "holds other things" in said
    assert contents(tmp_path) == before


def test_others_can_read_nothing(ours: Path) -> None:
    """Whatever made the folder, as systemd does with 0755, and whatever made the database."""
    (ours / "nbmlp.sqlite-journal").touch()
    for change in (first_version, lambda folder: None):
        change(ours)
        ours.chmod(0o755)
        (ours / "nbmlp.sqlite").chmod(0o664)
        (ours / "nbmlp.sqlite-journal").chmod(0o644)
        started(ours)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in ours.glob("nbmlp.sqlite*")}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(ours.stat().st_mode) == 0o700


def test_a_new_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        started(tmp_path / "data")
    finally:
        os.umask(before)
    for path in (tmp_path / "data", tmp_path / "data" / "models"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "nbmlp.sqlite").stat().st_mode) == 0o600


def test_modes_that_cannot_be_set_are_told(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours.chmod(0o755)
    monkeypatch.setattr(os, "fchmod", lambda handle, mode: None)  # as on a FAT file system
    with pytest.raises(ServiceError, match="other users can read the data folder"):
        started(ours)


def test_the_folder_itself_may_be_a_link(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ours)
    started(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_what_is_not_ours_does_not_count_for_the_quota(ours: Path) -> None:
    folder = DataFolder(ours, 1 << 30, 0)
    before = folder.used()
    (ours / "mine").write_bytes(bytes(1000))
    assert folder.used() == before
    (ours / "quarantine" / "x").write_bytes(bytes(1000))
    assert folder.used() == before + 1000
    folder.close()
