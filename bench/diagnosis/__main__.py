"""``python -m bench.diagnosis``: does ``MLP.why`` say what is wrong, and does its cure help?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench.diagnosis.faults import FAULTS
from bench.diagnosis.judge import Verdict, ask, judge, judge_stored
from bench.diagnosis.measure import train
from bench.diagnosis.report import figures, first_cause, markdown, to_json
from bench.diagnosis.setups import Setup, each, stored, wanted
from bench.diagnosis.sources import REAL, available
from bench.machine import describe
from bench.options import names_of, whole

HEALTHY = "healthy"


def seed_of(text: str) -> int:
    """A whole number, 0 too."""
    return 0 if text.strip() == "0" else whole(text)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    names = [HEALTHY, *FAULTS]
    parser = argparse.ArgumentParser(prog="python -m bench.diagnosis", description=__doc__)
    parser.add_argument("--seed", type=seed_of, default=0, help="of all set-ups (default 0)")
    parser.add_argument("--limit", type=whole, default=210, help="set-ups (default 210)")
    parser.add_argument("--jobs", type=whole, default=1, help="processes of one thread each")
    parser.add_argument(
        "--only", type=partial(names_of, valid=names), help=f"of {', '.join(names)}"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps set-ups between runs")
    parser.add_argument("--out", type=Path, help="write the tables there, as markdown")
    parser.add_argument("--json", type=Path, help="write all verdicts there")
    parser.add_argument(
        "--save-setups", type=Path, help="write the set-ups there and diagnose nothing"
    )
    parser.add_argument("--show", type=int, help="print one set-up, its report and the verdict")
    return parser.parse_args(argv)


def chosen(args: argparse.Namespace) -> list[int]:
    """Numbers of the set-ups that the options ask for."""
    numbers = range(args.limit)
    if args.only is None:
        return list(numbers)
    return [n for n in numbers if set(args.only) & set(wanted(args.seed, n) or [HEALTHY])]


def show(setup: Setup) -> None:
    """All about one set-up."""
    print(json.dumps(asdict(setup), indent=1))
    problem = setup.problem
    print(ask(train(setup.settings, problem).model, problem))
    print(json.dumps(judge(setup).to_dict(), indent=1))


def watched(verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
    """Print a line for each."""
    for v in verdicts:
        right = v.named if v.faults else v.left_alone
        cure = "" if v.after is None else f", cure {v.before:.4g} -> {v.after:.4g}"
        print(
            f"{v.number:4d} {'right' if right else 'WRONG'} {' + '.join(v.faults) or HEALTHY}:"
            f" {first_cause(v)}{cure} ({v.source}, {v.seconds:.1f} s) {v.error}",
            flush=True,
        )
        yield v


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(argv)
    missing = sorted(set(REAL) - set(available()))
    if missing:
        print(f"SKIPPED: no {', '.join(missing)}; NBMLP_DATA names their folder", file=sys.stderr)
    if args.show is not None:
        show(stored(args.cache, args.seed, args.show))
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the processes that are started
    numbers = chosen(args)
    if args.save_setups:
        setups = each(partial(stored, args.cache, args.seed), numbers, args.jobs)
        text = json.dumps([asdict(setup) for setup in setups], indent=1)
        args.save_setups.write_text(text, encoding="utf-8")
        return
    work = each(partial(judge_stored, args.cache, args.seed), numbers, args.jobs)
    verdicts = list(watched(work))
    for name, share in figures(verdicts).items():
        print(f"{name}: {share}")
    if args.out:
        args.out.write_text(markdown(args.seed, verdicts), encoding="utf-8")
    if args.json:
        found = {"machine": describe(), **to_json(args.seed, verdicts)}
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
