"""Faults of a DICOMweb server, in words of ours: its own may name a patient."""

from __future__ import annotations

from typing import Final

NAME_NOT_KNOWN: Final = "host name not known"
NOT_REACHABLE: Final = "not reachable"
TLS_FAILED: Final = "TLS failed"
NO_ANSWER: Final = "no answer in time"
REDIRECTED: Final = "answers with a redirect, which is not followed"
NOT_DICOM: Final = "answers with something that is not DICOM"
CUT_SHORT: Final = "the answer is cut short or damaged"
TOO_LARGE: Final = "the answer is too large"
NOT_CONFIRMED: Final = "does not say that the object was stored"
TOKEN_FILE: Final = "the token file cannot be used"
LOGIN_FILE: Final = "the login file cannot be used"

_ADVICE: Final = {
    NAME_NOT_KNOWN: "Check the address",
    NOT_REACHABLE: "Check address and port, and that the server runs",
    TLS_FAILED: "Check the CA file, the client certificate and the host name in the address",
    NO_ANSWER: "Try again later, or allow more time",
    REDIRECTED: "Give the address that it leads to",
    NOT_DICOM: "Check that the address is that of the DICOMweb service, not of a web page or login",
    CUT_SHORT: "Try again; the archive or something before it ended the answer early",
    TOO_LARGE: "Give the address of the LGE series in place of the study's",
    TOKEN_FILE: "It must hold one token, in printable ASCII without blanks",
    LOGIN_FILE: "It must hold user:password in one line",
    "status 401": "Check the token or login file",
    "status 403": "Ask who runs the server for the right to read this study",
    "status 404": "Check the address; the archive does not have it",
}


class DicomWebError(Exception):
    """The server is not there, refuses, or answers oddly; ``str`` is one of the texts above, or
    ``status`` with its number, never the server's own.

    Args:
        what: one of these texts.
        status: of HTTP, where one is the reason; else 0.
    """

    def __init__(self, what: str, status: int = 0) -> None:
        self.what, self.status = what, status
        self.advice = _ADVICE.get(what, "Look into the log of the server")
        super().__init__(what)


def refused(status: int) -> DicomWebError:
    """The error for an HTTP status that is none of success."""
    return DicomWebError(f"status {status}", status)
