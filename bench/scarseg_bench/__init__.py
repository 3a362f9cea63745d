"""Benchmark of each way of running a model, with its parity beside it. ``scarseg-bench --help``."""
