"""Fifty float32 updates beside PyTorch's own optimizers: no weight is further away than 1e-4."""

from __future__ import annotations

import numpy as np
import pytest
from engine_twin import engine_train, problem

from nbmlp.spec import ModelSpec, TrainSpec

torch = pytest.importorskip("torch", reason="PyTorch is not installed: peer skipped")


STEPS, BATCH = 50, 32
SPEC = ModelSpec(20, 5, (45, 17), ("relu", "tanh"), "softmax", "cross_entropy")

OPTIMIZERS = {
    "sgd(0.1, momentum=0.9)": lambda groups: torch.optim.SGD(groups, 0.1, momentum=0.9),
    "rmsprop(0.001)": lambda groups: torch.optim.RMSprop(groups, 0.001, alpha=0.9, eps=1e-8),
    "adam(0.001)": lambda groups: torch.optim.Adam(groups, 0.001),
    "adamw(0.001, weight_decay=0.1)": lambda groups: torch.optim.AdamW(groups, 0.001),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fifty_updates(optimizer):
    """Five epochs of ten batches in the order of the rows; PyTorch decays the weights only."""
    given = problem(SPEC, STEPS // 5 * BATCH)
    train = TrainSpec(
        optimizer=optimizer, schedule="constant", batch_size=BATCH, epochs=5, shuffle=False
    )
    trained = engine_train(SPEC, train, given)

    layers = [torch.nn.Linear(a, b) for a, b in ((20, 45), (45, 17), (17, 5))]
    for layer, W, b in zip(layers, *given.params, strict=True):
        layer.weight.data = torch.tensor(W.T, dtype=torch.float32)
        layer.bias.data = torch.tensor(b, dtype=torch.float32)
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.Tanh(), layers[2])
    groups = [{"params": [layer.weight for layer in layers]}]
    groups[0] |= {"weight_decay": 0.1} if "adamw" in optimizer else {}
    groups.append({"params": [layer.bias for layer in layers], "weight_decay": 0.0})
    peer = OPTIMIZERS[optimizer](groups)
    X, labels = torch.tensor(given.X), torch.tensor(given.Y.argmax(axis=1))
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH % len(X), step * BATCH % len(X) + BATCH)
        loss = torch.nn.functional.cross_entropy(net(X[rows]), labels[rows])
        peer.zero_grad()
        loss.backward()
        peer.step()
        losses.append(loss.item())

    for layer, W, b, first in zip(layers, *trained.params[-1], given.params.W, strict=True):
        weight = layer.weight.detach().numpy().T
        assert np.abs(weight - first).max() > 1e-2  # it has moved a hundred times as far
        np.testing.assert_allclose(W, weight, rtol=0, atol=1e-4)
        np.testing.assert_allclose(b, layer.bias.detach().numpy(), rtol=0, atol=1e-4)
    means = np.reshape(losses, (5, -1)).mean(axis=1)
    np.testing.assert_allclose(trained.history.data_loss, means, rtol=1e-4)
