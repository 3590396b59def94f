"""What may be discarded, and the tables of addresses over it."""

from nbmlp.workspace.workspace import Workspace

__all__ = ["Workspace"]
