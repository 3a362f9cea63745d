"""Names of leads as files write them → the standard ones, alike for every format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from scarseg_runtime.contract import LEADS

_STANDARD: Final = {lead.casefold(): lead for lead in LEADS}
# A hyphen that follows a blank or another separator is a sign: "Lead -aVR" is upside down.
_SEPARATOR: Final = r"(?:-|\s+-\s+|[\s_:.]*)"
_DERIVATION: Final = r"d[e\u00e9?]riv(?:aci[o\u00f3?]n|a[c\u00e7?][a\u00e3?]o|ation|azione)?"
"""In Romance languages, with accents that a header may have lost; "derived" is a computed lead."""
# "ECG I", "Lead I", "ecg lead I"; "MDC_ECG_LEAD_I", the nomenclature of ISO/IEEE 11073; "DI" as
# Romance languages write it; a unit behind, as in "V1 (mV)".
_PREFIXED: Final = re.compile(
    rf"(?:mdc{_SEPARATOR})?(?:(?:ecg|ekg){_SEPARATOR})?"
    rf"(?:(?:lead|abl(?:eitung)?|{_DERIVATION}|kanal|channel){_SEPARATOR})?(?:D(?=I))?"
    r"(III|II|I|aV[RLF]|V[1-6])(?:\s*[(\[][nu\u00b5\u03bcm]?V[)\]])?",
    re.IGNORECASE | re.ASCII,
)


def standard_lead(name: str) -> str:
    """The standard name of a lead whose name has a usual prefix; every other name as it is."""
    stripped = name.strip()
    if stripped.casefold() in _STANDARD:
        return name
    match = _PREFIXED.fullmatch(stripped)
    return _STANDARD[match[1].casefold()] if match else name


def standard_leads(names: Sequence[str]) -> tuple[str, ...]:
    """:func:`standard_lead` of each, but for names whose standard one is another lead's already."""
    taken = {name.strip().casefold() for name in names}
    found = []
    for name in names:
        standard = standard_lead(name)
        if standard != name and standard.casefold() in taken:
            standard = name
        taken.add(standard.strip().casefold())
        found.append(standard)
    return tuple(found)
