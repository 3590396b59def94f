"""Nets that somebody got stuck with: trained as they were written, diagnosed, and cured."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from nbmlp.cases.common import data_place, output_folder, warnings_said
from nbmlp.errors import unknown_name

__all__ = ["CASES", "run"]

#: Letter -> what was wrong; module ``case_<letter>`` holds each.
CASES = {
    "a": "784-45-16 on digits and symbols: gradients that shrink as the batch grows",
    "b": "784-300-10 on MNIST: 7 % error, and gradients that fail their check",
    "c": "5-50-1 with dropout on a .mat file: the loss becomes NaN when the batch is large",
    "d": "784-250-1 on a table of digits: a loss that does not change at all",
}
#: Cases that take somebody's own file, too.
_OF_FILES = ("c", "d")


def run(
    letter: str,
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    quick: bool = False,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Run one case.

    Parameters
    ----------
    letter : str
        A key of :data:`CASES`.
    out : path
        Folder for pictures and models; made if it is not there.
    data : path, optional
        Folder with the real data sets; by default the one that NBMLP_DATA names. Without one a
        case runs on data that need no download, and says so. Cases c and d also take a file of
        your own: a .mat file whose last column is the target, a table of digits.
    quick : bool
        Less data and fewer epochs: the way, not the figures.
    say : callable(str)
        Gets the lines of the story, as they come.

    Returns
    -------
    dict
        Plain values for JSON: the figures of the case, ``seconds`` of the whole, ``files``
        written.

    Raises
    ------
    SpecError
        There is no such case.
    DataError
        A folder or a file in it cannot be read or written.
    MissingPackageError
        Fonts or matplotlib are not installed.
    """
    if letter not in CASES:
        raise unknown_name("case", letter, CASES)
    say(f"Case {letter}: {CASES[letter]}.")
    case = import_module(f"nbmlp.cases.case_{letter}")
    with warnings_said(say):
        place = data_place(data, letter in _OF_FILES)
        result: dict[str, Any] = case.run(output_folder(out), place, quick, say)
    return {"case": letter, "quick": quick} | result
