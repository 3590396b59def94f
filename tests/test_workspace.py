"""One writer of the tables: fields of records are spelled in nbmlp/workspace, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_twin import problem, state_of

import nbmlp
from nbmlp.kernels import records
from nbmlp.kernels.records import JOB, JOB_GROUPS, LAYER, PARAMETER
from nbmlp.plan import make_plan, make_strategy
from nbmlp.spec import ModelSpec
from nbmlp.workspace import Cursor, Job, Workspace

ROOT = Path(nbmlp.__file__).parent
FIELDS = {name for record in (JOB, LAYER, PARAMETER) for name in record.names or ()}
#: What a workspace keeps for itself, and what others may read but not write.
KEPT, READ = {"_table", "_layers", "_parameters", "_set", "_ints"}, {"job", "layers", "parameters"}


def holds(tree: ast.Module) -> bool:
    """Whether a module has to do with workspaces: it imports them, or the engine that has one."""
    given = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return bool(given & {"nbmlp.workspace", "nbmlp.train.engine", "nbmlp.predict"})


def ends_in(node: ast.expr, names: set[str]) -> bool:
    """Whether it is `name` or `something.name`."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return name in names


def stored(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement assigns to, if that is a part of something."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        for one in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(one, ast.Subscript | ast.Attribute):
                yield one.value


def written(tree: ast.Module) -> list[str]:
    """Places where fields of the tables are spelled or written."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbmlp.workspace."):
            found.append(node)
        if (
            isinstance(node, ast.Attribute)
            and node.attr in KEPT
            and not ends_in(node.value, {"self"})
        ):
            found.append(node)
        if any(ends_in(value, READ) for value in stored(node)):
            found.append(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr  # set_params is that of estimators
            setter = name.startswith(("set", "bind")) and name != "set_params"
            if setter and {word.arg for word in node.keywords} & FIELDS:
                found.append(node)
        if isinstance(node, ast.Subscript) and ends_in(node.value, {"work", *READ}):
            key = getattr(node.slice, "value", None)
            if isinstance(key, str) and key in FIELDS:
                found.append(node)
    return [ast.unparse(node) for node in found]


def test_nobody_else_writes_the_tables():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.parent.name != "workspace" and holds(tree):
            found[path.relative_to(ROOT).as_posix()] = written(tree)
    assert {"train/engine.py", "predict.py", "failures/trace.py"} <= found.keys()
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "line",
    [
        "work.set(cursor=0)",
        "self.work.set_layer(i, keep=1.0, factor=2.0)",
        "work.bind(rule='adam.rule')",
        "work['cursor']",
        "engine.work.layers['w']",
        "engine.work.layers[:] = before",
        "work.job.cursor = Cursor()",
        "a, job.status = 1, 2",
        "job._set(rule=0)",
        "work._layers.set(0, **fields)",
        "from nbmlp.workspace.table import Table",
    ],
)
def test_such_a_line_is_found(line):
    assert written(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    ["job.limit(3)", "work.keep(i, 1.0, 2.0)", "job.take_up(Cursor(step=3))", "self._layers = 1"],
)
def test_such_a_line_is_fine(line):
    assert not written(ast.parse(line))


def spelled() -> set[str]:
    """Names that the job's writer uses: keywords, and words in strings."""
    tree = ast.parse((ROOT / "workspace" / "job.py").read_text(encoding="utf-8"))
    words = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return words | {text for text in texts if isinstance(text, str)}


def test_every_field_of_a_job_is_somebodys():
    """One that nobody writes is 0: no error, but a training that lacks something."""
    stands = {name for name, _ in JOB_GROUPS["cursor"]}
    # The number of a bad row is found anew.
    assert set(JOB.names or ()) - spelled() - stands == {"bad_row"}
    assert spelled() & records.PIECES.keys() > {"rule", "loss", "inputs", "targets"}


# ------------------------------------------------------------------------------------- the job

SPEC = ModelSpec(5, 3, (4,), dropout=0.25)


def job(training: bool = True) -> Job:
    state = state_of(SPEC, problem(SPEC, 8).params)
    strategy = make_strategy(SPEC, make_plan(SPEC, 8), 1, training=training)
    return Workspace(SPEC, state, strategy).job


def test_a_cursor_is_taken_up_as_it_was_told():
    one, cursor = job(), Cursor(48, 32, 7, 16.5, 2.25, 48.5)
    one.take_up(cursor)
    assert one.cursor == cursor
    assert one.rows_done == 48


def test_a_cursor_moves_to_the_borders_of_its_batch():
    cursor = Cursor(48, 32, 7, 16.5, 2.25, 48.5)
    assert cursor.within_batch
    assert cursor.before_batch() == Cursor(32, 32, 7, 0.0, 2.25, 48.5)
    assert cursor.before_batch().behind_batch(60) == Cursor(60, 60, 8, 0.0, 2.25, 48.5)
    assert not cursor.before_batch().within_batch


def test_an_epoch_starts_at_its_first_row_and_goes_on_between_batches():
    one, order = job(), np.arange(100)
    one.train_on(20, order, 3, mean=True)
    one.take_up(Cursor(5, 4, 3, 2.0, 1.0, 1.0))
    one.start_epoch(np.array([0.5, 0.25, 0.125]), 11)
    assert (one.cursor, one.first_step, one.rate) == (Cursor(step=11), 11, 0.5)
    one.resume_at(40, 1.5, 40.0)
    assert one.cursor == Cursor(40, 40, 13, 0.0, 1.5, 40.0)
    assert one.rate == 0.125


def test_gradients_only():
    one = job()
    one.update_by("sgd", [0.0, 0.0], 0.0, 0.0, by_block=False)
    assert one.updates
    one.gradient_only()
    assert not one.updates
