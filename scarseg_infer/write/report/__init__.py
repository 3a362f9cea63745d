"""A result → what people look at: page, PDF and pictures."""
