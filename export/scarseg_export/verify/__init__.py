"""Whether a model file gives the answers of PyTorch, and what it says of itself."""
