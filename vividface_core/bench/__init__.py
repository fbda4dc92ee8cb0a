"""The papers' benchmarks: degrade, restore, measure, and a table beside the papers' own figures."""
