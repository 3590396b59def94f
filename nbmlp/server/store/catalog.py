"""Data sets, models and tokens in the database."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update
from sqlalchemy.engine import RowMapping

from nbmlp.server.files import new_id
from nbmlp.server.ports import (
    ColumnInfo,
    ConflictError,
    Dataset,
    Model,
    NotFoundError,
    Page,
    ParsedDataset,
    Token,
)
from nbmlp.server.store import schema
from nbmlp.server.store.database import Database
from nbmlp.server.summaries import DatasetSummary, ModelSummary, target_of

__all__ = ["LIMITS", "Catalog", "newest_first"]

#: Of a token's own.
LIMITS = ("rate", "burst", "streams", "uploads")
_TERMINAL = ("succeeded", "failed", "cancelled")
#: Columns that a list of models tells as they are, and those that it makes shorter.
_SAME = tuple(f.name for f in fields(ModelSummary) if f.name not in ("target", "evaluation"))
_SHORT = (*_SAME, "targets", "measures")


def newest_first(
    connection: Connection, table: Table, after: str | None, limit: int, *names: str
) -> tuple[list[RowMapping], bool]:
    """Rows of a page, and whether there are more; `after` need not exist any longer.

    Of all columns, unless some are named.
    """
    wanted = [table.c[name] for name in names] if names else table.columns
    query = select(*wanted).order_by(table.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(table.c.id < after)
    rows = list(connection.execute(query).mappings())
    return rows[:limit], len(rows) > limit


class Catalog:
    """What there is beside jobs.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def _row(self, table: Table, key: str, what: str) -> RowMapping:
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == key)).mappings().first()
        if row is None:
            raise NotFoundError(f"there is no {what} {key[:40]!r}.")
        return row

    # -- data sets

    def add_dataset(self, parsed: ParsedDataset, size: int) -> Dataset:
        """Note a data set whose file is in place."""
        values = {
            "id": new_id(), "name": parsed.name, "sha256": parsed.sha256, "format": parsed.format,
            "bytes": size, "rows": parsed.rows, "columns": [asdict(c) for c in parsed.columns],
            "target_guess": parsed.target_guess, "preview": [list(r) for r in parsed.preview],
            "created": time.time(), "owner": parsed.owner, "n_columns": len(parsed.columns),
        }  # fmt: skip
        with self._database.write() as connection:
            connection.execute(insert(schema.datasets).values(values))
        return _dataset(values)

    def dataset(self, dataset_id: str) -> Dataset:
        """One data set."""
        return _dataset(self._row(schema.datasets, dataset_id, "data set"))

    def datasets(self, after: str | None, limit: int) -> Page[DatasetSummary]:
        """A page of data sets in short."""
        names = [field.name for field in fields(DatasetSummary)]
        with self._database.read() as connection:
            rows, more = newest_first(connection, schema.datasets, after, limit, *names)
        return Page(tuple(DatasetSummary(**row) for row in rows), more)

    def delete_dataset(self, dataset_id: str) -> tuple[str, bool]:
        """Forget a data set; returns its hash, and whether its content is needed no longer.

        Raises
        ------
        ConflictError
            A job needs it that has not ended.
        """
        sha256 = self.dataset(dataset_id).sha256
        jobs, table = schema.jobs.c, schema.datasets
        with self._database.write() as connection:
            waiting = select(jobs.id).where(
                jobs.dataset_id == dataset_id, jobs.state.not_in(_TERMINAL)
            )
            if job := connection.execute(waiting).scalar():
                raise ConflictError(f"job {job} still needs these data: cancel it first.")
            connection.execute(delete(table).where(table.c.id == dataset_id))
            rest = connection.execute(select(table.c.id).where(table.c.sha256 == sha256)).first()
        return sha256, rest is None

    # -- models

    def model(self, model_id: str) -> Model:
        """One model."""
        return _model(self._row(schema.models, model_id, "model"))

    def models(self, after: str | None, limit: int) -> Page[ModelSummary]:
        """A page of models in short."""
        with self._database.read() as connection:
            rows, more = newest_first(connection, schema.models, after, limit, *_SHORT)
        return Page(tuple(map(_short, rows)), more)

    def delete_model(self, model_id: str) -> None:
        """Forget a model."""
        self.model(model_id)
        jobs, models = schema.jobs, schema.models
        with self._database.write() as connection:
            connection.execute(delete(models).where(models.c.id == model_id))
            connection.execute(
                jobs.update().where(jobs.c.model_id == model_id).values(model_id=None)
            )

    # -- tokens

    def create_token(
        self, label: str, *, only: bool = False, **limits: float | int | None
    ) -> tuple[Token, str]:
        """A token and its secret: 256 random bits, so that one plain hash protects it.

        Parameters
        ----------
        label : str
        only : bool
            Refuse a label that another token has.
        **limits
            Of its own: those of :data:`LIMITS`; None for the server's.

        Raises
        ------
        ConflictError
        """
        table, secret = schema.tokens, secrets.token_urlsafe(32)
        token = Token(new_id(), label, time.time(), **limits)  # type: ignore[arg-type]
        with self._database.write() as connection:
            same = select(table.c.id).where(table.c.label == label)
            if only and connection.execute(same).first():
                raise ConflictError(f"{label} has a token: revoke it, or choose another name.")
            connection.execute(insert(schema.tokens).values(**asdict(token), hash=_digest(secret)))
        return token, secret

    def verify_token(self, secret: str) -> Token | None:
        """Whose secret it is."""
        return self._token_where(schema.tokens.c.hash == _digest(secret))

    def find_token(self, token_id: str) -> Token | None:
        """The token with this id, if it is still accepted."""
        return self._token_where(schema.tokens.c.id == token_id)

    def _token_where(self, condition: ColumnElement[bool]) -> Token | None:
        with self._database.read() as connection:
            query = select(schema.tokens).where(condition)
            row = connection.execute(query).mappings().first()
        return None if row is None else _token(row)

    def token_hashes(self) -> frozenset[str]:
        """Of all secrets."""
        with self._database.read() as connection:
            return frozenset(connection.execute(select(schema.tokens.c.hash)).scalars())

    def tokens(self) -> list[Token]:
        """Oldest first."""
        table = schema.tokens
        with self._database.read() as connection:
            rows = connection.execute(select(table).order_by(table.c.id)).mappings()
            return [_token(row) for row in rows]

    def delete_token(self, token_id: str) -> None:
        """It is accepted no longer."""
        self._row(schema.tokens, token_id, "token")
        with self._database.write() as connection:
            connection.execute(delete(schema.tokens).where(schema.tokens.c.id == token_id))

    def revoke(self, label: str) -> None:
        """Accept no token with this label any longer.

        Raises
        ------
        NotFoundError
        """
        table = schema.tokens
        with self._database.write() as connection:
            if not connection.execute(delete(table).where(table.c.label == label)).rowcount:
                raise NotFoundError(f"nobody of the name {label[:40]!r} has a token.")

    def note_use(self, times: Mapping[str, float]) -> None:
        """When tokens were last used, by their ids."""
        table = schema.tokens
        with self._database.write() as connection:
            for token_id, when in times.items():
                where = update(table).where(table.c.id == token_id)
                connection.execute(where.values(last_used=when))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _token(row: RowMapping) -> Token:
    return Token(**{field.name: row[field.name] for field in fields(Token)})


def _dataset(row: Mapping[Any, Any]) -> Dataset:
    columns = tuple(ColumnInfo(**{**c, "examples": tuple(c["examples"])}) for c in row["columns"])
    values = dict(row) | {"columns": columns, "preview": tuple(map(tuple, row["preview"]))}
    return Dataset(**{field.name: values[field.name] for field in fields(Dataset)})


def _model(row: Mapping[Any, Any]) -> Model:
    values = {field.name: row[field.name] for field in fields(Model)}
    lists = {name: tuple(row[name]) for name in ("targets", "classes")}
    return Model(**{**values, **lists, "inputs": tuple((n, k) for n, k in row["inputs"])})


def _short(row: Mapping[Any, Any]) -> ModelSummary:
    told = {"target": target_of(row["targets"]), "evaluation": row["measures"]}
    return ModelSummary(**{name: row[name] for name in _SAME}, **told)
