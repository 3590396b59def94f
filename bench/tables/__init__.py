"""Accuracy on tables beside the best: the same splits, seeds and cores for every contestant.

``python -m bench.tables``; what it does and found: ``docs/tables.md``.
"""
