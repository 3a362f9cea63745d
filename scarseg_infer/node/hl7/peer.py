"""``[[hl7]]``: a system that gets results as HL7 v2 messages."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from scarseg_infer.node.toml_file import Choice, Host, Text

CODECS: Final = {"UNICODE UTF-8": "utf-8", "8859/1": "latin-1", "ASCII": "ascii"}
"""Python's names of the character sets that a receiver may want (HL7 table 0211)."""


class Charset(Choice):
    """A character set by its name in MSH-18."""

    known = tuple(CODECS)


class Processing(Choice):
    """Processing ID, MSH-11: production, training or debugging."""

    known = ("P", "T", "D")


class Hl7Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """A receiver of messages, and what stands in their MSH segment."""

    name: Text
    """Name of it in logs and metrics."""
    host: Host
    port: Annotated[int, Meta(ge=1, le=65535)]
    tls: bool = False
    application: str = ""
    """Receiving application, MSH-5; ``facility`` the receiving facility, MSH-6."""
    facility: str = ""
    sending_application: str = "SCARSEG"
    """MSH-3; ``sending_facility`` is MSH-4."""
    sending_facility: str = ""
    processing: Processing = Processing("P")
    charset: Charset = Charset("UNICODE UTF-8")
    answer_s: Annotated[float, Meta(ge=1, le=600)] = 30
    """Time for an acknowledgement."""

    def __post_init__(self) -> None:
        for key in ("application", "facility", "sending_application", "sending_facility"):
            value = getattr(self, key)
            if not (value.isascii() and (value.isprintable())):
                raise ValueError(f".{key} must be printable ASCII")
