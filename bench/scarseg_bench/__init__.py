"""How fast each way of running a model is, with its parity beside it. ``scarseg-bench --help``."""
