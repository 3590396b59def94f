"""Beside PyTorch: the oracle in float64, schedules, and fifty updates of the engine.

In one file, as PyTorch and what it loads with its first optimizer take as long as all of them.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import reference as ref
from engine_twin import engine_train, problem
from hypothesis import given
from hypothesis import strategies as st
from lazily import Lazy
from test_schedules import EPOCHS, PER_EPOCH, TOTAL, factors

from nbmlp.schedules import Cosine, Exponential, OneCycle, OnPlateau, PlateauState, Step
from nbmlp.spec import ModelSpec, TrainSpec

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None, reason="PyTorch is not installed: peer skipped"
)
torch, F = Lazy("torch"), Lazy("torch.nn.functional")
schedulers = Lazy("torch.optim.lr_scheduler")


ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": lambda z: torch.sigmoid(z),
    "tanh": lambda z: torch.tanh(z),
    "relu": lambda z: torch.relu(z),
    "leaky_relu(0.2)": lambda z: F.leaky_relu(z, 0.2),
    "elu(0.7)": lambda z: F.elu(z, 0.7),
    "selu": lambda z: F.selu(z),
    "gelu": lambda z: F.gelu(z),
    "silu": lambda z: F.silu(z),
    "mish": lambda z: F.mish(z),
    "softplus": lambda z: F.softplus(z),
    "exp": lambda z: torch.exp(z),
    "softmax": lambda z: torch.softmax(z, dim=1),
}
RESIDUAL = {
    "squared_error": lambda a, y: 0.5 * F.mse_loss(a, y, reduction="none"),
    "absolute_error": lambda a, y: F.l1_loss(a, y, reduction="none"),
    "huber(0.5)": lambda a, y: F.huber_loss(a, y, reduction="none", delta=0.5),
    "quantile(0.3)": lambda a, y: torch.maximum(0.3 * (y - a), -0.7 * (y - a)),
}


def tensor(array, **settings):
    return torch.tensor(array, dtype=torch.float64, **settings)


def same_value_and_gradient(value, delta, torch_value, z):
    """`value` (batch,) and `delta` agree with the graph `torch_value` over the leaf z."""
    torch_value.sum().backward()
    np.testing.assert_allclose(value, torch_value.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(delta, z.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=40), np.linspace(-9, 9, 41), [0.0]])[:80].reshape(-1, 4)
    d = rng.normal(size=z.shape)
    leaf = tensor(z, requires_grad=True)
    a = ACTIVATIONS[name](leaf)
    (a * tensor(d)).sum().backward()
    np.testing.assert_allclose(ref.activate(name, z), a.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        ref.times_derivative(name, z, d), leaf.grad.numpy(), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("loss", RESIDUAL)
def test_residual_loss(loss, output):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(2, 6, 5))
    leaf = tensor(z, requires_grad=True)
    value, delta = ref.row_losses(ModelSpec(1, 5, (), output=output, loss=loss), z, y)
    rows = RESIDUAL[loss](ACTIVATIONS[output](leaf), tensor(y)).sum(1)
    same_value_and_gradient(value, delta, rows, leaf)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropies(smoothing):
    rng = np.random.default_rng(2)
    z, labels = 3 * rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    y = ref.one_hot(labels, 5)

    def spec(loss, output):
        return ModelSpec(1, 5, (), output=output, loss=loss, label_smoothing=smoothing)

    leaf = tensor(z, requires_grad=True)
    rows = F.cross_entropy(leaf, torch.tensor(labels), reduction="none", label_smoothing=smoothing)
    same_value_and_gradient(*ref.row_losses(spec("cross_entropy", "softmax"), z, y), rows, leaf)
    leaf = tensor(z, requires_grad=True)
    soft = tensor(y * (1 - smoothing) + smoothing / 2)
    rows = F.binary_cross_entropy_with_logits(leaf, soft, reduction="none").sum(1)
    same_value_and_gradient(
        *ref.row_losses(spec("binary_cross_entropy", "logistic"), z, y), rows, leaf
    )


def test_poisson():
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(6, 5)), rng.poisson(2.0, (6, 5)).astype(float)
    leaf = tensor(z, requires_grad=True)
    rows = F.poisson_nll_loss(leaf, tensor(y), log_input=True, reduction="none").sum(1)
    spec = ModelSpec(1, 5, (), output="exp", loss="poisson")
    same_value_and_gradient(*ref.row_losses(spec, z, y), rows, leaf)


OPTIMIZERS = {
    "sgd(0.1)": lambda p: torch.optim.SGD(p, 0.1),
    "sgd(0.1, momentum=0.9)": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "sgd(0.1, momentum=0.9, nesterov=True)": lambda p: torch.optim.SGD(
        p, 0.1, momentum=0.9, nesterov=True
    ),
    "rmsprop(0.01, rho=0.8, epsilon=1e-3)": lambda p: torch.optim.RMSprop(
        p, 0.01, alpha=0.8, eps=1e-3
    ),
    "rprop(0.01, max_step=0.02, min_step=0.004)": lambda p: torch.optim.Rprop(
        p, 0.01, step_sizes=(0.004, 0.02)
    ),
    "adagrad(0.1)": lambda p: torch.optim.Adagrad(p, 0.1),
    "adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-3)": lambda p: torch.optim.Adam(
        p, 0.01, betas=(0.8, 0.99), eps=1e-3
    ),
    "adamw(0.01, weight_decay=0.3)": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name):
    rng = np.random.default_rng(4)
    params = ref.Params([rng.normal(size=(3, 4))], [])
    weights = tensor(params.W[0], requires_grad=True)
    peer = OPTIMIZERS[name]([weights])
    train = TrainSpec(optimizer=name)
    slots = ref.first_slots(train.optimizer, params)
    for t in range(1, 31):
        g = rng.normal(size=(3, 4)) * (rng.random((3, 4)) < 0.9)
        params = ref.update(train, params, ref.Params([g], []), slots, 1.0, t)
        weights.grad = tensor(g)
        peer.step()
        np.testing.assert_allclose(params.W[0], weights.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_whole_training():
    """Shuffled epochs with a left-over batch, weights, dropout, penalty, both clips, momentum."""
    rng = np.random.default_rng(5)
    spec = ModelSpec(5, 3, (7, 4), ("gelu", "elu"), "softmax", "cross_entropy", dropout=0.3)
    train = TrainSpec(
        optimizer="sgd(0.1, momentum=0.9)",
        schedule="constant",
        batch_size=8,
        l1=0.01,
        l2=0.1,
        clip_value=0.2,
        clip_norm=0.5,
    )
    params = ref.random_params(spec, rng)
    X, labels, weight = rng.normal(size=(20, 5)), rng.integers(0, 3, 20), rng.random(20)
    orders = [rng.permutation(20) for _ in range(4)]
    batches = [order[k : k + 8] for order in orders for k in (0, 8, 16)]
    masks = [[None, *(rng.random((len(b), n)) < 0.7 for n in (7, 4))] for b in batches]
    steps = ref.train(spec, train, params, X, ref.one_hot(labels, 3), orders, masks, weight)

    W = [tensor(w, requires_grad=True) for w in params.W]
    b = [tensor(v, requires_grad=True) for v in params.b]
    peer = torch.optim.SGD([*W, *b], 0.1, momentum=0.9)
    for step, rows, kept in zip(steps, batches, masks, strict=True):
        a = F.gelu(tensor(X[rows]) @ W[0] + b[0]) * tensor(kept[1]) / 0.7
        a = F.elu(a @ W[1] + b[1]) * tensor(kept[2]) / 0.7
        losses = F.cross_entropy(a @ W[2] + b[2], torch.tensor(labels[rows]), reduction="none")
        w = tensor(weight[rows])
        data = (w * losses).sum() / w.sum()
        extra = sum(0.05 * (v**2).sum() + 0.01 * v.abs().sum() for v in W)
        peer.zero_grad()
        (data + extra).backward()
        torch.nn.utils.clip_grad_value_([*W, *b], 0.2)
        norm = sum((v.grad**2).sum() for v in [*W, *b]) ** 0.5
        for v in [*W, *b]:  # clip_grad_norm_ adds 1e-6 to the norm
            v.grad *= min(1.0, 0.5 / norm)
        peer.step()
        assert step.data == pytest.approx(data.item(), rel=1e-12)
        assert step.penalty == pytest.approx(extra.item(), rel=1e-12)
        now = ref.Params([v.detach().numpy() for v in W], [v.detach().numpy() for v in b])
        assert max(ref.block_errors(step.params, now)) < 1e-10


# ------------------------------------------------------------------------------- schedules


class TestAgainstTorch:
    def rates(self, make, steps: int, **settings: float) -> np.ndarray:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = make(optimizer, **settings)
        seen = []
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return np.array(seen)

    def test_cosine(self):
        expected = self.rates(schedulers.CosineAnnealingLR, TOTAL, T_max=TOTAL, eta_min=0.1)
        np.testing.assert_allclose(factors(Cosine(0.1)), expected, rtol=1e-9)

    @pytest.mark.parametrize("total", [10, 63, 200])
    @pytest.mark.parametrize("rise", [0.2, 0.3, 0.5])
    def test_one_cycle(self, rise, total):
        settings = {"max_lr": 1.0, "total_steps": total, "pct_start": rise}
        settings |= {"div_factor": 25, "final_div_factor": 1e4 / 25}
        expected = self.rates(schedulers.OneCycleLR, total, **settings)
        ours = factors(OneCycle(rise=rise, start=25, end=1e4), total=total)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)

    def test_exponential_at_epoch_borders(self):
        expected = self.rates(schedulers.ExponentialLR, EPOCHS, gamma=0.8)
        np.testing.assert_allclose(factors(Exponential(0.8))[::PER_EPOCH], expected, rtol=1e-12)

    def test_step(self):
        expected = self.rates(schedulers.StepLR, EPOCHS, step_size=2, gamma=0.3)
        ours = factors(Step(2, gamma=0.3))
        np.testing.assert_allclose(ours, np.repeat(expected, PER_EPOCH), rtol=1e-12)

    @given(losses=st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
    def test_on_plateau(self, losses):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = schedulers.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=2, threshold=1e-2, min_lr=1e-3, eps=0
        )
        schedule = OnPlateau(gamma=0.5, patience=2, threshold=1e-2, floor=1e-3)
        state = PlateauState()
        for loss in losses:
            theirs.step(loss)
            state = schedule.after_epoch(state, loss)
            assert state.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


# ------------------------------------------------------------------------- fifty updates


STEPS, BATCH = 50, 32
NET = ModelSpec(20, 5, (45, 17), ("relu", "tanh"), "softmax", "cross_entropy")

PEERS = {
    "sgd(0.1, momentum=0.9)": lambda groups: torch.optim.SGD(groups, 0.1, momentum=0.9),
    "rmsprop(0.001)": lambda groups: torch.optim.RMSprop(groups, 0.001, alpha=0.9, eps=1e-8),
    "adam(0.001)": lambda groups: torch.optim.Adam(groups, 0.001),
    "adamw(0.001, weight_decay=0.1)": lambda groups: torch.optim.AdamW(groups, 0.001),
}


@pytest.mark.parametrize("optimizer", PEERS)
def test_fifty_updates(optimizer):
    """Five epochs of ten batches in the order of the rows; PyTorch decays the weights only."""
    given = problem(NET, STEPS // 5 * BATCH)
    train = TrainSpec(
        optimizer=optimizer, schedule="constant", batch_size=BATCH, epochs=5, shuffle=False
    )
    trained = engine_train(NET, train, given)

    layers = [torch.nn.Linear(a, b) for a, b in ((20, 45), (45, 17), (17, 5))]
    for layer, W, b in zip(layers, given.params.W, given.params.b, strict=True):
        layer.weight.data = torch.tensor(W.T, dtype=torch.float32)
        layer.bias.data = torch.tensor(b, dtype=torch.float32)
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.Tanh(), layers[2])
    groups = [{"params": [layer.weight for layer in layers]}]
    groups[0] |= {"weight_decay": 0.1} if "adamw" in optimizer else {}
    groups.append({"params": [layer.bias for layer in layers], "weight_decay": 0.0})
    peer = PEERS[optimizer](groups)
    X, labels = torch.tensor(given.X), torch.tensor(given.Y.argmax(axis=1))
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH % len(X), step * BATCH % len(X) + BATCH)
        loss = torch.nn.functional.cross_entropy(net(X[rows]), labels[rows])
        peer.zero_grad()
        loss.backward()
        peer.step()
        losses.append(loss.item())

    last, firsts = trained.params[-1], given.params.W
    for layer, W, b, first in zip(layers, last.W, last.b, firsts, strict=True):
        weight = layer.weight.detach().numpy().T
        assert np.abs(weight - first).max() > 1e-2  # it has moved a hundred times as far
        np.testing.assert_allclose(W, weight, rtol=0, atol=1e-4)
        np.testing.assert_allclose(b, layer.bias.detach().numpy(), rtol=0, atol=1e-4)
    means = np.reshape(losses, (5, -1)).mean(axis=1)
    np.testing.assert_allclose(trained.history.data_loss, means, rtol=1e-4)
