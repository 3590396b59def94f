"""What happened, in SQLite: one writer, every commit on disk before it counts."""
