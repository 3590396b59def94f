"""What may be discarded, and the tables of addresses over it."""

from nbmlp.workspace.job import Cursor, Job
from nbmlp.workspace.tree import TreeTable
from nbmlp.workspace.workspace import Workspace

__all__ = ["Cursor", "Job", "TreeTable", "Workspace"]
