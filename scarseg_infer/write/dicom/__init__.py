"""A result → DICOM objects: segmentation, structured report, encapsulated PDF."""
