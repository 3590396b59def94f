"""How older databases become new ones."""
