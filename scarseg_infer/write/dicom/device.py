"""This program with one model as a device: how every coded output names it."""

from __future__ import annotations

from typing import Final

MANUFACTURER: Final = "scarseg-infer"
SERIAL_DIGITS: Final = 16
"""Of the model's SHA-256, to tell models of one name and version apart."""


def device_uid(model_sha256: str) -> str:
    """UID of the device: another for each model file, as IHE AI Results asks for."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[MANUFACTURER, model_sha256]))
