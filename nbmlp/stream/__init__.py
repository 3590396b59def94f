"""Parquet files that need not fit into memory: read by batches, made ready once, mapped."""

from __future__ import annotations

from nbmlp.stream.fit import FromFiles, check_arrays, check_files, from_files, refuse_files
from nbmlp.stream.making import Making, Progress
from nbmlp.stream.predictions import write_predictions
from nbmlp.stream.prepare import prepare_more
from nbmlp.stream.ready import ReadyRows
from nbmlp.stream.source import Source, names_files, names_many

__all__ = [
    "FromFiles",
    "Making",
    "Progress",
    "ReadyRows",
    "Source",
    "check_arrays",
    "check_files",
    "from_files",
    "names_files",
    "names_many",
    "prepare_more",
    "refuse_files",
    "write_predictions",
]
