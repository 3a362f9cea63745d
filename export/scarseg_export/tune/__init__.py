"""Training on a table of one's own patients: from a shipped model, or from nothing."""
