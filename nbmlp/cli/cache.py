"""``nbmlp cache``: ready rows of Parquet files, listed and removed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from nbmlp.cli import report
from nbmlp.errors import SpecError
from nbmlp.stream import folder

__all__ = ["run"]


def run(keys: Sequence[str], remove: bool, as_json: bool) -> int:
    """List ready rows, or remove those that are named, or all."""
    if remove:
        count, freed = folder.remove([*keys])
        if as_json:
            report.print_json({"removed": count, "bytes": freed})
        else:
            print(f"removed {count} of {folder.root()}, {freed / 1e6:.1f} MB.")
        return 0
    if keys:
        raise SpecError("keys go with --remove; without them all ready rows are listed.")
    found = [_told(entry) for entry in folder.entries()]
    if as_json:
        report.print_json({"folder": str(folder.root()), "entries": found})
        return 0
    total = sum(one["bytes"] for one in found)
    title = f"{folder.root()}: {total / 1e6:,.1f} MB"
    report.print_pairs(title, [(one["key"], _worded(one)) for one in found])
    return 0


def _told(entry: folder.Entry) -> dict[str, Any]:
    state = entry.state()
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    return {
        "key": entry.key, "bytes": entry.bytes, "rows": int(state.get("rows", 0)),
        "written": int(state.get("written", 0)), "source": str(state.get("source", "?")),
        "used": used,
    }  # fmt: skip


def _worded(one: dict[str, Any]) -> str:
    left = "" if one["written"] == one["rows"] else f" ({one['written']:,} written so far)"
    size = f"{one['bytes'] / 1e6:,.1f} MB"
    return f"{size}, {one['rows']:,} rows of {one['source']}{left}, used {one['used']}"
