"""Where embedded weights and training material come from."""
