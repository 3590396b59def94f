"""Benchmarks of nbmlp's own commits, for asv."""
