"""Models and checkpoints to files and back."""
