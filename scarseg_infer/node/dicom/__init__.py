"""The node's DICOM: associations in both directions and what each may cost."""
