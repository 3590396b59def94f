"""People: who made what, tokens with limits of their own, and how the first token comes about."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

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
