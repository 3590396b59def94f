"""How a plan shares work: by rows, by columns, along the other axis."""

from __future__ import annotations

import pytest

from nbmlp.kernels.cuts import Share
from nbmlp.plan import make_plan, make_strategy
from nbmlp.plan.strategy import choose_columns
from nbmlp.spec import ModelSpec


def columns(sizes: tuple[int, ...], batch: int, threads: int) -> tuple[bool, ...]:
    spec = ModelSpec(sizes[0], sizes[-1], sizes[1:-1])
    return choose_columns(make_plan(spec, batch), threads)


class TestColumns:
    def test_small_batches_of_wide_layers(self):
        assert columns((784, 300, 10), 20, 2) == (True, False)
        assert columns((784, 512, 512, 10), 100, 2) == (True, True, False)

    @pytest.mark.parametrize(
        ("sizes", "batch", "threads"),
        [
            ((784, 300, 10), 20, 1),
            ((784, 300, 10), 1000, 2),
            ((784, 300, 10), 20, 8),  # 19 panels among 8
            ((784, 45, 16), 20, 2),
        ],
    )
    def test_else_rows(self, sizes, batch, threads):
        assert columns(sizes, batch, threads) == ()

    def test_uneven_shares_end_it_sooner(self):
        """19 panels are 10 + 9, 20 are 10 + 10."""
        assert columns((784, 304, 10), 100, 2) == ()
        assert columns((784, 320, 10), 100, 2) == (True, False)

    @pytest.mark.parametrize("threads", [2, 5])
    def test_the_cases_of_the_determinism_tests_are_cut_by_columns(self, threads):
        assert columns((30, 300, 17, 260, 3), 6, threads) == (True, False, True, False)
        assert columns((30, 300, 17, 260, 250), 6, threads)[-1]


class TestShapes:
    def test_narrow_outputs(self):
        def narrow(*sizes):
            spec = ModelSpec(sizes[0], sizes[-1], sizes[1:-1])
            strategy = make_strategy(spec, make_plan(spec, 20), 1)
            return [layer.product == "narrow" for layer in strategy.layers]

        assert narrow(784, 250, 1) == [False, True]
        assert narrow(5, 3, 2, 4) == [False, False, True]
        assert narrow(5, 3, 5) == [False, False]
        assert narrow(5, 1) == [False]  # it has no transposed copy

    def test_flat_layers(self):
        spec = ModelSpec(5, 1, (50, 300))
        for whole_norm, first in ((False, Share.PANELS), (True, Share.ROWS)):
            strategy = make_strategy(spec, make_plan(spec, 20), 1, whole_norm=whole_norm)
            shares = [layer.blocks.share for layer in strategy.layers]
            assert shares == [first, Share.ROWS, Share.ROWS]
