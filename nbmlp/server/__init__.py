"""The training server: jobs in child processes, a database of what happened, HTTP on top."""
