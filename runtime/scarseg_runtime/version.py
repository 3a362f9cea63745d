"""The version of the distribution, in the one place that packaging and results both read."""

__version__ = "0.1.0"
