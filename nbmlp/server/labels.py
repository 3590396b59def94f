"""Names that people chose, as names of the files that they save."""

from __future__ import annotations

import re

__all__ = ["file_name"]

#: What some system does not take in a name.
_SPECIAL = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u202a-\u202e\u2066-\u2069]+')
_TABLE = re.compile(r"\.(csv|tsv|parquet|npy|npz|mat)(\.gz)?$", re.IGNORECASE)
_LONGEST = 100


def file_name(label: str, ending: str) -> str:
    """A file's name that says what it is of.

    Parameters
    ----------
    label : str
        Of a job, a model or a table; the ending of a table is left out.
    ending : str
        With what stands before it, e.g. ``" curve.csv"``.
    """
    plain = _SPECIAL.sub("_", _TABLE.sub("", label)).strip(" .")
    return (plain[:_LONGEST].rstrip(" .") or "nbmlp") + ending
