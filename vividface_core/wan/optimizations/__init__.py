"""Opt-in speed and memory of the transformer."""
