"""The data of the embedded model: packages, faces in them, cached latents."""
