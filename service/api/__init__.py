"""The HTTP side: one file a dialect, and what all dialects share (limits, errors, streaming)."""
