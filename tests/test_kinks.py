"""Gradient checks where the loss has kinks: other entries, fewer rows, a point beside them."""

from __future__ import annotations

import numpy as np

from nbmlp import MLP
from nbmlp.diagnostics.gradients import GradientReport

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 8))
Y = RNG.normal(size=(300, 2))


def check(model: MLP, X: np.ndarray, **options: int) -> GradientReport:
    report = model.check_gradients(X, Y[: len(X)], **options)
    assert isinstance(report, GradientReport)
    return report


def test_entries_at_kinks_are_replaced_by_others() -> None:
    report = check(MLP(6), X)
    assert report.passed
    assert sum(b.kinks for b in report.blocks) > 0
    assert [b.checked for b in report.blocks][2:] == [12, 2]


def test_a_block_with_a_kink_in_every_entry_is_checked_beside_it() -> None:
    """All inputs 0 and all biases 0: each unit sits at its kink, in each row."""
    report = check(MLP((5, 4)), np.zeros((300, 8)))
    assert report.passed
    by_name = {b.name: b for b in report.blocks}
    assert by_name["b1"].checked == 5
    assert "on 32 rows, every parameter moved by 0.01 N(0, 1)" in by_name["b1"].moved
    assert by_name["b1"].moved in str(report)
    assert by_name["b3"].moved == ""


def test_many_units_above_leave_few_smooth_entries() -> None:
    report = check(MLP((60, 60, 60)), X, entries=10)
    assert report.passed
    sizes = [8 * 60, 60, 60 * 60, 60, 60 * 60, 60, 60 * 2, 2]
    enough = [4 * b.checked >= min(10, n) for b, n in zip(report.blocks, sizes, strict=True)]
    assert all(enough), report
    assert any(b.moved for b in report.blocks)


def test_zero_weights_under_l1_are_moved_off_the_kink() -> None:
    report = check(MLP(4, activation="tanh", init="zeros", l1=0.01), X)
    assert report.passed
    assert report.blocks[0].moved != ""


def test_the_model_is_left_as_it_was() -> None:
    model = MLP(5).build(X, Y)
    before = model.get_flat()
    check(model, np.zeros((300, 8)))
    np.testing.assert_array_equal(model.get_flat(), before)


def test_wrong_gradients_are_still_seen_where_the_point_was_moved(monkeypatch) -> None:
    from nbmlp.diagnostics import gradients

    true = gradients.Engine.loss_and_gradient

    def wrong(engine: gradients.Engine) -> tuple[float, np.ndarray]:
        loss, gradient = true(engine)
        return loss, gradient * 1.001

    monkeypatch.setattr(gradients.Engine, "loss_and_gradient", wrong)
    report = check(MLP((5, 4)), np.zeros((300, 8)))
    assert not report.passed
    assert {b.name for b in report.blocks if b.error > 1e-7} >= {"b1", "b2", "b3"}
