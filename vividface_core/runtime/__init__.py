"""Devices, memory, threads and signals."""
