"""A trained nnU-Net v2 folder → a model file."""
