"""Held-out people, other programs to compare with, and reports."""
