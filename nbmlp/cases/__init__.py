"""Four nets that did not learn, as their authors wrote them, and their cures."""
