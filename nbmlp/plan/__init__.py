"""Spec and batch -> how memory is laid out, and how a step is computed: integers only."""

from nbmlp.plan.layout import LayerPlan, ParameterBlock, Part, Plan, make_plan
from nbmlp.plan.outline import Outline
from nbmlp.plan.strategy import Strategy, choose_threads, make_strategy

__all__ = [
    "LayerPlan",
    "Outline",
    "ParameterBlock",
    "Part",
    "Plan",
    "Strategy",
    "choose_threads",
    "make_plan",
    "make_strategy",
]
