"""Spec and batch -> how memory is laid out, and how a step is computed: integers only."""

from nbmlp.plan.layout import EmbeddingPlan, LayerPlan, ParameterBlock, Part, Plan, Role, make_plan
from nbmlp.plan.outline import Outline
from nbmlp.plan.shards import Shards
from nbmlp.plan.strategy import Strategy, choose_threads, make_strategy

__all__ = [
    "EmbeddingPlan",
    "LayerPlan",
    "Outline",
    "ParameterBlock",
    "Part",
    "Plan",
    "Role",
    "Shards",
    "Strategy",
    "choose_threads",
    "make_plan",
    "make_strategy",
]
