"""The restoration of a video from its frames to the output file."""
