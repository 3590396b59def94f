"""Files that the commands read and write: settings, and results that appear whole or not at all."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from nbmlp.data.files import reading
from nbmlp.errors import DataError, SpecError, missing_package
from nbmlp.io.atomic import atomic_write, save_failure

__all__ = ["check_outputs", "read_config", "write_picture", "write_text"]

_PICTURES = (".png", ".pdf", ".svg")


def read_config(path: str | None) -> dict[str, Any]:
    """Settings of a TOML file by name; dashes count as underscores.

    Raises
    ------
    DataError
        It cannot be read.
    SpecError
        It is not TOML.
    """
    if path is None:
        return {}
    with reading(Path(path)):
        raw = Path(path).read_bytes()
    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not a TOML file: {error}.") from None
    return {name.replace("-", "_"): value for name, value in values.items()}


def check_outputs(outputs: Mapping[str, str | None], inputs: Iterable[str | None]) -> None:
    """Refuse places that cannot be written or would overwrite an input, before time is spent.

    Parameters
    ----------
    outputs : mapping of option name to path
    inputs : iterable of paths

    Raises
    ------
    SpecError
        Two outputs, or an input and an output, are the same file; a picture of unknown kind.
    DataError
        A folder is missing or may not be written to.
    MissingPackageError
        A picture is asked for and matplotlib is not installed.
    """
    taken = {os.path.realpath(path): "data" for path in inputs if path is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in taken:
            raise SpecError(f"--{name} {path} is also the file of --{taken[place]}: name another.")
        taken[place] = name
        _check_folder(Path(path), name)
    plot = outputs.get("plot")
    if plot is not None:
        if Path(plot).suffix.lower() not in _PICTURES:
            raise SpecError(f"--plot {plot}: end the name in {', '.join(_PICTURES)}.")
        if find_spec("matplotlib") is None:
            raise missing_package("--plot", "matplotlib", "plot")


def _check_folder(path: Path, name: str) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"--{name} {path}: there is no folder {folder}; create it first.")
    if path.is_dir():
        raise DataError(f"--{name} {path} is a folder: give the name of a file.")
    if not os.access(folder, os.W_OK):
        raise DataError(f"--{name} {path}: no permission to write into {folder}.")


def write_picture(path: str, figure: Any) -> None:
    """Save matplotlib's figure; the ending chooses the format. Raises DataError."""
    try:
        with atomic_write(path) as file:
            figure.savefig(file, format=Path(path).suffix[1:].lower())
    except OSError as error:
        raise DataError(save_failure(path, error)) from None


def write_text(path: str, write: Callable[[TextIO], None]) -> None:
    """Let `write` fill a text file. Raises DataError."""
    try:
        with atomic_write(path, "w") as file:
            write(file)
    except OSError as error:
        raise DataError(save_failure(path, error)) from None
