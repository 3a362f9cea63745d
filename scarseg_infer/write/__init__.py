"""A result → files in one folder."""
