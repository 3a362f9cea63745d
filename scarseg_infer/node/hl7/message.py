"""A stored message as one receiver wants it, and what is read of an acknowledgement."""

from __future__ import annotations

from typing import Final

from scarseg_infer.node.hl7.peer import CODECS, Hl7Peer
from scarseg_infer.write.hl7.escape import FIELD, escaped

_APPLICATION, _CONTROL_ID, _PROCESSING, _CHARSET = 2, 9, 10, 17
"""Places in MSH split at its separators; one less than the numbers of the fields."""
_IDENTIFIER: Final = 3
ACCEPTED: Final = frozenset({"AA", "CA"})
REJECTED: Final = {"AE": "error", "CE": "error", "AR": "rejected", "CR": "rejected"}
"""HL7 table 0008, in the words of the log."""


class NoAcknowledgementError(Exception):
    """A message was not taken; the text is one of ours, never the receiver's."""


def control_id(message: bytes) -> str:
    """MSH-10 of a message that we wrote: what its acknowledgement has to name."""
    return message.split(b"\r", 1)[0].decode().split(FIELD)[_CONTROL_ID]


def has_identifier(message: bytes) -> bool:
    """Does PID-3 name a patient?"""
    fields = message.decode().split("\r")[1].split(FIELD)
    return len(fields) > _IDENTIFIER and bool(fields[_IDENTIFIER])


def addressed(message: bytes, peer: Hl7Peer) -> bytes:
    """The message with the receiver's names in MSH, in its character set.

    The control ID stays, so that a repeated message is known as one. Letters that the character
    set lacks become question marks.

    Raises:
        NoAcknowledgementError: the patient's identifier has such letters.
    """
    lines = message.decode().split("\r")
    fields = lines[0].split(FIELD)
    names = (peer.sending_application, peer.sending_facility, peer.application, peer.facility)
    fields[_APPLICATION : _APPLICATION + 4] = map(escaped, names)
    fields[_PROCESSING], fields[_CHARSET] = peer.processing, peer.charset
    lines[0] = FIELD.join(fields)
    codec = CODECS[peer.charset]
    try:
        lines[1].split(FIELD)[_IDENTIFIER].encode(codec)
    except UnicodeEncodeError as error:
        raise NoAcknowledgementError("identifier not in the character set") from error
    return "\r".join(lines).encode(codec, "replace")


def check_acknowledgement(answer: bytes, sent: str) -> None:
    """Check that an answer accepts the message of a control ID.

    Raises:
        NoAcknowledgementError: it does not, is of another message, or is no acknowledgement.
    """
    text = answer.decode("latin-1")  # of which any bytes are some; what is read is ASCII
    segments = [line for line in text.replace("\n", "\r").split("\r") if line]
    if not segments or not segments[0].startswith("MSH") or len(segments[0]) < 4:
        raise NoAcknowledgementError("answer is no acknowledgement")
    separator = segments[0][3]
    found = [line.split(separator) for line in segments if line.startswith(f"MSA{separator}")]
    if len(found) != 1 or len(found[0]) < 3:
        raise NoAcknowledgementError("answer is no acknowledgement")
    code, control = (field.strip() for field in found[0][1:3])
    if control != sent:
        raise NoAcknowledgementError("answer to another message")
    if code not in ACCEPTED:
        word = REJECTED.get(code)
        raise NoAcknowledgementError(f"{word} ({code})" if word else "answer of an unknown code")
