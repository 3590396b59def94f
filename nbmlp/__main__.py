"""Entry of the ``nbmlp`` command and of ``python -m nbmlp``."""

from __future__ import annotations

import sys

__all__ = ["main"]

#: Packages of the extra ``cli``.
CLI_PACKAGES = ("typer", "rich", "polars")


def main() -> None:
    """Run the command line.

    Raises
    ------
    SystemExit
        Always; with code 2 and one sentence on stderr if the extra ``cli`` is not installed.
    """
    try:
        from nbmlp.cli import main as run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in CLI_PACKAGES:
            raise
        print(f'The nbmlp command needs {error.name}: pip install "nbmlp[cli]"', file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
