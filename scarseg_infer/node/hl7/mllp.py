"""The minimal lower layer protocol: messages framed on a TCP connection (HL7 v2, appendix C)."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Final

from scarseg_infer.node.hl7.message import NoAcknowledgementError
from scarseg_infer.node.hl7.peer import Hl7Peer

START: Final = b"\x0b"
END: Final = b"\x1c"
"""A carriage return follows it, which some leave out."""
CONNECT_S: Final = 10.0
MAX_ANSWER: Final = 1 << 16
"""Bytes of an acknowledgement; it has two or three short segments."""


class Connection:
    """One connection to a receiver; messages go one after the other.

    Raises:
        NoAcknowledgementError: there is none; says why.
    """

    def __init__(self, peer: Hl7Peer, tls: ssl.SSLContext | None) -> None:
        self._answer_s = peer.answer_s
        self._rest = b""
        try:
            plain = socket.create_connection((peer.host, peer.port), CONNECT_S)
        except (socket.gaierror, UnicodeError) as error:  # the latter of what can be no name
            raise NoAcknowledgementError("host name not known") from error
        except OSError as error:
            raise NoAcknowledgementError("not reachable") from error
        try:
            self._socket = tls.wrap_socket(plain, server_hostname=peer.host) if tls else plain
        except OSError as error:
            plain.close()
            raise NoAcknowledgementError("TLS failed") from error

    def ask(self, message: bytes) -> bytes:
        """Send a message and return the answer without its frame.

        Raises:
            NoAcknowledgementError: none came whole in the time for it.
        """
        end = time.monotonic() + self._answer_s
        try:
            self._socket.settimeout(self._answer_s)
            self._socket.sendall(START + message + END + b"\r")
            return self._answer(end)
        except TimeoutError as error:
            raise NoAcknowledgementError("no answer in time") from error
        except ssl.SSLError as error:  # with TLS 1.3 our certificate is refused only now
            raise NoAcknowledgementError("TLS failed") from error
        except OSError as error:
            raise NoAcknowledgementError("connection lost") from error

    def _answer(self, end: float) -> bytes:
        """Bytes between the next start and end; bytes before the start mean nothing."""
        found = self._rest
        while END not in found.partition(START)[2]:
            if len(found) > MAX_ANSWER:
                raise NoAcknowledgementError("answer too long")
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)  # or byte by byte it would last for ever
            more = self._socket.recv(4096)
            if not more:
                raise NoAcknowledgementError("connection lost")
            found += more
        answer, _, self._rest = found.partition(START)[2].partition(END)
        return answer

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
