"""Jobs: what may be asked for, who computes it, and how it survives a crash."""
