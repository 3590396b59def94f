"""``nbmlp token`` and ``nbmlp quarantine``: a data folder, whether its server runs or not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nbmlp.errors import SpecError
from nbmlp.server import quarantine
from nbmlp.server.folder import DATABASE, data_folder, look_inside
from nbmlp.server.ports import Token
from nbmlp.server.settings import ServerSettings, settings_from
from nbmlp.server.store.catalog import LIMITS, Catalog
from nbmlp.server.store.database import Database

__all__ = ["run_quarantine", "run_token"]

_OPTIONS: dict[str, Any] = {
    "add_completion": False, "pretty_exceptions_enable": False, "no_args_is_help": True,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}  # fmt: skip
_tokens = typer.Typer(help="Who may ask a server: each has a token of their own.", **_OPTIONS)
_quarantine = typer.Typer(
    help="Files of a data folder that its database does not know, kept until they are removed.",
    **_OPTIONS,
)
_LONGEST_NAME = 100

DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The server's data folder; by default that of nbmlp serve. (NBMLP_DATA_DIR)",
    ),
]  # fmt: skip
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _limit(text: str) -> Any:
    return typer.Option(help=f"{text}; by default the server's setting.", show_default=False)


def run_token(arguments: Sequence[str]) -> int:
    """Run ``nbmlp token`` with its arguments; returns the exit code."""
    return _tokens(list(arguments), prog_name="nbmlp token", standalone_mode=False) or 0


def run_quarantine(arguments: Sequence[str]) -> int:
    """Run ``nbmlp quarantine`` with its arguments; returns the exit code."""
    return _quarantine(list(arguments), prog_name="nbmlp quarantine", standalone_mode=False) or 0


# -- tokens


@contextmanager
def _catalog(folder: Path | None) -> Iterator[Catalog]:
    """The database alone: the folder may be held by a server."""
    settings = _settings(folder)
    root = look_inside(data_folder(settings.data_dir))
    database = Database(root / DATABASE, settings.database_timeout, upgrade=False)
    try:
        yield Catalog(database)
    finally:
        database.close()


def _settings(folder: Path | None) -> ServerSettings:
    return settings_from({} if folder is None else {"data_dir": folder})


def _inside(folder: Path | None) -> Path:
    return look_inside(data_folder(_settings(folder).data_dir))


@_tokens.command("add")
def _add(
    name: Name,
    rate: Annotated[float | None, _limit("Requests per second")] = None,
    burst: Annotated[int | None, _limit("Requests that may come at once")] = None,
    streams: Annotated[int | None, _limit("Event streams at a time")] = None,
    uploads: Annotated[int | None, _limit("Uploads at a time")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a token, and show it once: on stdout, alone."""
    limits = {"rate": rate, "burst": burst, "streams": streams, "uploads": uploads}
    for option, value in limits.items():
        if value is not None and not (value > 0 and value < float("inf")):
            raise SpecError(f"--{option} has to be larger than 0.")
    if not (name.isprintable() and name == name.strip() and 0 < len(name) <= _LONGEST_NAME):
        raise SpecError(
            f"a NAME is 1 to {_LONGEST_NAME} printable characters, without a blank at either end."
        )
    with _catalog(data_dir) as catalog:
        _, secret = catalog.create_token(name, only=True, **limits)
    print(f"The token of {name}, which is shown only this once:", file=sys.stderr)
    print(secret)


@_tokens.command("list")
def _list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show who has one, when it was last used, and its limits."""
    with _catalog(data_dir) as catalog:
        tokens = catalog.tokens()
    if as_json:
        return _print_json({"tokens": [asdict(token) for token in tokens]})
    rows = [[t.label, _when(t.created), _when(t.last_used), _limits(t)] for t in tokens]
    _print_table(["name", "made", "last used", "limits of its own"], rows)


@_tokens.command("revoke")
def _revoke(name: Name, data_dir: DataDir = None) -> None:
    """Refuse a token from now on; a server that runs notices within seconds."""
    with _catalog(data_dir) as catalog:
        catalog.revoke(name)
    print(f"{name} may ask no longer.")


def _limits(token: Token) -> str:
    own = {name: getattr(token, name) for name in LIMITS}
    return ", ".join(f"{name} {value:g}" for name, value in own.items() if value is not None)


# -- quarantine


@_quarantine.command("list")
def _show(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what is there; each is a file or folder that can be copied out."""
    found = quarantine.kept(_inside(data_dir))
    if as_json:
        return _print_json({"kept": [{**asdict(one), "path": str(one.path)} for one in found]})
    rows = [[_when(one.since), f"{one.bytes:,}", str(one.path)] for one in found]
    _print_table(["since", "bytes", "path"], rows)


@_quarantine.command("empty")
def _empty(data_dir: DataDir = None) -> None:
    """Remove all that is there, for good."""
    root = _inside(data_dir)
    print(f"removed {quarantine.empty(root)} files and folders from {root / 'quarantine'}.")


# -- showing


def _when(seconds: float | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values))


def _print_table(heads: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
