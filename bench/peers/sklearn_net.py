"""scikit-learn's estimators, one `partial_fit` per epoch, BLAS threads by threadpoolctl."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from bench.nets import Layer, Net, Problem
from bench.peers import Peer


class Competitor(Peer):
    package = "scikit-learn"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        net = problem.net
        threadpool_limits(threads)
        classify = net.output == "softmax"
        self.model = (MLPClassifier if classify else MLPRegressor)(
            hidden_layer_sizes=net.sizes[1:-1], activation=net.hidden, solver="sgd", alpha=0.0,
            batch_size=min(batch, net.rows), learning_rate_init=net.rate, shuffle=shuffle,
            momentum=0.0, nesterovs_momentum=False, tol=0.0, n_iter_no_change=10**9,
            random_state=1,
        )  # fmt: skip
        self.X = problem.X
        self.y = problem.labels if classify else problem.Y
        if self.y.ndim == 2 and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        # A first pass over a few rows makes the arrays that the common weights are put into.
        few = slice(0, 2 * net.sizes[-1])
        self.model.batch_size, wanted = 1, self.model.batch_size
        self.model.partial_fit(
            self.X[few], self.y[few], **({"classes": np.arange(net.sizes[-1])} if classify else {})
        )
        self.model.batch_size = wanted
        for i, (w, b) in enumerate(problem.layers):
            self.model.coefs_[i][...] = w
            self.model.intercepts_[i][...] = 0.0 if b is None else b

    def epoch(self) -> None:
        self.model.partial_fit(self.X, self.y)

    def layers(self) -> list[Layer]:
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))

    def why_unlike(self, net: Net) -> str | None:
        if net.output == "logistic":
            return "no logistic output with squared error: identity output instead"
        return None
