"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Config", "Json", "ModelPath", "Part"]

Config = Annotated[
    str | None,
    typer.Option(
        help="TOML file with any of these settings, e.g. batch_size = 100; options override it.",
        metavar="PATH",
        rich_help_panel="Data",
    ),
]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="File that train --out wrote.")]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="train|test",
        help="Which part, where the data have a test part; test by default.",
        rich_help_panel="Data",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
