"""Words of a Siemens scanner about an image, beside the attributes of MRD.

``IceMiniHead`` is a text in base64, ``<ParamString."Name"> { "value" }`` and arrays of such values.
Only what tells the kind of a series is looked for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

ATTRIBUTE: Final = "iceminihead"
NAMES: Final = ("SequenceDescription", "ImageTypeValue3", "ImageTypeValue4")
_MAX_BYTES: Final = 4 << 20
"""Of a whole mini header: they have some ten kilobytes."""
_FURTHEST: Final = 1000
"""Characters behind a name in which its values lie."""
_START: Final = re.compile(rf'<Param(?:String|Array)\."({"|".join(NAMES)})">')
_VALUE: Final = re.compile(r'"([^"{}<>]*)"')


def with_minihead(attributes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Attributes by name in lower case, and beside them those of the mini header that they do not
    have themselves."""
    encoded = "".join(attributes.get(ATTRIBUTE, ()))
    return _values(_decoded(encoded)) | dict(attributes) if encoded else dict(attributes)


def _decoded(encoded: str) -> str:
    """The text; "" where it is none."""
    try:
        return base64.b64decode(encoded[: 2 * _MAX_BYTES])[:_MAX_BYTES].decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _values(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for start in _START.finditer(text):
        near = text[start.end() : start.end() + _FURTHEST].partition("<Param")[0]
        values = tuple(value.strip() for value in _VALUE.findall(near) if value.strip())
        if values:
            found.setdefault(start[1].casefold(), values)
    return found
