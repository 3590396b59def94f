"""A benchmark of ``MLP.why``: training set-ups with known faults, and what it says about them.

Nothing in here knows how faults are found: faults are planted by settings and data alone, and count
only where they do harm.
"""
