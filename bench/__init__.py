"""Benchmarks: nbmlp beside its peers, every figure also as a fraction of the machine's FMA limit.

``python -m bench.compare`` makes the table; ``bench/suites`` holds what asv runs.
"""
