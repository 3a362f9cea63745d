"""Comparison of a model file with PyTorch, and what it says of itself."""
