"""A message names the row and the column of the user's data, whatever way they have gone.

First the table: {API, estimators, CLI, server} x {NaN, inf, 1e39} x {input, target, label}, each
with five draws of the place, with validation and test parts cut out of the rows.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from nbmlp import MLP, DataError, NonFiniteError, TrainingWarning, replay
from nbmlp.cli import run
from nbmlp.data import Dataset, Table, read
from nbmlp.data.given import Given
from nbmlp.errors import Place, RowError
from nbmlp.estimators import MLPClassifier, MLPRegressor
from nbmlp.rows import Names
from nbmlp.server.http.serving import ServedModel
from nbmlp.server.intake.summary import columns_of, describe
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.training import train
from nbmlp.server.jobs.wishes import Wishes
from nbmlp.server.ports import JobState, ParsedDataset
from nbmlp.server.rows import content_hash, save_rows
from nbmlp.server.service import LocalService
from tests.server_jobs import finished, make_settings, running, spec_for

N, WIDTH = 120, 4
COLUMNS = ("alpha", "beta", "gamma", "delta")
BAD = {"NaN": np.nan, "inf": np.inf, "1e39": 1e39}
SMALL: dict[str, Any] = {"hidden": [4], "epochs": 2, "batch_size": 16}
SEEDS = range(5)


class Spoilt:
    """Rows of numbers, one value of them spoilt.

    Attributes
    ----------
    row, column : int
        Its place; the column is None where a target is spoilt.
    """

    def __init__(self, seed: int, kind: str, bad: float) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.kind = seed, kind
        self.X = rng.uniform(-1, 1, (N, WIDTH))
        self.y: Any = self.X @ rng.uniform(-1, 1, WIDTH)
        self.row, self.column = int(rng.integers(5, N)), None
        if kind == "label":
            self.y = np.where(self.y > 0, "high", "low").astype(object)
            self.y[self.row] = None
        elif kind == "target":
            self.y[self.row] = bad
        else:
            self.column = int(rng.integers(WIDTH))
            self.X[self.row, self.column] = bad

    @property
    def task(self) -> str:
        return "classes" if self.kind == "label" else "regression"

    def csv(self, folder: Path) -> Path:
        lines = [",".join((*COLUMNS, "goal"))]
        for x, y in zip(self.X.tolist(), self.y.tolist(), strict=True):
            lines.append(",".join("" if v is None else str(v) for v in (*x, y)))
        path = folder / "table.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    def expect(self, said: str, *, names: bool) -> None:
        """The sentence names this row and column, and no other row."""
        rows = [int(number) for number in re.findall(r"\brow (\d+)", said)]
        assert rows == [self.row], said
        column = COLUMNS[self.column] if self.column is not None else "goal"
        if names:
            assert f"column '{column}'" in said, said
        elif self.column is not None:
            assert f"column {self.column} " in said, said


def said_by_the_api(spoilt: Spoilt, folder: Path) -> str:
    X: Any = spoilt.X
    if spoilt.seed % 2:
        np.save(folder / "x.npy", X)
        X = np.load(folder / "x.npy", mmap_mode="r")
    model = MLP(**SMALL, task=spoilt.task, shuffle=spoilt.seed != 2, seed=spoilt.seed)
    with pytest.raises((DataError, NonFiniteError)) as error:
        model.fit(X, spoilt.y, validation=0.3)
    if isinstance(error.value, NonFiniteError):
        assert (error.value.row, error.value.column) == (spoilt.row, spoilt.column)
    return str(error.value)


def said_by_estimators(spoilt: Spoilt, folder: Path) -> str:
    pd = pytest.importorskip("pandas")
    kind = MLPClassifier if spoilt.kind == "label" else MLPRegressor
    model = kind(
        hidden_layer_sizes=4, max_iter=2, batch_size=16, random_state=spoilt.seed,
        early_stopping=True, validation_fraction=0.3, shuffle=spoilt.seed != 2,
    )  # fmt: skip
    X: Any = pd.DataFrame(spoilt.X, columns=COLUMNS)
    narrow = pd.DataFrame(np.tanh(spoilt.X).astype(np.float32), columns=COLUMNS)
    own = {}
    if spoilt.X.max() == 1e39:  # a net of float64 takes it; one of float32 is asked about it
        model.early_stopping, own = False, {"X_val": X, "y_val": spoilt.y}
    with pytest.raises(ValueError, match="row") as error:
        model.fit(narrow if own or spoilt.kind == "target" else X, spoilt.y, **own)
    return str(error.value)


def said_by_the_command(spoilt: Spoilt, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    options = ["train", "--data", str(spoilt.csv(folder)), "--target", "goal", "--hidden", "4"]
    options += ["--epochs", "2", "--validation", "0.3", "--test-fraction", "0.2", "--quiet"]
    options += ["--no-standardise", "--task", spoilt.task, "--seed", str(spoilt.seed)]
    assert run(options) == 1
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One that starts no job."""
    service = LocalService(make_settings(tmp_path_factory.mktemp("rows") / "data"))
    yield service
    service.close()


def uploaded(service: LocalService, source: Path) -> str:
    """A file in the server's own form, described as at its upload."""
    data, kind = read(source, require_target=False), source.suffix[1:]
    if kind == "csv" and not isinstance(data.X, Table):
        data = Dataset(Table(dict(zip(data.feature_names, data.X.T, strict=True))))
    path = service.upload_path()
    save_rows(path, data)
    columns = tuple(describe(name, values) for name, values in columns_of(data))
    parsed = ParsedDataset(path, content_hash(path), source.name, kind, len(data), columns)
    return service.add_dataset(parsed).id


def said_by_the_server(spoilt: Spoilt, folder: Path, service: LocalService) -> str:
    """At the submission; else by what a job's process does, here within this one."""
    gap = spoilt.kind == "label" or (spoilt.kind == "target" and not np.isfinite(spoilt.y).all())
    if gap:
        source, target = spoilt.csv(folder), "goal"
    else:  # of a .csv the columns are scaled: there NaN is a missing value and 1e39 a large one
        source, target = folder / "table.npy", f"x{WIDTH}"
        np.save(source, np.column_stack([spoilt.X, spoilt.y]))
    model = {**SMALL, "task": spoilt.task, "seed": spoilt.seed, "standardise": False}
    spec = spec_for(
        uploaded(service, source), target=target, model=model, validation=0.3, test=0.2
    )  # fmt: skip
    if gap:
        with pytest.raises(DataError) as error:
            service.submit(spec)
        return str(error.value)
    service.cancel(service.submit(spec).id)
    return said_by_a_job(service, spec, folder)


def said_by_a_job(service: LocalService, spec: Any, folder: Path) -> str:
    """Its error; or what hindered its measuring on the test rows."""
    try:
        said = messages_of_a_job(service, spec, folder)
    except (DataError, NonFiniteError) as error:
        return str(error)
    return str(said[-1]["model"]["evaluation"]["problem"])


def messages_of_a_job(service: LocalService, spec: Any, folder: Path) -> list[Any]:
    data, said = service.get_dataset(spec.dataset_id), list[Any]()
    order = Order(
        "job", 1, spec, folder, service._files.dataset(data.sha256), folder / "m.safetensors",
        data.sha256, 1, 0, "", 1000, 100, 100, 60.0, 0.0,
    )  # fmt: skip
    train(order, said.append, Wishes())
    return said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "bad"),
    [*((kind, bad) for kind in ("input", "target") for bad in BAD), ("label", "missing")],
)
@pytest.mark.filterwarnings("ignore:.*beyond anything else in that column:UserWarning")
@pytest.mark.parametrize("way", ["api", "estimators", "command", "server"])
def test_row_and_column_are_the_users(
    way: str, kind: str, bad: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spoilt = Spoilt(seed, kind, BAD.get(bad, np.nan))
    if way == "api":
        spoilt.expect(said_by_the_api(spoilt, tmp_path), names=False)
    elif way == "estimators":
        said = said_by_estimators(spoilt, tmp_path)
        spoilt.expect(said, names=spoilt.column is not None)
    elif way == "command":
        said = said_by_the_command(spoilt, tmp_path, request.getfixturevalue("capsys"))
        spoilt.expect(said, names=True)
    else:
        said = said_by_the_server(spoilt, tmp_path, request.getfixturevalue("service"))
        assert f"row {spoilt.row}," in said
        column = WIDTH if spoilt.column is None else spoilt.column
        names = {f"x{column}", "goal" if spoilt.column is None else COLUMNS[column]}
        assert any(f"column {name!r}" in said for name in names), said


# -- what is dropped, filled in and predicted


def labelled(rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(3).uniform(-1, 1, (rows, WIDTH))
    return X, np.where(X[:, 0] > 0, "high", "low").astype(object)


def write(path: Path, X: np.ndarray, y: Any) -> Path:
    lines = [",".join((*COLUMNS, "goal"))]
    lines += [
        ",".join("" if v is None or v != v else str(v) for v in (*x, goal))
        for x, goal in zip(X.tolist(), list(y), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def command(path: Path, *options: str) -> list[str]:
    return [
        "train", "--data", str(path), "--target", "goal", "--hidden", "4", "--epochs", "2",
        "--quiet", *options,
    ]  # fmt: skip


@pytest.mark.filterwarnings("always::nbmlp.TrainingWarning")
@pytest.mark.parametrize("labels", ["text", "numbers"])
def test_rows_without_a_label_are_dropped(
    labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = labelled()
    y = y if labels == "text" else (y == "high").astype(int).astype(object)
    y[[11, 57]] = None
    path = write(tmp_path / "t.csv", X, y)
    assert run(command(path)) == 1
    assert "row 11, column 'goal'" in capsys.readouterr().err
    assert run(command(path, "--on-nonfinite", "drop_rows", "--json")) == 0
    said = capsys.readouterr()
    assert "2 rows left out (11, 57)" in said.err
    assert '"loss": "binary_cross_entropy"' in said.out
    for y_given in (y, np.where(y == None, np.nan, y).astype(object)):  # noqa: E711
        with pytest.warns(TrainingWarning, match=r"2 rows left out \(11, 57\)"):
            model = MLP(4, epochs=1, on_nonfinite="drop_rows").fit(X, y_given)
        assert model.classes is not None
        assert len(model.classes) == 2
    estimator = MLPClassifier(
        hidden_layer_sizes=4, max_iter=300, early_stopping=True, on_nonfinite="drop_rows"
    )
    with pytest.warns(TrainingWarning, match=r"2 rows left out \(11, 57\)"):
        estimator.fit(X, y)
    assert len(estimator.classes_) == 2


@pytest.mark.filterwarnings("ignore::nbmlp.TrainingWarning")
def test_a_job_drops_rows_without_a_label(tmp_path: Path, service: LocalService) -> None:
    spoilt = Spoilt(0, "label", np.nan)
    model = {**SMALL, "task": "classes", "on_nonfinite": "drop_rows", "standardise": False}
    spec = spec_for(
        uploaded(service, spoilt.csv(tmp_path)), target="goal", model=model, validation=0.3
    )
    service.cancel(service.submit(spec).id)
    said = messages_of_a_job(service, spec, tmp_path)
    assert said[-1]["model"]["classes"] == ["high", "low"]


@pytest.mark.filterwarnings("always::nbmlp.TrainingWarning")
def test_after_rows_were_dropped_the_others_keep_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = labelled()
    y = X[:, 0].astype(object)
    y[[3, 8]] = None
    y[60] = "1e39"
    path = write(tmp_path / "t.csv", X, y)
    other = write(tmp_path / "other.csv", X, ["1e39" if j == 7 else v for j, v in enumerate(y)])
    options = ["--on-nonfinite", "drop_rows", "--no-standardise"]
    assert run(command(path, *options, "--test", str(other))) == 0
    said = capsys.readouterr().err
    assert re.search(r"/t.csv: .*3 rows left out \(3, 8, 60\)", said), said
    assert re.search(r"other.csv: .*4 rows left out \(3, 7, 8, 60\)", said), said
    table = np.column_stack([X, X[:, 0]])
    table[5, 1] = np.nan
    model = MLP(4, epochs=1, on_nonfinite="drop_rows")
    with pytest.warns(TrainingWarning, match=r"column 1: 1 row left out \(5\)"):
        model.fit(table[:, :4], table[:, 4], validation=0.2)
    labels = np.where(X[:, 0] > 0, 1, 0).astype(object)
    labels[[4, 70]] = None, "x"
    with pytest.raises(DataError, match="mixes int with str at row 70 "):
        model.fit(X, labels, validation=0.2)


@pytest.mark.filterwarnings("always::nbmlp.TrainingWarning")
def test_what_fills_in_names_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X, y = labelled()
    X[7, 2] = np.inf
    path = write(tmp_path / "t.csv", X, y)
    assert run(command(path, "--on-nonfinite", "impute")) == 0
    assert "in column 'gamma': 1 value replaced" in capsys.readouterr().err


@pytest.mark.parametrize("standardise", [False, True])
def test_predictions_name_the_row_of_the_file(
    standardise: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = labelled()
    path, model = write(tmp_path / "t.csv", X, y), str(tmp_path / "m.safetensors")
    scale = "--standardise" if standardise else "--no-standardise"
    assert run(command(path, scale, "--out", model)) == 0
    X[41, 3] = 1e300
    bad = str(write(tmp_path / "bad.csv", X, y))
    for options in (["predict"], ["evaluate"], ["predict", "--row", "41"]):
        assert run([options[0], model, "--data", bad, *options[1:]]) == 1
        said = capsys.readouterr().err
        assert "bad.csv has 1e+300 at row 41, column 'delta' (counted from 0)" in said
    y = y.copy()
    y[30] = "middling"
    assert run(["evaluate", model, "--data", str(write(tmp_path / "bad.csv", X, y))]) == 1
    assert "row 30, column 'goal'" in capsys.readouterr().err or standardise


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_bad_row_named_does_not_depend_on_threads(threads: int, sparse: bool) -> None:
    X = np.random.default_rng(0).normal(size=(4000, 3))
    model = MLP(4, epochs=1, threads=threads, dtype="float32").fit(X, X[:, 0])
    X[[611, 612, 1999, 3100], 1] = [1e39, np.nan, np.inf, np.nan]
    for _ in range(3):
        with pytest.raises(DataError, match=r"X has 1e\+39 at row 611, column 1 "):
            model.predict(sp.csr_array(X) if sparse else X)


# -- given validation data, tables, epochs one by one, weights, sparse rows


def test_given_validation_data_have_rows_of_their_own() -> None:
    X, y = labelled()
    goal, X_val = X[:, 0].copy(), X.copy()
    model = MLP(4, epochs=1)
    for bad, says in ((np.nan, "NaN"), (1e39, r"1e\+39")):
        X_val[33, 2] = bad
        with pytest.raises(DataError, match=f"validation X has {says} at row 33, column 2 "):
            model.fit(X, goal, validation=(X_val, goal))
    with pytest.raises(DataError, match="validation y has the label 'new' at row 2 "):
        model.fit(X, y, validation=(X, [*y[:2], "new", *y[3:]]))
    named = Names(np.arange(90) * 10, COLUMNS, X="t.csv", y="t.csv")
    with pytest.raises(DataError, match=r"t.csv has 1e\+39 at row 330, column 'gamma'"):
        model.fit(X, goal, validation=Given(X_val, goal, names=named))


def test_columns_of_tables_keep_their_names() -> None:
    X, _ = labelled()
    colour = np.resize(np.array(["red", "blue", None], object), 90)
    columns = {"colour": colour, **{n: X[:, j].copy() for j, n in enumerate(COLUMNS)}}
    columns["beta"][50] = np.inf
    with pytest.raises(DataError, match="X has an infinite value at row 50, column 'beta'"):
        MLP(4, epochs=1).fit(Table(columns), X[:, 0], validation=0.5)
    columns["beta"][50] = 0.0
    model = MLP(4, epochs=1).fit(Table(columns), X[:, 0])
    columns["delta"][61] = 1e300
    with pytest.raises(DataError, match=r"X has 1e\+300 at row 61, column 'delta'"):
        model.predict(dict(reversed(columns.items())))
    columns["delta"][61] = 0.0
    target = X[:, 0].copy()
    target[20] = 1e25
    with pytest.raises(NonFiniteError) as error:
        MLP(4, epochs=30, optimizer="sgd(1e30)", standardise=False).fit(Table(columns), target)
    assert error.value.columns in ((), (0,))


def test_epochs_one_by_one() -> None:
    X, _ = labelled()
    y, numbers = X[:, 0].copy(), np.arange(90) + 500
    model = MLP(4, batch_size=8, seed=1)
    model.partial_fit(X[:45], y[:45], row_numbers=numbers[:45])
    X[70, 1] = 1e39
    with pytest.raises(NonFiniteError, match=r"X has 1e\+39 at row 570, column 1 ") as error:
        model.partial_fit(X[45:], y[45:], row_numbers=numbers[45:])
    assert (error.value.row, error.value.column) == (570, 1)
    y[71] = np.nan
    with pytest.raises(DataError, match="y has NaN at row 571 "):
        model.partial_fit(X[45:], y[45:], row_numbers=numbers[45:])
    with pytest.raises(DataError, match="classes has no value at row 1 "):
        MLP(4).partial_fit(X[:9], [0, 1, 0] * 3, classes=[0, None], row_numbers=numbers[:9])


def test_weights() -> None:
    X, _ = labelled()
    weights = np.ones(90)
    weights[64] = -1.0
    with pytest.raises(DataError, match="sample_weight is -1 at row 64 "):
        MLP(4, epochs=1).fit(X, X[:, 0], sample_weight=weights, validation=0.5)
    weights[64] = np.nan
    with pytest.raises(ValueError, match="Input sample_weight contains NaN at row 64 "):
        MLPRegressor(hidden_layer_sizes=4, max_iter=1).fit(X, X[:, 0], weights)


@pytest.mark.parametrize("seed", SEEDS)
def test_sparse_rows(seed: int) -> None:
    spoilt = Spoilt(seed, "input", np.nan)
    y = np.nan_to_num(spoilt.y)
    for bad in BAD.values():
        spoilt.X[spoilt.row, spoilt.column] = bad
        with pytest.raises((DataError, NonFiniteError)) as error:
            MLP(4, epochs=1, batch_size=16).fit(sp.csc_array(spoilt.X), y, validation=0.4)
        spoilt.expect(str(error.value), names=False)
    spoilt.X[spoilt.row, spoilt.column] = np.nan
    with pytest.raises(ValueError, match="contains NaN") as told:
        MLPRegressor(hidden_layer_sizes=4, max_iter=1).fit(sp.csc_array(spoilt.X), y)
    spoilt.expect(str(told.value), names=False)


def test_estimators_name_rows_of_predictions_and_of_lbfgs() -> None:
    pd = pytest.importorskip("pandas")
    X, y = labelled()
    frame = pd.DataFrame(X, columns=COLUMNS)
    model = MLPClassifier(hidden_layer_sizes=4, solver="lbfgs", max_iter=300).fit(frame, y)
    frame.loc[23, "beta"] = np.inf
    says = r"Input X contains infinity .* at row 23, column 'beta'"
    with pytest.raises(ValueError, match=says):
        model.predict(frame)
    with pytest.raises(ValueError, match=says):
        model.fit(frame, y)
    y[9] = None
    with pytest.raises(ValueError, match="y has no value at row 9 "):
        model.fit(X, y)


# -- files: what a row is


def test_a_row_is_a_record_and_the_first_is_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments, header and blank lines are no rows; a record over several lines is one."""
    lines = ["# made by hand", "name,size,goal"]
    for j in range(40):
        lines += [f'"two\nlines {j}",{j / 40},{j}.5', *([""] * (j % 3))]
    lines[lines.index('"two\nlines 31",0.775,31.5')] = "one,inf,31.5"
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    assert run(command(path)) == 1
    assert "t.csv has an infinite value at row 31, column 'size'" in capsys.readouterr().err
    plain = tmp_path / "plain.csv"  # numbers only are read by another path
    plain.write_text("a,goal\n\n" + "\n\n".join(f"{j},{j}.5" for j in range(40)) + "\n")
    plain.write_text(plain.read_text().replace("\n17,17.5", "\n17,inf"))
    assert run(command(plain)) == 1
    assert "row 17, column 'goal'" in capsys.readouterr().err


# -- the diagnosis and the job


def test_the_diagnosis_names_rows_and_columns_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, _ = labelled(200)
    y = X[:, 0] - X[:, 1]
    X[[31, 144], 2] = np.nan
    path = write(tmp_path / "t.csv", X, y)
    options = ["--no-standardise", "--seconds", "0.1", "--test-fraction", "0.1"]
    told = [word for word in command(path, *options)[1:] if word != "--quiet"]
    assert run(["why", *told]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"\(nonfinite_inputs; rows (31, 144|31|144), columns 'gamma'\)", said), said


def test_a_job_names_rows_of_the_file_in_error_and_diagnosis(tmp_path: Path) -> None:
    X, _ = labelled(300)
    train, _ = Given.of(X, X[:, 0]).set_aside(0.1, 0, False)
    row = int(train.set_aside(0.2, 0, False)[0].names.row_numbers(np.array([150]))[0])
    X[row, 2] = 1e39
    np.save(tmp_path / "t.npy", np.column_stack([X, X[:, 0]]))
    with running(tmp_path / "data") as service:
        target, model = f"x{WIDTH}", {**SMALL, "standardise": False}
        spec = spec_for(
            uploaded(service, tmp_path / "t.npy"), target=target, model=model, validation=0.2,
            test=0.1, diagnose=True,
        )  # fmt: skip
        job = finished(service, service.submit(spec).id)
        assert (job.state, job.error_kind) == (JobState.FAILED, "non_finite"), job.error
        assert f"row {row}, column 'x2'" in job.error
        (report,) = [e.data for e in service.events(job.id) if e.kind == "diagnosis"]
    found = report["report"]["findings"][0]
    assert (found["cause"], found["where"]["rows"]) == ("nonfinite_inputs", [row])
    assert found["where"]["names"] == ["'x2'"]


@pytest.mark.filterwarnings("ignore:X has .* beyond anything else:nbmlp.TrainingWarning")
def test_requests_for_predictions(tmp_path: Path) -> None:
    X, _ = labelled()
    mlp = MLP(4, epochs=1, threads=1).fit(X, X[:, 0])
    known: Any = SimpleNamespace(inputs=tuple((name, "number") for name in COLUMNS))
    X[1, 2] = 1e39
    with pytest.raises(DataError, match=r"the input has 1e\+39 at row 1, column 'gamma' "):
        ServedModel(known, mlp).rows({"x": X})
    table = MLP(4, epochs=1, threads=1).fit(Table(dict(zip(COLUMNS, X.T, strict=True))), X[:, 0])
    tensors = {name: X[:3, j].copy() for j, name in reversed(list(enumerate(COLUMNS)))}
    tensors["delta"][2] = -np.inf
    with pytest.raises(DataError, match="the input has an infinite value at row 2, column 'delta'"):
        ServedModel(known, table).rows(tensors)


def test_an_update_is_repeated_with_the_users_numbers(tmp_path: Path) -> None:
    X, _ = labelled()
    y = X[:, 0].copy()
    X[[12, 13], 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"row 112, column 3 .*one of 2 such rows") as error:
        MLP(4, epochs=1, batch_size=None).fit(
            X, y, row_numbers=np.arange(90) + 100, replay=tmp_path / "step"
        )
    assert error.value.rows == (112, 113)
    report = replay(tmp_path / "step")
    assert (report.operations[0].rows, report.operations[0].units) == ([112, 113], [3])


# -- the mechanism


def test_names_go_through_parts_of_parts() -> None:
    names = Names(np.arange(100, 110), COLUMNS, X="t.csv", y="t.csv", targets=("goal",))
    part = names.take(np.array([9, 4, 2])).take(np.array([2, 0]))
    part = part.take_columns(np.array([3, 1])).take_columns(np.array([1]))
    assert part.place("X", 0, 0) == Place(102, 1, "beta")
    assert part.place("y", 1) == Place(109, None, "goal")
    error = RowError("X", "has NaN", Place(1, 0), ": mend it.")
    told = part.called(error)
    assert str(told) == "t.csv has NaN at row 109, column 'beta' (counted from 0): mend it."
    assert names.called(told) is told  # it is in the user's words already
    assert str(pickle.loads(pickle.dumps(told))) == str(told)
    other = RowError("sample_weight", "is -1", Place(1), ": no.")
    assert str(part.called(other)) == "sample_weight is -1 at row 109 (counted from 0): no."
