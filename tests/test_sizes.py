"""What keeps the code readable: short modules and functions, few parameters, no import circles."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import nbmlp

ROOT = Path(nbmlp.__file__).parent
MOST_LINES, MOST_IN_A_BODY, MOST_PARAMETERS = 400, 60, 12
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


@cache
def functions() -> list[tuple[str, Function]]:
    return [
        (f"{module}.{node.name}", node)
        for module in PATHS
        for node in ast.walk(tree(module))
        if isinstance(node, Function)
    ]


def test_modules_are_short():
    lines = {module: len(path.read_text().splitlines()) for module, path in PATHS.items()}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


def lines_of(function: Function) -> int:
    """Lines below the signature, without docstring and inner functions."""
    first, end = function.body[0], function.end_lineno or 0
    start = (first.end_lineno or 0) + 1 if ast.get_docstring(function) else first.lineno
    nodes: list[ast.AST] = [*function.body]
    inner = 0
    while nodes:
        node = nodes.pop()
        if isinstance(node, Function):
            inner += (node.end_lineno or 0) + 1 - node.lineno
        else:
            nodes += ast.iter_child_nodes(node)
    return max(end + 1 - start - inner, 0)


def test_bodies_are_short():
    lines = {name: lines_of(one) for name, one in functions()}
    assert {name: n for name, n in lines.items() if n > MOST_IN_A_BODY} == {}


def parameters_of(function: Function) -> int:
    """All but the object itself."""
    given = function.args
    named = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


#: The constructors have scikit-learn's parameters, or in its manner all settings; an intrinsic has
#: one for each address and stride.
ALLOWED = {
    "nbmlp.estimators.classifier.__init__", "nbmlp.estimators.regressor.__init__",
    "nbmlp.tabular.estimators.__init__", "nbmlp.kernels._wave.gradient",
}  # fmt: skip


def test_functions_take_few_parameters():
    many = {name: parameters_of(one) for name, one in functions()}
    assert {n: k for n, k in many.items() if k > MOST_PARAMETERS and n not in ALLOWED} == {}


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of ours that a statement imports; names of a package may be modules in it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in PATHS)
    if isinstance(node, ast.ImportFrom) and node.module in PATHS:
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        found = [name for name in inside if name in PATHS]
        yield from found
        if len(found) < len(inside):
            yield node.module


def imports(module: str, late: bool) -> set[str]:
    """What it imports when it is loaded or typed, and, if `late`, in functions."""
    nodes: list[ast.AST] = [tree(module)]
    found: set[str] = set()
    while nodes:
        node = nodes.pop()
        found |= {*imported(node)}
        if late or not isinstance(node, Function):
            nodes += ast.iter_child_nodes(node)
    return found - {module}


def circle(late: bool) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    done: set[str] = set()

    def search(path: list[str]) -> list[str]:
        for other in sorted(imports(path[-1], late)):
            if other in path:
                return [*path[path.index(other) :], other]
            if other not in done and (found := search([*path, other])):
                return found
        done.add(path[-1])
        return []

    return next(filter(None, (search([module]) for module in PATHS if module not in done)), [])


@pytest.mark.parametrize("late", [False, True])
def test_no_imports_in_a_circle(late):
    """Imports for types count, and with `late` those in functions: they would only hide one."""
    assert circle(late) == []


def test_mypy_is_told_what_to_leave_in_one_place():
    told = [module for module, path in PATHS.items() if "# mypy:" in path.read_text()]
    assert told == []


@pytest.mark.parametrize(
    ("text", "measure", "size"),
    [
        ("def f(a, /, b, *c, d=1, **e):\n pass", parameters_of, 3),
        ("def f(self, b):\n pass", parameters_of, 1),
        ('def f(\n a,\n):\n """Told."""\n\n x = 1\n def g():\n  pass\n return g', lines_of, 3),
        ("def f():\n return 1", lines_of, 1),
    ],
)
def test_measures(text: str, measure: Callable[[Function], int], size: int):
    function = ast.parse(text).body[0]
    assert isinstance(function, Function)
    assert measure(function) == size
