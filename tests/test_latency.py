"""A prediction of one row takes the short way, with the same answers and the same errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.data.check import check_X
from nbmlp.errors import DataError
from nbmlp.state import address


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 6))
    return MLP((20,), epochs=2).fit(X, np.argmax(X[:, :3], axis=1)), X


class TestOneRow:
    def test_as_in_a_large_batch(self, model):
        net, X = model
        whole = net.predict_proba(X)
        for kind in (np.float64, np.float32):
            rows = X.astype(kind)
            np.testing.assert_array_equal(
                np.vstack([net.predict_proba(rows[i : i + 1]) for i in range(9)]),
                net.predict_proba(rows)[:9],
            )
        np.testing.assert_array_equal(net.predict(X[:1]), net.classes[whole[:1].argmax(axis=1)])

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x[:, ::-1],
            lambda x: x.tolist(),
            lambda x: np.asfortranarray(np.vstack([x, x]))[:1],
            lambda x: np.lib.stride_tricks.as_strided(x, x.shape, (0, x.strides[1])),
            lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),  # read-only
            lambda x: x.astype(">f8"),
        ],
    )
    def test_in_any_form(self, model, change):
        net, X = model
        row = X[3:4].copy()
        expected = net.predict_proba(np.asarray(change(row)).astype(np.float64).copy())
        np.testing.assert_array_equal(net.predict_proba(change(row)), expected)

    @pytest.mark.parametrize(
        ("row", "sentence"),
        [
            (np.zeros((1, 5)), "X has 5 columns: the model was fitted on 6."),
            (np.zeros(6), "reshape"),
            (np.zeros((0, 6)), "at least one row"),
            (np.full((1, 6), np.nan), "X has nan at row 0, column 0"),
            (np.zeros((1, 6), complex), "complex"),
        ],
    )
    def test_bad_rows_get_their_sentence(self, model, row, sentence):
        with pytest.raises(DataError, match=sentence):
            model[0].predict(row)
        assert len(model[0].predict(np.zeros((1, 6)))) == 1  # and it goes on

    def test_later_weights_are_seen(self):
        X = np.random.default_rng(1).normal(size=(50, 4))
        net = MLP((5,), epochs=1).fit(X, X[:, 0])
        before = net.predict(X[:1])
        net.set_flat(net.get_flat() * 2)
        assert net.predict(X[:1]) != before

    def test_from_several_threads(self, model):
        net, X = model
        expected, wrong = net.predict_proba(X), []

        def work(i):
            for _ in range(200):
                if not np.array_equal(net.predict_proba(X[i : i + 1]), expected[i : i + 1]):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_between_the_regions_of_another_prediction(self, model):
        """Buffers in use are not handed out again, and those of the other serve later calls."""
        net, X = model
        expected, rows, inner = net.predict_proba(X), net.net.rows(X, X[:, 0] > 0), []
        outputs, _ = net.predictor.outputs_and_loss(
            rows, lambda: inner.append(net.predict_proba(X[:7]))
        )
        np.testing.assert_array_equal(outputs, expected)
        np.testing.assert_array_equal(inner[0], expected[:7])
        np.testing.assert_array_equal(net.predict_proba(X), expected)


def test_arrays_that_fit_are_taken_without_a_look_at_their_values():
    X = np.full((3, 2), np.nan, np.float32)
    assert check_X(X, 2) is X


def test_address():
    x = np.arange(12.0).reshape(3, 4)
    frozen = x.copy()
    frozen.flags.writeable = False
    for array in (x, x[1:], x[:, 1:], x[::2], frozen, x.T):
        assert address(array) == array.ctypes.data
