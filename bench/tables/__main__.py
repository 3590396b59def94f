"""``python -m bench.tables``: errors and seconds on thirteen tables, ours beside the best.

Finished cells are kept and not measured again; then all that is there is reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.options import names_of, whole
from bench.results import machine_lines
from bench.tables.cells import Key, Outcome, Store, run_missing
from bench.tables.data import READERS, available
from bench.tables.peers import CONTESTANTS, OURS, TIMED, why_missing
from bench.tables.pictures import draw_difference, draw_pareto
from bench.tables.promises import verdicts
from bench.tables.report import Results, report

__all__ = ["main"]


def seeds_of(text: str) -> list[int]:
    """0,1,2"""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not part.isdecimal():
            raise argparse.ArgumentTypeError(f"{part!r} is not a whole number.")
    return [int(part) for part in parts]


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    names = [name for name in CONTESTANTS if name not in TIMED]
    p.add_argument("--tables", type=partial(names_of, valid=list(READERS)), default=list(READERS))
    p.add_argument(
        "--contestants", type=partial(names_of, valid=list(CONTESTANTS)), default=names,
        help=f"of {', '.join(CONTESTANTS)} (default: all without a time limit)",
    )  # fmt: skip
    p.add_argument("--seeds", type=seeds_of, default=list(range(5)), help="(default 0,1,2,3,4)")
    p.add_argument("--development", action="store_true",
                   help="rows to choose settings on: seed 0 without its test part")  # fmt: skip
    p.add_argument("--cores", type=whole, default=2, help="of each contestant (default 2)")
    p.add_argument("--seconds", type=whole, default=300,
                   help="for those that take as long as they are given (default 300)")  # fmt: skip
    p.add_argument("--limit", type=whole, help="cells to measure at most")
    p.add_argument("--anew", action="store_true", help="measure finished cells again")
    p.add_argument("--report", action="store_true", help="measure nothing, only report")
    p.add_argument("--out", type=Path, default=Path("out/tables"),
                   help="folder that keeps cells and pictures (default out/tables)")  # fmt: skip
    return p


def able(tables: list[str], contestants: list[str]) -> tuple[list[str], list[str]]:
    """Those that are there; of the others it is said."""
    here = set(available())
    why = {name: None if name in here else "not in NBMLP_DATA" for name in tables}
    why |= {name: why_missing(name) for name in contestants}
    for name, reason in why.items():
        if reason:
            print(f"{name}: SKIPPED, {reason}", file=sys.stderr)
    return [n for n in tables if not why[n]], [n for n in contestants if not why[n]]


def keys_of(args: argparse.Namespace) -> list[Key]:
    """Cells that the options ask for."""
    tables, contestants = able(args.tables, args.contestants)
    limits = {name: float(args.seconds) if name in TIMED else 0.0 for name in contestants}
    return [
        Key(table, name, seed, args.development, args.cores, limits[name])
        for seed in args.seeds
        for table in tables
        for name in contestants
    ]


def told(outcome: Outcome) -> str:
    """One line."""
    if outcome.failed:
        return f"{outcome.key}: FAILED, {outcome.failed}"
    return f"{outcome.key}: {outcome.error:.4f} in {outcome.fit:.1f} s ({outcome.fit_cpu:.1f} CPU)"


def written(results: Results, folder: Path) -> str:
    """The report; it and the pictures are put into the folder, too."""
    machines = [
        machine_lines(m).replace(", load unknown at the start", "") for m in results.machines
    ]
    text = "\n\n".join([*machines, report(results)])
    names = [name for name in results.complete() if name not in TIMED]
    if len(names) > 1:
        draw_difference(results.compared(names), folder / "ranks.png")
        draw_pareto(results, names, folder / "pareto.png")
    if any(name.startswith(OURS) for name in results.contestants):
        text += "\n\n" + "\n".join(f"- {verdict}" for verdict in verdicts(results))
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    store = Store(args.out)
    failed = 0
    keys = [] if args.report else keys_of(args)
    for outcome in run_missing(keys, store, args.limit, anew=args.anew):
        print(told(outcome), flush=True)
        failed += bool(outcome.failed)
    kept = store.read().values()
    results = Results(kept, args.development, args.seeds, float(args.seconds), args.cores)
    if results.cells:
        print(written(results, args.out))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
