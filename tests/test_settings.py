"""One table of settings: signatures, command line, server and types say the same."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from nbmlp import MLP
from nbmlp.cases import case_a, case_b, case_c, case_d
from nbmlp.cli.options import TRAIN
from nbmlp.server.jobs.spec import NOT_TAKEN, Hyper, JobSpec
from nbmlp.settings import Settings
from nbmlp.spec import SETTINGS, ModelSpec, Setting, TaskSpec, TrainSpec
from nbmlp.spec.keywords import Chosen

DATASET = "0" * 26
CASES = {
    "a": case_a._WRITTEN | {"batch_size": 20, "epochs": 9, "task": "classes"},
    "b": case_b._NET | {"reduction": "sum", "loss": "squared_error", "output": "logistic"},
    "c": case_c._WRITTEN | {"batch_size": 256},
    "d": case_d._WRITTEN,
    "a, cured": case_a._WRITTEN | {"base_batch": 20, "gradient_norms": True},
}


def test_the_table_holds_every_field_of_the_specs() -> None:
    specs = {f.name for spec in (ModelSpec, TaskSpec, TrainSpec) for f in fields(spec)}
    assert specs - set(SETTINGS) == {"n_inputs", "n_outputs"}
    assert set(SETTINGS) - specs == {"learning_rate"}
    assert [s.name for s in SETTINGS.values() if not s.help] == []
    assert list(inspect.signature(MLP).parameters) == list(SETTINGS)


def test_the_defaults_are_those_of_a_model_of_which_nothing_is_said() -> None:
    defaults = {name: s.default for name, s in SETTINGS.items()}
    assert MLP(**defaults).train_spec == MLP().train_spec == TrainSpec()
    assert Settings.parse(defaults).specify(4, "classes", 3, 3) == ModelSpec(
        4, 3, output="softmax", loss="cross_entropy"
    )


# ------------------------------------------------------------------------- command line


def test_every_setting_is_an_option_with_the_same_words() -> None:
    offered = {option.name: option for option in TRAIN}
    assert set(SETTINGS) <= set(offered)
    for name, setting in SETTINGS.items():
        if name != "standardise":  # there it may be left to the data
            assert offered[name].help.startswith(setting.help)
            assert offered[name].default == setting.default


# ------------------------------------------------------------------------------- server


def test_the_server_takes_every_setting_or_says_why_not() -> None:
    """A new setting needs its bounds in the server's spec, or a reason there."""
    taken = set(Hyper.model_fields)
    assert taken | set(NOT_TAKEN) == set(SETTINGS)
    assert not taken & set(NOT_TAKEN)
    assert all(NOT_TAKEN.values())
    described = [f.description for f in Hyper.model_fields.values()]
    assert all(described)


def test_a_job_of_which_nothing_is_said_is_a_model_of_which_nothing_is_said() -> None:
    job = JobSpec(dataset_id=DATASET)
    assert MLP(**job.model.settings()).train_spec == TrainSpec()
    assert Hyper.model_fields["hidden"].default == [100]


@pytest.mark.parametrize("case", CASES)
def test_the_cases_can_run_on_a_server_as_they_were_written(case: str) -> None:
    written: dict[str, Any] = CASES[case]
    layers = {"hidden": [written["hidden"]]}
    job = JobSpec.model_validate({"dataset_id": DATASET, "model": written | layers})
    there, here = MLP(**job.model.settings()), MLP(**written)
    assert there.train_spec == here.train_spec
    whole, mine = there.get_params(), here.get_params()
    names = [n for n in ("bias", "init", "dropout", "dropout_scale_at") if n in written]
    assert [whole[n] for n in names] == [mine[n] for n in names]


# -------------------------------------------------------------------------------- types


def annotation_of(setting: Setting) -> str:
    """What type checkers are told, from the type of the checked value."""
    optional = " | None" if setting.kind.endswith(" | None") else ""
    kind = setting.kind.removesuffix(" | None")
    wider = {
        "tuple[str, ...]": "str | Sequence[str]",
        "tuple[float, ...]": "float | Sequence[float]",
        "tuple[int, ...]": "int | Iterable[int]",
        "Optimizer": "str | Optimizer | Mapping[str, Any]",
        "Schedule": "str | Schedule | Mapping[str, Any]",
        "ColumnKinds": "Mapping[str, str]",
        "ClassWeight": "Literal['balanced'] | Mapping[Any, float]",
        "bool | str": "bool | Literal['blocks']",
        "Factors": "Mapping[str, float | str]",
    }
    if setting.choices:
        return f"Literal[{', '.join(map(repr, setting.choices))}]"
    return wider.get(kind, kind) + optional


def test_type_checkers_know_every_setting() -> None:
    hints = Chosen.__annotations__.items()
    written = {name: hint.__forward_arg__.replace('"', "'") for name, hint in hints}
    assert written == {name: annotation_of(s) for name, s in SETTINGS.items()}
