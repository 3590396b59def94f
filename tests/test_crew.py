"""The choice between one thread and all of them, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nbmlp.train.crew import Crew


def work(crew: Crew, speed: Callable[[int, float], float], seconds: float) -> dict[int, float]:
    """Seconds spent with each number of threads; `speed` is rows per second at a time."""
    now, spent = 0.0, {1: 0.0, crew.most: 0.0}
    while now < seconds:
        threads, span = crew.threads, 0.004 if crew.trying else 0.02
        spent[threads] += span
        crew.measure(int(speed(threads, now) * span), span)
        now += span
    return spent


def test_all_threads_where_they_are_faster() -> None:
    spent = work(Crew(2, fixed=False), lambda threads, _: 1e6 * threads, 20.0)
    assert spent[1] < 0.02 * spent[2]


def test_one_thread_where_the_cores_are_busy() -> None:
    spent = work(Crew(2, fixed=False), lambda threads, _: 1e6 if threads == 1 else 1e5, 20.0)
    assert spent[2] < 0.05 * spent[1]


def test_a_neighbour_who_comes_and_goes() -> None:
    def speed(threads: int, now: float) -> float:
        return 1e6 * threads if now < 10 or now > 30 or threads == 1 else 1e5

    crew = Crew(2, fixed=False)
    work(crew, speed, 10.0)
    assert crew.threads == 2
    work(crew, lambda threads, now: speed(threads, now + 10), 20.0)
    assert crew.threads == 1
    work(crew, lambda threads, now: speed(threads, now + 30), 10.0)
    assert crew.threads == 2


def test_a_training_of_the_same_kind_begins_with_what_was_found() -> None:
    def busy(threads: int, _: float) -> float:
        return 1e6 if threads == 1 else 1e5

    work(Crew(2, fixed=False, kind="small"), busy, 1.0)
    assert Crew(2, fixed=False, kind="small").threads == 1
    assert Crew(2, fixed=True, kind="small").threads == 2
    assert Crew(2, fixed=False, kind="another").threads == 2


@pytest.mark.parametrize(("most", "fixed"), [(2, True), (5, True), (1, False)])
def test_nothing_is_tried_when_the_number_is_given(most: int, fixed: bool) -> None:
    crew = Crew(most, fixed)
    for _ in range(1000):
        crew.measure(1000, 0.1)
        assert (crew.threads, crew.trying) == (most, False)
