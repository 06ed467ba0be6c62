"""Measuring speed: the engine against the naive way, the service under load."""
