"""Digests of many trainings, by which two commits of nbmlp are compared bit by bit.

Nothing here uses more than nbmlp's public interface, so that the same files run with any commit:
see ``python -m bench.digests --help``.
"""
