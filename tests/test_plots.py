"""Learning curves: what is drawn, and the file that is written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nbmlp.errors import DataError, MissingPackageError
from nbmlp.plots import curves_of_nets, learning_curve
from nbmlp.train.history import EpochRecord, History

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

EPOCHS = np.arange(1, 31)
FALLING = 0.5 * np.exp(-EPOCHS / 6) + 0.004  # spans more than 10x
FLAT = np.linspace(2.0, 1.0, 30)
SCORE = 1 - 0.3 * np.exp(-EPOCHS / 5)
NORMS = np.column_stack([FALLING, 2 * FALLING, 3 * FALLING])


def lines(ax) -> dict[str, np.ndarray]:
    """Curves by label."""
    return {line.get_label(): line.get_ydata() for line in ax.get_lines()}


def test_panels_follow_what_was_recorded():
    assert len(learning_curve(EPOCHS, FLAT).axes) == 1
    assert len(learning_curve(EPOCHS, FLAT, val_loss=FLAT, val_score=SCORE).axes) == 2
    assert len(learning_curve(EPOCHS, FLAT, gradient_norms=NORMS).axes) == 2
    full = learning_curve(EPOCHS, FLAT, val_loss=FLAT, val_score=SCORE, gradient_norms=NORMS)
    labels = [ax.get_ylabel() for ax in full.axes]
    assert labels == ["loss", "validation score", "gradient norm"]
    assert full.axes[-1].get_xlabel() == "epoch"


def test_nan_columns_count_as_not_recorded():
    blank = np.full(30, np.nan)
    figure = learning_curve(
        EPOCHS, FLAT, val_loss=blank, val_score=blank, gradient_norms=np.empty((30, 0))
    )
    assert len(figure.axes) == 1
    assert set(lines(figure.axes[0])) == {"training"}


def test_curves_hold_the_data():
    figure = learning_curve(EPOCHS, FLAT, val_loss=FALLING, gradient_norms=NORMS)
    loss, norms = map(lines, figure.axes)
    np.testing.assert_array_equal(loss["training"], FLAT)
    np.testing.assert_array_equal(loss["validation"], FALLING)
    np.testing.assert_array_equal(norms["layer 2"], NORMS[:, 1])


def test_data_part_is_drawn_where_the_penalty_counts():
    with_penalty = learning_curve(EPOCHS, FLAT + 0.5, data_loss=FLAT).axes[0]
    assert set(lines(with_penalty)) == {"training, with penalty", "training"}
    np.testing.assert_array_equal(lines(with_penalty)["training"], FLAT)
    without = learning_curve(EPOCHS, FLAT + 1e-3, data_loss=FLAT).axes[0]
    assert set(lines(without)) == {"training"}


@pytest.mark.parametrize(
    ("train", "validation", "scale"),
    [
        (FALLING, None, "log"),
        (FLAT, None, "linear"),
        (FLAT, FLAT / 20, "log"),
        (FALLING - 1, None, "linear"),
        (np.where(EPOCHS == 3, np.nan, FALLING), None, "log"),
    ],
)
def test_log_axis_when_the_span_is_wide(train, validation, scale):
    figure = learning_curve(EPOCHS, train, val_loss=validation)
    assert figure.axes[0].get_yscale() == scale


def test_best_epoch_is_marked_in_every_panel():
    figure = learning_curve(EPOCHS, FLAT, val_score=SCORE, best_epoch=17)
    for ax in figure.axes:
        marks = [line for line in ax.get_lines() if line.get_label() == "best: epoch 17"]
        assert [list(line.get_xdata()) for line in marks] == [[17, 17]]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["training", "best: epoch 17"]


def test_a_hopeless_first_score_does_not_squash_the_rest():
    score = np.concatenate([[-60.0, -3.0], np.linspace(0.5, 0.9, 28)])
    assert learning_curve(EPOCHS, FLAT, val_score=score).axes[1].get_ylim()[0] == -1


@pytest.mark.parametrize("epochs", [1, 2, 30, 400])
def test_epoch_axis_has_whole_numbers(epochs):
    figure = learning_curve(np.arange(1, epochs + 1), np.ones(epochs))
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) >= 1
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_files(tmp_path):
    learning_curve(EPOCHS, FALLING, val_loss=FLAT, val_score=SCORE, path=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    learning_curve(EPOCHS, FALLING, path=str(tmp_path / "curve.svg"))
    assert b"<svg" in (tmp_path / "curve.svg").read_bytes()


@pytest.mark.parametrize("name", ["none/curve.png", "curve.xyz"])
def test_a_file_that_cannot_be_written(tmp_path, name):
    with pytest.raises(DataError, match="cannot be written") as caught:
        learning_curve(EPOCHS, FLAT, path=tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("losses", [[], [np.nan], [np.inf]])
def test_nothing_to_draw(losses):
    with pytest.raises(DataError, match="no epoch with a finite loss to draw"):
        learning_curve(range(len(losses)), losses)


def test_into_axes_of_the_user():
    from matplotlib.figure import Figure

    mine = Figure()
    left, right = mine.subplots(1, 2)
    assert learning_curve(EPOCHS, FLAT, val_score=SCORE, ax=right) is mine
    assert len(mine.axes) == 2
    assert not left.get_lines()
    assert set(lines(right)) == {"training"}


def test_history_draws_itself(tmp_path):
    history = History(score_name="accuracy")
    for epoch in EPOCHS.tolist():
        history.append(
            EpochRecord(
                epoch=epoch, data_loss=1 / epoch, penalty=0.5, val_loss=2.0,
                val_score=SCORE[epoch - 1], learning_rate=0.1, samples_per_second=1e6,
                seconds=1.0, threads=2, gradient_norms=(1.0, 2.0),
            )
        )  # fmt: skip
    figure = history.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()
    assert [ax.get_ylabel() for ax in figure.axes][1] == "validation accuracy"
    assert set(lines(figure.axes[0])) == {
        "training, with penalty", "training", "validation", "best: epoch 30",
    }  # fmt: skip


def test_each_net_has_a_line_over_its_own_epochs():
    courses = {0: (0.9, 0.8), 1: (0.5, 0.4, 0.3), 2: (0.7, 0.6), 3: (0.6, 0.5, 0.4)}
    curves = {net: (np.arange(1, len(y) + 1), y) for net, y in courses.items()}
    panel = curves_of_nets(curves, "log_loss", best=(1, 3), chosen=(1, 3)).axes[0]
    *drawn, mark = panel.get_lines()
    np.testing.assert_array_equal(lines(panel)["net 1, the best"], courses[1])
    by_course = {tuple(line.get_ydata()): line.get_linewidth() for line in drawn}
    widths = [by_course[course] for course in courses.values()]
    assert widths[1] > widths[3] > widths[0] == widths[2]
    assert mark.get_label() == "best: epoch 3"
    assert panel.get_ylabel() == "validation log_loss"
    with pytest.raises(DataError, match="no epoch with a finite score"):
        curves_of_nets({0: ([1], [np.nan])})


def test_a_history_of_nets_is_drawn_so():
    ends = [(1, 0, 1, 0.5), (2, 1, 1, 0.6), (3, 0, 2, 0.4)]
    usual = {"data_loss": 1.0, "penalty": 0.0, "learning_rate": 0.1, "samples_per_second": 1.0}
    records = [
        EpochRecord(
            epoch=epoch, net=net, net_epoch=own, val_score=score, seconds=1.0, threads=1, **usual
        )
        for epoch, net, own, score in ends
    ]
    (panel,) = History(records, score_name="log_loss", chosen=(0, 1)).plot().axes
    drawn = lines(panel)
    np.testing.assert_array_equal(drawn["net 0, the best"], [0.5, 0.4])
    np.testing.assert_array_equal(drawn["in the ensemble"], [0.6])


def test_without_matplotlib(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError) as caught:
        learning_curve(EPOCHS, FLAT)
    assert str(caught.value) == 'a picture needs matplotlib: pip install "nbmlp[plot]".'


def test_pyplot_is_left_alone():
    code = (
        "import sys; from nbmlp.plots import learning_curve;"
        "assert 'matplotlib' not in sys.modules; learning_curve([1, 2], [2, 1]);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
