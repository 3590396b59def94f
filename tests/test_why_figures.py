"""why() agrees with itself: what is wrong, what could be better, and figures that show it."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from why_nets import agrees, ask, blobs

from nbmlp.diagnostics.figures import apart, beside_usual, moved
from nbmlp.diagnostics.why import CAUSES, Finding, Report, Trial, Where


@pytest.mark.parametrize("rows", [(900, 20), (3000, 10)], ids=str)
def test_what_could_be_better_is_a_hint_with_its_figures(rows: tuple[int, int]) -> None:
    """A net that has learned, with the usual rate: another learns more, and nothing is wrong."""
    n, epochs = rows
    report = ask({"learning_rate": 1e-3, "epochs": epochs}, blobs(n))
    assert report.healthy, str(report)
    assert report.cured() is None
    hint = next(f for f in report.hints if f.cause == "learning_rate_low")
    assert (hint.problem, hint.verified) == (False, True)
    assert hint.title == "a higher learning rate learns more"
    told = " ".join(str(report).split())
    assert f"{hint.title}: learning rate 0.001 is about the usual 0.001 for adam; " in told
    assert f"learning_rate=0.01: {hint.trial}" in told
    plain = next(f for f in report.to_dict()["findings"] if f["cause"] == hint.cause)
    assert (plain["problem"], plain["title"]) == (False, hint.title)


def test_a_rate_far_from_the_usual_is_a_problem_with_both_figures() -> None:
    report = ask({"learning_rate": 1e-5}, blobs())
    assert report.top is not None
    assert (report.top.problem, report.top.title) == (True, "learning rate too low")
    assert report.top.seen == "learning rate 1e-05 is 0.01 times the usual 0.001 for adam"
    assert report.to_dict()["findings"][0]["problem"]


SUMS: dict[str, dict[str, Any]] = {
    "rate for a mean": {"optimizer": "sgd(0.1)", "batch_size": 32},
    "rate for a smaller batch": {"optimizer": "sgd(0.01)", "batch_size": None},
    "between": {"optimizer": "sgd(0.02)", "batch_size": 200},
    "momentum": {"optimizer": "sgd(0.01, momentum=0.9)", "batch_size": 100},
    "the rate is high as well": {"optimizer": "sgd(0.5, momentum=0.9)", "batch_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("settings", SUMS.values(), ids=SUMS)
def test_a_summed_gradient_is_named_as_such(settings: dict[str, Any]) -> None:
    fixed = {"reduction": "sum", "learning_rate": None, "hidden": (32,)}
    report = ask({**fixed, **settings}, blobs())
    assert report.top is not None
    assert report.top.cause == "summed_gradient", str(report)
    assert report.top.change["reduction"] == "mean"
    assert report.top.trial.after < 0.5 * report.top.trial.before
    high = [f for f in report.problems if f.cause == "learning_rate_high"]
    assert bool(high) == (settings["optimizer"] == "sgd(0.5, momentum=0.9)")


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad"])
def test_a_sum_is_no_matter_where_steps_are_scaled_by_the_gradient(optimizer: str) -> None:
    settings = {"optimizer": optimizer, "reduction": "sum", "batch_size": 100, "epochs": 20}
    found = {f.cause: f for f in ask(settings, blobs()).findings}
    assert "summed_gradient" not in found
    assert "learning_rate_high" not in found


def test_an_error_that_has_not_risen_is_not_said_to_have() -> None:
    X, y, X_val, y_val = blobs(2000)
    settings = {"hidden": (64,), "epochs": 30, "learning_rate": 0.002}
    report = ask(settings, (X[:300], y[:300], X_val, y_val))
    (found,) = (f for f in report.findings if f.cause == "overfitting")
    assert found.seen.startswith("the validation log loss is 0.3")
    assert found.where == Where()


def test_errors_are_called_what_they_are() -> None:
    """A log loss of 0.26 goes with 95 % of the rows right: it is no error rate."""
    for report in (ask({"hidden": (1,)}, blobs()), ask({"epochs": 2}, blobs())):
        assert "the log loss on the training rows" in str(report)
        assert not re.search(r"\berror on the training", str(report))


ERRORS = st.floats(1e-6, 1e6) | st.just(math.inf)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Findings whose figures lie far apart, close together, or are the same."""
    findings = []
    for cause in draw(st.lists(st.sampled_from(list(CAUSES)), max_size=4)):
        before = draw(ERRORS)
        after = draw(ERRORS | st.floats(-1e-3, 1e-3).map(lambda d, b=before: b * (1 + d)))
        trial = draw(st.none() | st.just(Trial(before, after, "log loss", 3, 10)))
        usual = draw(st.floats(1e-4, 1.0))
        rate = draw(st.floats(1e-6, 1e3) | st.floats(0.9, 1.1).map(lambda f, u=usual: u * f))
        norm = moved(before, after, digits=3)
        seen = f"the rate is {beside_usual(rate, usual)}; the norm: {norm}"
        weight, better = draw(st.floats(0.0, 1.0)), draw(st.sampled_from(["", "less learns more"]))
        findings.append(Finding(cause, weight, Where(), seen, "b", "c", trial=trial, better=better))
    return Report(tuple(findings), draw(ERRORS), "log loss", {"trials": 1, "seconds": 1.0})


@given(reports())
def test_no_difference_is_claimed_between_equal_figures(report: Report) -> None:
    agrees(report)
    assert (*report.problems, *report.hints) == tuple(
        sorted(report.findings, key=lambda f: f.weight < 0.5)
    )
    assert [f["problem"] for f in report.to_dict()["findings"]] == [
        f in report.problems for f in report.findings
    ]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.integers(1, 6))
def test_numbers_that_differ_are_shown_to(a: float, b: float, digits: int) -> None:
    first, second = apart(a, b, digits)
    assert (first == second) == (a == b or (a == 0 and b == 0))
