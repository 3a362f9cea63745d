"""Patient identifiers as they are compared, and as an archive may be asked for them."""

from __future__ import annotations

from typing import Final

_OF_NOBODY: Final = frozenset({
    "0", "anon", "anonym", "anonyme", "anonymised", "anonymisiert", "anonymize", "anonymized",
    "anonymous", "anonymouspatient", "anonimo", "deidentified", "desconocido", "hidden", "id",
    "inconnu", "masked", "na", "noid", "nobody", "noname", "none", "null", "patient", "patientid",
    "redacted", "removed", "unbekannt", "undefined", "unidentified", "unknown", "x", "xx", "xxx",
})  # fmt: skip
"""Words that stand in place of an identifier, in letters and digits alone."""
_SAME_SIGNS: Final = 4
"""So many signs, all alike, are no identifier either: 0000, 9999, XXXX."""


def normal(patient_id: str | None) -> str:
    """An identifier as it is compared: without surrounding space and letter case.

    Leading zeros count: in some hospitals 0123 and 123 are two patients. Without any letter or
    digit, as ``---``, it is none: "". Nor is one that many patients bear, as ``ANONYMOUS`` or
    ``0000``: the ECG of another such patient would be taken for this one's.
    """
    text = (patient_id or "").strip().casefold()
    signs = "".join(character for character in text if character.isalnum())
    alike = len(set(signs)) == 1 and len(signs) >= _SAME_SIGNS
    return "" if not signs or alike or signs in _OF_NOBODY else text


def is_exact(patient_id: str) -> bool:
    """Would an archive that is asked for this identifier give this patient alone?

    Wildcards match others (PS3.4, C.2.2.2.4), and what ASCII lacks becomes one on its way, as a
    query without character set has no other sign for it.
    """
    odd = any(character in patient_id for character in "*?\\")
    return bool(normal(patient_id)) and patient_id.isascii() and not odd
