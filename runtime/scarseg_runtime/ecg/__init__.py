"""Twelve recorded leads → clean signals, beats, and what a reader should know of them."""
