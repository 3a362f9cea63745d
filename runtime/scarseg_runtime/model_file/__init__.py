"""The one self-describing model file: what it may hold and what it says of itself."""
