"""Serving greentexts: a BentoML service over the engine."""
