"""The VAE as streams of tiles, with the same results up to rounding."""
