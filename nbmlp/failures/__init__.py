"""Why an update failed: the update on its own, its trace, and what is said of it."""
