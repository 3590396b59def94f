"""PyTorch under bfloat16 autocast: for information, since the others compute in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from bench.nets import Net
from bench.peers import torch_net


class Competitor(torch_net.Competitor):
    def precision(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16)

    def why_unlike(self, net: Net) -> str | None:
        return "bfloat16 products"
