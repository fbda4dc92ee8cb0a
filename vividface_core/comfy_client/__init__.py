"""A folder of videos through an API-format workflow on one or several ComfyUI servers."""
