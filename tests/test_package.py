"""The package as a whole: what importing it costs, what it ships, what it says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from conftest import FIRST

import nbmlp

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_import_is_light() -> None:
    done = run_python("import sys, nbmlp; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "nbmlp" in loaded
    assert loaded & {"numba", "llvmlite", "sklearn", "scipy", "matplotlib", "typer"} == set()


def test_every_public_name_resolves() -> None:
    assert [name for name in nbmlp.__all__ if not hasattr(nbmlp, name)] == []
    assert set(nbmlp.__all__) <= set(dir(nbmlp))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="MLPP"):
        nbmlp.MLPP  # noqa: B018


def test_version_heads_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert nbmlp.__version__ in headings


def test_types_are_shipped() -> None:
    assert resources.files("nbmlp").joinpath("py.typed").is_file()


def test_python_floor_is_one_number(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["requires-python"] == ">=3.11"
    assert pyproject["tool"]["ruff"]["target-version"] == "py311"
    assert pyproject["tool"]["mypy"]["python_version"] == "3.11"


def test_every_dependency_has_a_tested_version(pyproject: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    project = pyproject["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(text for extra in extras for text in extra)]
    names = {re.split(r"[^\w-]", text)[0].lower() for text in wanted}
    assert names <= pinned


def run_command(needs: str) -> subprocess.CompletedProcess[str]:
    """The entry point over a command line that needs one package, which is not installed."""
    return run_python(
        "import sys, types; cli = types.ModuleType('nbmlp.cli');"
        f"cli.main = lambda: __import__({needs!r}); sys.modules['nbmlp.cli'] = cli;"
        f"sys.modules[{needs!r}] = None; from nbmlp.__main__ import main; main()"
    )


@pytest.mark.parametrize("package", ["typer", "rich", "polars"])
def test_command_without_its_extra_says_what_to_install(package: str) -> None:
    done = run_command(package)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f'The nbmlp command needs {package}: pip install "nbmlp[cli]"\n'


def test_another_missing_module_is_not_hidden() -> None:
    done = run_command("no_such_module")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_files_of_tests_that_begin_first_exist() -> None:
    assert {f"{name}.py" for name in FIRST} <= {path.name for path in ROOT.glob("tests/test_*.py")}
