"""What is minimised, and how its gradient passes the decoder."""
