"""Restoring on several devices, one process each."""
