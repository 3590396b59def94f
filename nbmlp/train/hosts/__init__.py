"""A training by several processes, on one host or many."""

from nbmlp.train.hosts.agreement import ALONE, EndedElsewhere, Hosts

__all__ = ["ALONE", "EndedElsewhere", "Hosts"]
