"""Copies and pickles of a model in use: the same numbers, nothing shared, training goes on."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.tuning import ALIGN
from tests import children

COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=COPIES)
def twins(request):
    """A model with buffers for training and prediction, and its copy."""
    X, y = children.rows(110)
    model = MLP((9, 7), batch_size=25, seed=1)
    for _ in range(2):
        model.partial_fit(X, y)
    model.predict(X)
    return model, COPIES[request.param](model), X, y


def test_a_copy_predicts_the_same(twins):
    model, other, X, _ = twins
    np.testing.assert_array_equal(other.outputs(X), model.outputs(X))
    assert other.history.to_dict() == model.history.to_dict()


def test_a_copy_trains_on_with_the_same_bits(twins):
    model, other, X, y = twins
    for one in (other, model):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(other.get_flat(), model.get_flat())


def test_nothing_is_shared(twins):
    model, other, X, _ = twins
    before = model.outputs(X)
    other.set_flat(np.zeros_like(other.get_flat()))
    np.testing.assert_array_equal(model.outputs(X), before)
    assert (other.outputs(X) != before).any()


def test_arenas_of_copies_are_aligned(twins):
    """Kernels read whole vectors; where NumPy puts a copied array is chance."""
    model, _, _, _ = twins
    for _ in range(8):
        state = copy.deepcopy(model.net.state)
        assert state.theta.ctypes.data % ALIGN == 0
        assert state.slots.ctypes.data % ALIGN == 0
