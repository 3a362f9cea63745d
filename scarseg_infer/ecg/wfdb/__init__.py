"""WFDB records: a header and the data files it names."""
