"""DICOM files → their series, the one that is the LGE, and its pixels."""
