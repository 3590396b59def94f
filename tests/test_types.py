"""What a type checker makes of uses of MLP: the good ones pass, the bad ones are errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbmlp

ROOT = Path(__file__).resolve().parent.parent
USES = ROOT / "tests" / "typed_uses.py"
#: Only what the uses need is read: the rest is checked by `make lint`, and takes ten times as long.
CONFIG = """
[mypy]
strict = true
follow_imports = skip
[mypy-nbmlp,nbmlp.mlp,nbmlp.examine,nbmlp.overfiles,nbmlp.model,nbmlp.parameters,nbmlp.spec.*,nbmlp.optimizers]
follow_imports = silent
[mypy-nbmlp.schedules,nbmlp.train.history,numpy.*]
follow_imports = silent
"""


def test_good_uses_pass_and_bad_ones_do_not(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir",
            str(tmp_path / "cache"), "--hide-error-context", "--no-pretty", str(USES),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    found = re.findall(r"^[^:]*:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    lines = USES.read_text().splitlines()
    wanted = [(str(n), line.split("# error: ")[1]) for n, line in enumerate(lines, 1)
              if "# error: " in line]  # fmt: skip
    assert len(wanted) > 9
    assert found == wanted, done.stdout


def test_type_checkers_see_the_names_that_there_are() -> None:
    stub = (ROOT / "nbmlp" / "__init__.pyi").read_text()
    imported = dict.fromkeys(nbmlp._MODULES, "nbmlp")
    for home, names in re.findall(r"^from (\S+) import ([^(\n]+|\([^)]*\))$", stub, re.MULTILINE):
        imported |= dict.fromkeys(re.findall(r"\w+", names), home)
    assert imported == nbmlp._HOME_OF | dict.fromkeys(nbmlp._MODULES, "nbmlp")
    exported = re.findall(r'^    "(\w+)",$', stub, re.MULTILINE)
    assert sorted(exported) == sorted(nbmlp.__all__)
