"""Geometry of slices in the patient: planes, display orientation, which end is the apex."""
