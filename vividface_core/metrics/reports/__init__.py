"""Reports of a measurement: HTML, charts, worst frames."""
