"""Why training fails: checks that look at a net instead of training it."""
