"""Providers that run a graph, and the cache of what was compiled for them."""
