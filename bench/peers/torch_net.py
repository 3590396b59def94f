"""PyTorch, eager: batches gathered by index from one tensor, fused SGD."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from bench.nets import Layer, Problem
from bench.peers import Peer

ACTIVATIONS = {"relu": nn.ReLU, "logistic": nn.Sigmoid}


def build(problem: Problem) -> nn.Sequential:
    """The net as a module; softmax stays in the loss, which wants logits."""
    net = problem.net
    names = [net.hidden] * (len(net.sizes) - 2) + [net.output]
    modules: list[nn.Module] = []
    for (n_in, n_out), (w, b), name in zip(pairwise(net.sizes), problem.layers, names, strict=True):
        linear = nn.Linear(n_in, n_out, bias=net.bias)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            if b is not None:
                linear.bias.copy_(torch.from_numpy(b))
        modules.append(linear)
        if name in ACTIVATIONS:
            modules.append(ACTIVATIONS[name]())
    return nn.Sequential(*modules)


class Competitor(Peer):
    package = "torch"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.batch, self.shuffle = min(batch, problem.net.rows), shuffle
        self.entropy = problem.net.loss == "cross_entropy"
        self.X = torch.from_numpy(problem.X).clone()
        self.y = torch.from_numpy(problem.labels if self.entropy else problem.Y).clone()
        self.model = build(problem)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=problem.net.rate, fused=True)

    def precision(self) -> AbstractContextManager[object]:
        """What the forward pass runs under."""
        return nullcontext()

    def epoch(self) -> None:
        n = len(self.X)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for rows in order.split(self.batch):
            x, y = self.X.index_select(0, rows), self.y.index_select(0, rows)
            with self.precision():
                out = self.model(x)
                if self.entropy:
                    loss = F.cross_entropy(out, y)
                else:
                    loss = F.mse_loss(out, y, reduction="sum") * (0.5 / len(rows))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()

    def layers(self) -> list[Layer]:
        linears = [m for m in self.model if isinstance(m, nn.Linear)]
        return [
            (m.weight.detach().numpy().T, None if m.bias is None else m.bias.detach().numpy())
            for m in linears
        ]
