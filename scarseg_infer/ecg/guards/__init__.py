"""Limits of what an ECG file may hold and cost, checked before a library decodes it."""
