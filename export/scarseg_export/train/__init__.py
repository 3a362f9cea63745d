"""Training from nothing to a checkpoint."""
