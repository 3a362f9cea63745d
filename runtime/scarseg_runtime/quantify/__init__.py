"""Labels → volumes, masses and what SCMR asks a reader to report."""
