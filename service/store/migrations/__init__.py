"""The migrations: `versions/rNNNN_*.py`, one a step, never changed once published."""
