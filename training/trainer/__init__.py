"""The loop of a run and what it keeps: states, averages, curves, pictures."""
