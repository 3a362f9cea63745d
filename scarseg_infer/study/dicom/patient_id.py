"""Patient identifiers as they are compared, and as an archive may be asked for them."""

from __future__ import annotations


def normal(patient_id: str | None) -> str:
    """An identifier as it is compared: without surrounding space and letter case.

    Leading zeros count: in some hospitals 0123 and 123 are two patients. Without any letter or
    digit, as ``---``, it is none: "".
    """
    text = (patient_id or "").strip().casefold()
    return text if any(character.isalnum() for character in text) else ""


def is_exact(patient_id: str) -> bool:
    """Would an archive that is asked for this identifier give this patient alone?

    Wildcards match others (PS3.4, C.2.2.2.4), and what ASCII lacks becomes one on its way, as a
    query without character set has no other sign for it.
    """
    odd = any(character in patient_id for character in "*?\\")
    return bool(normal(patient_id)) and patient_id.isascii() and not odd
