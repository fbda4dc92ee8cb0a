"""The networks that metrics are measured with."""
