"""Samples: cut out of videos or stills, prepared on disk, and in which order they come."""
