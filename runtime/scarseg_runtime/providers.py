"""Execution providers by the names users type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scarseg_runtime.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to run the graph."""

    name: str
    """As typed on the command line and written into results."""
    onnxruntime_name: str
    precision: str


PROVIDERS: Final = (Provider("cpu", "CPUExecutionProvider", "fp32"),)
"""In order of preference: ``auto`` takes the first that can run here."""


def choose(name: str = "auto") -> Provider:
    """The provider for a name.

    Raises:
        ProviderError: the name is unknown.
    """
    if name == "auto":
        return PROVIDERS[0]
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    known = ", ".join(["auto", *(provider.name for provider in PROVIDERS)])
    raise ProviderError(f"unknown provider {name!r}", f"Use one of: {known}")
