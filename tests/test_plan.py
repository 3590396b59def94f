"""How a plan shares work: by rows, by columns, along the other axis."""

from __future__ import annotations

import pytest

from nbmlp.kernels.cuts import Share
from nbmlp.plan import Outline, make_plan, make_strategy
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
            shares = [blocks.share for blocks in strategy.blocks]
            assert shares == [first, Share.ROWS, Share.ROWS]


class TestOutline:
    def test_columns(self):
        outline = Outline.of(ModelSpec(784, 10, (300,)), 20, 2)
        first, last = outline.layers
        assert outline.threads == 2
        assert outline.columns
        assert (first.cut, first.waits, first.share) == ("columns", False, "columns")
        assert (last.product, last.cut, last.share) == ("dense, 2 parts", "parts", "units below")
        assert last.waits
        assert outline.rows["float32"] == "multiplied where they lie"
        assert str(outline).splitlines()[0].endswith("updates of 20 rows, 2 threads")

    def test_rows(self):
        outline = Outline.of(ModelSpec(784, 1, (300, 50)), 1000, 2)
        assert not outline.columns
        assert [layer.product for layer in outline.layers] == ["dense", "dense", "narrow"]
        assert {layer.cut for layer in outline.layers} == {"rows"}
        assert not any(layer.waits for layer in outline.layers)
        assert "updates of 1000 rows, 512 at once" in str(outline)
        assert "blocks of 96 rows" in str(outline)

    def test_one_thread_shares_nothing(self):
        outline = Outline.of(ModelSpec(30, 10, (16,)), 20, 2)
        assert outline.threads == 1
        assert "shared" not in str(outline)
        assert "1 thread\n" in str(outline)

    def test_a_norm_of_the_whole_gradient_is_shared_by_rows(self):
        outline = Outline.of(ModelSpec(784, 10, (300,)), 20, 2, whole_norm=True)
        assert not outline.columns
        assert {layer.share for layer in outline.layers} == {"rows"}

    def test_it_is_what_a_training_does(self):
        """The outline's decisions are those of the engine's strategy."""
        spec = ModelSpec(100, 5, (200, 30))
        for batch in (20, 1000):
            outline, plan = Outline.of(spec, batch, 2), make_plan(spec, batch)
            strategy = make_strategy(spec, plan, outline.threads)
            assert outline.columns == strategy.columns
            layers = zip(outline.layers, strategy.layers, strategy.blocks, strict=True)
            for told, own, blocks in layers:
                assert (told.blocks, told.block_rows) == (blocks.count, blocks.rows)
                assert told.product.startswith(own.product)
