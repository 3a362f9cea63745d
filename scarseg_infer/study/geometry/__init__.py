"""Where slices lie in the patient, how they are turned for display, and which end is the apex."""
