"""The choice between one thread and all of them, on a simulated clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from nbmlp.train.threads import ThreadChoice


def work(
    choice: ThreadChoice, speed: Callable[[int, float], float], seconds: float
) -> dict[int, float]:
    """Seconds spent with each number of threads; `speed` is rows per second at a time."""
    now, spent = 0.0, {1: 0.0, choice.most: 0.0}
    while now < seconds:
        threads, span = choice.threads, 0.004 if choice.trying else 0.02
        spent[threads] += span
        choice.measure(threads, int(speed(threads, now) * span), span)
        now += span
    return spent


def test_all_threads_where_they_are_faster() -> None:
    spent = work(ThreadChoice(2, fixed=False), lambda threads, _: 1e6 * threads, 20.0)
    assert spent[1] < 0.02 * spent[2]


def test_one_thread_where_the_cores_are_busy() -> None:
    choice = ThreadChoice(2, fixed=False)
    spent = work(choice, lambda threads, _: 1e6 if threads == 1 else 1e5, 20.0)
    assert spent[2] < 0.05 * spent[1]


def test_a_neighbour_who_comes_and_goes() -> None:
    def speed(threads: int, now: float) -> float:
        return 1e6 * threads if now < 10 or now > 30 or threads == 1 else 1e5

    choice = ThreadChoice(2, fixed=False)
    work(choice, speed, 10.0)
    assert choice.threads == 2
    work(choice, lambda threads, now: speed(threads, now + 10), 20.0)
    assert choice.threads == 1
    work(choice, lambda threads, now: speed(threads, now + 30), 10.0)
    assert choice.threads == 2


def test_a_training_of_the_same_kind_begins_with_what_was_found() -> None:
    def busy(threads: int, _: float) -> float:
        return 1e6 if threads == 1 else 1e5

    work(ThreadChoice.of(2, fixed=False, kind="small"), busy, 1.0)
    assert ThreadChoice.of(2, fixed=False, kind="small").threads == 1
    assert ThreadChoice.of(2, fixed=True, kind="small").threads == 2
    assert ThreadChoice.of(2, fixed=False, kind="another").threads == 2


def test_short_trainings_look_together() -> None:
    """Each is over long before a look; and a look that has begun goes on in the next."""
    for _ in range(100):
        choice = ThreadChoice.of(2, fixed=False, kind="short")
        choice.measure(choice.threads, 1000 if choice.threads == 1 else 100, 0.001)
    assert choice.threads == 1


def test_what_was_found_long_ago_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ThreadChoice.of(2, fixed=False, kind="long ago")
    work(choice, lambda threads, _: 1e6 if threads == 1 else 1e5, 20.0)
    assert choice.threads == 1
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    again = ThreadChoice.of(2, fixed=False, kind="long ago")
    spent = work(again, lambda threads, _: 1e6 * threads, 0.1)
    assert again.threads == 2
    assert spent[2] > spent[1]


def test_what_others_measured_with_another_number_of_threads_is_not_believed() -> None:
    """Two trainings at once: one tries, while the other's region is still under way."""
    choice = ThreadChoice.of(2, fixed=False, kind="two at once")
    choice.measure(2, 2000, 0.02)
    assert (choice.threads, choice.trying) == (1, True)
    choice.measure(2, 10, 1.0)
    assert (choice.threads, choice.trying) == (1, True)
    choice.measure(1, 400, 0.004)
    assert (choice.threads, choice.trying) == (2, False)


@pytest.mark.parametrize(("most", "fixed"), [(2, True), (5, True), (1, False)])
def test_nothing_is_tried_when_the_number_is_given(most: int, fixed: bool) -> None:
    choice = ThreadChoice(most, fixed)
    for _ in range(1000):
        choice.measure(choice.threads, 1000, 0.1)
        assert (choice.threads, choice.trying) == (most, False)
