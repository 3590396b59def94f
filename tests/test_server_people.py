"""People: who made what, tokens with limits of their own, and how the first token comes about."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from alembic import command
from alembic.config import Config
from server_fake import FakeService
from server_jobs import add_table, make_settings, running, spec_for
from server_live import Live, live
from sqlalchemy import create_engine

from nbmlp.cli import run
from nbmlp.server.http import jobs, sessions
from nbmlp.server.http.run import Renewal, first_token
from nbmlp.server.ports import ServiceError
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings
from nbmlp.server.store.catalog import Catalog
from nbmlp.server.store.database import Database
from nbmlp.server.store.jobs import JobStore

_SPEC = '{"dataset_id": "01J9ZC4N3V0000000000000001"}'


def first_version(path: Path) -> None:
    """A database as version 0.1 made it, with a row in every table that has changed since."""
    config = Config()
    config.set_main_option("script_location", "nbmlp.server.store:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.executescript(f"""
            INSERT INTO datasets VALUES ('D', 'iris', '{"0" * 64}', 'csv', 9, 1, '[]', NULL, '[]', 5.0);
            INSERT INTO jobs VALUES ('J', 'iris', 'D', '{"0" * 64}', '{_SPEC}', 0, 1, 'succeeded', '', '',
                '', '', 6.0, NULL, NULL, NULL, 0.0, 0, 1, 0, 0, 0, NULL, NULL, 0, NULL, NULL, NULL, '',
                '', NULL);
            INSERT INTO models VALUES ('M', 'iris', 'J', 'D', 7.0, 9, '{"0" * 64}', 'classes', '[]',
                '[]', '[]', '{{}}', '');
            INSERT INTO keys VALUES ('once', '', 'J');
            INSERT INTO tokens VALUES ('T', 'first', '{"1" * 64}', 8.0);
        """)  # fmt: skip  # noqa: E501
    connection.close()


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    first_version(tmp_path / "db")
    database = Database(tmp_path / "db", 1.0)
    catalog = Catalog(database)
    assert [catalog.dataset("D").owner, catalog.model("M").owner] == ["", ""]
    assert JobStore(database).get("J").owner == ""
    (token,) = catalog.tokens()
    assert (token.label, token.created, token.last_used, token.rate) == ("first", 8.0, None, None)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT created FROM keys").scalar() == 6.0
    database.close()


# -- the first token


def chosen(place: Path) -> ServerSettings:
    return ServerSettings(data_dir=place.parent, token_file=place)


@pytest.mark.parametrize("new", [False, True])
def test_a_token_that_cannot_be_told_locks_nobody_out(new: bool, tmp_path: Path) -> None:
    service = FakeService(tmp_path)
    secrets = [service.create_token(name)[1] for name in ("ada", "grace")] if new else []
    (tmp_path / "kept").write_text("of somebody")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, words in (
        ("lacking/token", "cannot be written"), ("kept", "--replace-token-file"),
        ("link", "--replace-token-file"), (".", "--replace-token-file"),
    ):  # fmt: skip
        with pytest.raises(ServiceError, match=words):
            first_token(service, chosen(tmp_path / name), Renewal(new), pytest.fail)
    with pytest.raises(BrokenPipeError):
        first_token(service, ServerSettings(), Renewal(new), broken)
    assert all(service.verify_token(secret) for secret in secrets)
    assert len(service.list_tokens()) == len(secrets)
    assert (tmp_path / "kept").read_text() == "of somebody"
    assert not (tmp_path / "elsewhere").exists()


def broken(text: str) -> None:
    raise BrokenPipeError


def test_a_token_file_is_replaced_when_asked(tmp_path: Path) -> None:
    service, old = FakeService(tmp_path), tmp_path / "old"
    old.write_text("of somebody")
    old.chmod(0o644)
    (tmp_path / "link").symlink_to(old)
    for place in (tmp_path / "link", tmp_path / "link", old):
        first_token(service, chosen(place), Renewal(new=True, replace=True), pytest.fail)
        assert service.verify_token(place.read_text().strip()) is not None
        assert stat.S_IMODE(place.lstat().st_mode) == 0o600
        assert len(service.list_tokens()) == 1
        assert old.read_text() == "of somebody" or place == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]
    with pytest.raises(ServiceError, match="not a regular file"):
        first_token(service, chosen(tmp_path), Renewal(True, True), pytest.fail)


# -- the command


Call = Callable[..., str]


@pytest.fixture
def nbmlp(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: object, code: int = 0) -> str:
        assert run([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        assert code == 0 or len(said.err.strip().splitlines()) == 1
        return said.out if code == 0 else said.err

    return call


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Live]:
    settings = make_settings(tmp_path / "data", port=0)
    with live(LocalService(settings), settings) as server:
        yield server


def test_tokens_are_made_and_revoked_while_the_server_runs(
    real: Live, nbmlp: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_TRUSTED", 0.0)
    where = "--data-dir", real.settings.data_dir
    secret = nbmlp("token", "add", "ada", *where, "--rate", 5, "--streams", 2).strip()
    bearer = {"Authorization": f"Bearer {secret}"}
    with real.client(signed_in=False) as http:
        assert http.get("/v1/jobs", headers=bearer).status_code == 200
        http.post("/login", data={"token": secret})
        assert http.get("/v1/jobs").status_code == 200  # by its cookie
        real.service._uses.write()
        listed = nbmlp("token", "list", *where)
        assert [line.split()[0] for line in listed.splitlines()] == ["name", "test", "ada"]
        assert "rate 5, streams 2" in listed
        ada = json.loads(nbmlp("token", "list", "--json", *where))["tokens"][1]
        assert ada["label"] == "ada"
        assert ada["last_used"] >= ada["created"]
        assert secret not in listed + json.dumps(ada)
        nbmlp("token", "revoke", "ada", *where)
        assert http.get("/v1/jobs", headers=bearer).status_code == 401
        assert http.get("/v1/jobs").status_code == 401
    assert "nobody of the name 'ada'" in nbmlp("token", "revoke", "ada", *where, code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ada"], "ada has a token: revoke it, or choose another name"),
        ([" x"], "a NAME is 1 to 100 printable characters"),
        (["a\nb"], "a NAME is 1 to 100 printable characters"),
        (["x", "--rate", "0"], "--rate has to be larger than 0"),
        (["x", "--rate", "nan"], "--rate has to be larger than 0"),
        (["x", "--streams", "many"], "--streams"),
    ],
)
def test_wrong_tokens_are_refused(
    arguments: list[str], words: str, tmp_path: Path, nbmlp: Call
) -> None:
    with running(tmp_path) as service:
        service.create_token("ada")
    code = 1 if arguments == ["ada"] else 2
    assert words in nbmlp("token", "add", *arguments, "--data-dir", tmp_path, code=code)
    assert len(json.loads(nbmlp("token", "list", "--json", "--data-dir", tmp_path))["tokens"]) == 1


def test_commands_take_a_servers_folder_only(tmp_path: Path, nbmlp: Call) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "lacking"):
        for words in (("token", "list"), ("quarantine", "list"), ("quarantine", "empty")):
            said = nbmlp(*words, "--data-dir", folder, code=1)
            assert "there is no server's data folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_database_of_another_version_is_left_to_its_server(tmp_path: Path, nbmlp: Call) -> None:
    with running(tmp_path):
        pass
    (tmp_path / "nbmlp.sqlite").unlink()
    first_version(tmp_path / "nbmlp.sqlite")
    before = (tmp_path / "nbmlp.sqlite").read_bytes()
    said = nbmlp("token", "list", "--data-dir", tmp_path, code=1)
    assert "start nbmlp serve of this version once" in said
    assert (tmp_path / "nbmlp.sqlite").read_bytes() == before


def test_quarantine_is_listed_and_emptied(tmp_path: Path, nbmlp: Call) -> None:
    with running(tmp_path) as service:
        path = service._files.model("0" * 26)
        path.write_bytes(b"whole")
        service._executor.recover()
        listed = nbmlp("quarantine", "list", "--data-dir", tmp_path)
        assert listed.splitlines()[1].endswith(path.name)
        (kept,) = json.loads(nbmlp("quarantine", "list", "--json", "--data-dir", tmp_path))["kept"]
        assert (kept["kind"], kept["bytes"]) == ("models", 5)
        mine = Path(kept["path"]).with_name("mine")
        mine.write_text("mine")
        assert "removed 1 files" in nbmlp("quarantine", "empty", "--data-dir", tmp_path)
        assert (mine.read_text(), list(mine.parent.iterdir())) == ("mine", [mine])
        mine.unlink()
        assert service.health().quarantined == 0


# -- what they do


def test_owners_are_shown(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        dataset = add_table(service)
        job = service.submit(spec_for(dataset), owner="ada")
        assert service.get_job(job.id).owner == "ada"
        assert service.submit(spec_for(dataset), "key", "grace").owner == "grace"
        assert service.submit(spec_for(dataset), "key", "ada").owner == "grace"  # it was hers


def test_use_is_written_at_the_end_and_waits_for_a_locked_database(tmp_path: Path) -> None:
    service = LocalService(make_settings(tmp_path, database_timeout=0.05))
    token, secret = service.create_token("ada")
    service.verify_token(secret)
    assert service.find_token(token.id).last_used is None  # nothing is written on a request
    other = sqlite3.connect(service._files.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    service._uses.write()
    other.execute("ROLLBACK")
    other.close()
    service.close()
    database = Database(tmp_path / "nbmlp.sqlite", 1.0)
    (kept,) = Catalog(database).tokens()
    assert kept.last_used >= kept.created
    database.close()


def test_an_open_stream_ends_when_its_token_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_TRUSTED", 0.0)
    monkeypatch.setattr(jobs, "_PATIENCE", 0.05)
    service, settings = FakeService(tmp_path), ServerSettings(data_dir=tmp_path, port=0)
    with live(service, settings) as server, server.client() as http:
        job = service.submit(spec_for(add_table(service))).id
        with http.stream("GET", f"/v1/jobs/{job}/events") as stream:
            lines = stream.iter_lines()
            assert "state" in next(lines)
            for token in service.list_tokens():
                service.delete_token(token.id)
            assert len(list(islice(lines, 500))) < 500
