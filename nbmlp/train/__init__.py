"""Training: from settings and data to weights and a history, epoch by epoch."""
