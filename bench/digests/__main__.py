"""``python -m bench.digests``: are the bits of these trainings those of another commit?

Write them with one commit, write them with another, and compare:

    $ python -m bench.digests --out new.json
    $ git worktree add /tmp/old COMMIT
    $ PYTHONPATH=/tmp/old python -m bench.digests --out old.json
    $ python -m bench.digests --compare old.json new.json

PYTHONPATH goes before the folder at hand, so these same trainings run with the other package. Each
runs on one thread, on two and on five, which must give the same bits. Both files must come from one
machine and the same versions of NumPy and its kin.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["main"]

#: Each training runs on so many threads in turn.
THREADS = (1, 2, 5)
_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "llvmlite")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.digests", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--out", type=Path, help="train, and write all digests there")
    work.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"),
        help="say where two such files differ; exit status 1 if they do",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", metavar="TEXT",
        help="trainings whose names contain this (may be given several times)",
    )  # fmt: skip
    return parser.parse_args(argv)


# -------------------------------------------------------------------------------- train


def choose_package() -> None:
    """Let PYTHONPATH say which nbmlp is imported: python -m looks into the folder at hand first.

    Numba must be told before it is imported that more threads than cores may be asked for.
    """
    given = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:0] = given
    os.environ["NUMBA_NUM_THREADS"] = str(max(THREADS))


def origin() -> dict[str, Any]:
    """What bits may depend on besides the package: equal in files that are to be compared."""
    from llvmlite import binding

    forced = {k: v for k, v in os.environ.items() if k.startswith("NUMBA_CPU")}
    versions = {name: version(name) for name in _PACKAGES}
    return {"cpu": binding.get_host_cpu_name(), **forced, "python": sys.version, **versions}


def digests_of(name: str) -> tuple[dict[str, str], int, str]:
    """Digests by part, the most threads that ran, and what is wrong: unlike bits, or an error."""
    from bench.digests.trainings import outcome

    try:
        found = [outcome(name, threads) for threads in THREADS]
    except Exception as error:
        return {"error": type(error).__name__}, 0, f"{type(error).__name__}: {error}"
    first = found[0].digests
    unlike = [t for t, one in zip(THREADS, found, strict=True) if one.digests != first]
    wrong = f"other bits on {' and '.join(map(str, unlike))} threads than on one" if unlike else ""
    return first, max(one.threads for one in found), wrong


def names_of(only: Sequence[str] | None) -> list[str]:
    """Names of the trainings asked for."""
    from bench.digests.trainings import TRAININGS

    names = [n for n in TRAININGS if only is None or any(text in n for text in only)]
    if not names:
        sys.exit(f"no training has {' or '.join(map(repr, only or ()))} in its name.")
    return names


def write(path: Path, only: Sequence[str] | None) -> int:
    """Train all, write the file, and say what was wrong; returns the exit status."""
    choose_package()
    warnings.simplefilter("ignore")  # of nets that do not converge in three epochs
    import nbmlp

    package, start = Path(nbmlp.__file__).parent, time.perf_counter()
    names, digests, wrong, shared = names_of(only), {}, 0, 0
    print(f"{len(names)} trainings with {package}", flush=True)
    for name in names:
        digests[name], threads, reason = digests_of(name)
        shared += threads == max(THREADS)
        if reason:
            wrong += 1
            print(f"WRONG {name}: {reason}", flush=True)
    report = {"package": str(package), "origin": origin(), "digests": digests}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(
        f"{len(names)} trainings, {wrong} wrong, in {time.perf_counter() - start:.0f} s;"
        f" {max(THREADS)} threads took part in {shared}"
    )
    return int(wrong > 0)


# ------------------------------------------------------------------------------ compare


def differences(a: dict[str, dict[str, str]], b: dict[str, dict[str, str]]) -> Iterator[str]:
    """A line for each training that is not in both with the same digests."""
    for name in [*a, *(name for name in b if name not in a)]:
        if name not in a or name not in b:
            yield f"{name}: only in {'A' if name in a else 'B'}"
        elif unlike := [p for p in {**a[name], **b[name]} if a[name].get(p) != b[name].get(p)]:
            yield f"{name}: other {', '.join(unlike)}"


def compare(paths: Sequence[Path]) -> int:
    """Print where two files differ; returns the exit status."""
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    for letter, report in (("A", a), ("B", b)):
        print(f"{letter}: {len(report['digests'])} trainings with {report['package']}")
    for key in {**a["origin"], **b["origin"]}:
        if (one := a["origin"].get(key)) != (other := b["origin"].get(key)):
            print(f"UNLIKE ORIGIN {key}: {one} and {other}: digests may differ for that alone")
    found = list(differences(a["digests"], b["digests"]))
    for line in found:
        print(f"DIFFERS {line}")
    print(f"{len(found)} of {len({**a['digests'], **b['digests']})} differ")
    return int(bool(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse(argv)
    return compare(args.compare) if args.compare else write(args.out, args.only)


if __name__ == "__main__":
    sys.exit(main())
