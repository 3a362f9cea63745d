"""One connection: messages in and out at the same time, with limits on size, memory and time.

A client may send all it has before it reads anything. So what goes back is sent by a thread of its
own, and reading never waits for it until too much is waiting.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from scarseg_infer.mrd.messages import Message, StreamError, read_message
from scarseg_runtime.run_control import CancelSignal

_POLL_S: Final = 0.2
"""Time in which a stop is noticed."""
_CHUNK: Final = 1 << 20
_LAST_WORDS_S: Final = 5.0
"""For what the client still sends when the session has ended: closed with bytes unread, TCP would
throw away what it has not read of ours."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session.

    Attributes:
        message_bytes: the largest message.
        session_bytes: images that are kept, and what waits to be sent back, each.
        idle_s: silence, or time in which the client takes nothing.
        session_s: length of a session, computing apart.
        run_s: time for computing.
    """

    message_bytes: int = 256 << 20
    session_bytes: int = 1024 << 20
    idle_s: float = 600.0
    session_s: float = 7200.0
    run_s: float = 600.0


class Connection:
    """Messages over a socket. One thread reads and puts; another, of this object, sends.

    Args:
        stop: set when the server stops.
    """

    def __init__(self, sock: socket.socket, limits: Limits, stop: CancelSignal) -> None:
        sock.settimeout(_POLL_S)
        self._socket, self._limits, self._stop = sock, limits, stop
        self._end = time.monotonic() + limits.session_s
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._broken = ""
        self._changed = threading.Condition()
        self._sender = threading.Thread(target=self._send_all, name="mrd send", daemon=True)
        self._sender.start()

    def read(self) -> Message:
        """The next message.

        Raises:
            StreamError: the stream breaks the protocol or a limit, or has ended; or the server
                stops.
        """
        return read_message(self._more, self._limits.message_bytes)

    def put(self, message: bytes) -> None:
        """Send a message when there is time for it; waits only while too many are waiting.

        Raises:
            StreamError: the client takes nothing, or is gone; or the server stops.
        """
        idle_end = time.monotonic() + self._limits.idle_s
        with self._changed:
            while self._waiting and self._waiting_bytes + len(message) > self._limits.session_bytes:
                self._check(idle_end, "the client does not take what is sent back")
                self._changed.wait(_POLL_S)
            self._check(idle_end)
            self._waiting.append(message)
            self._waiting_bytes += len(message)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is sent, and end in order.

        Raises:
            StreamError: as :meth:`put`.
        """
        with self._changed:
            while self._waiting_bytes:
                self._check(None)
                self._changed.wait(_POLL_S)
            if self._broken:  # what waited last was not taken
                raise StreamError(self._broken)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._drain()

    def close(self) -> None:
        """Let go of the socket, whatever is still to be sent."""
        with self._changed:
            self._broken = self._broken or "closed"
            self._changed.notify_all()
        self._sender.join()
        self._socket.close()

    def extend(self, seconds: float) -> None:
        """Give the session more time: what computing took is not the client's."""
        self._end += seconds

    def _more(self, buffer: bytearray, count: int) -> None:
        left = count
        idle_end = time.monotonic() + self._limits.idle_s
        while left:
            try:
                data = self._socket.recv(min(left, _CHUNK))
            except TimeoutError:
                self._check(idle_end, "the client has sent nothing for too long")
                continue
            except OSError as error:
                raise StreamError("the connection broke") from error
            if not data:
                raise StreamError("the connection ended before the session did")
            self._check(None)
            idle_end = time.monotonic() + self._limits.idle_s
            buffer += data
            left -= len(data)

    def _check(self, idle_end: float | None, why: str = "") -> None:
        if self._stop.is_set():
            raise StreamError("the server stops")
        if self._broken:
            raise StreamError(self._broken)
        now = time.monotonic()
        if now > self._end:
            raise StreamError("the session took too long")
        if idle_end is not None and now > idle_end:
            raise StreamError(why)

    def _send_all(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._broken):
                    self._changed.wait()
                if self._broken:
                    return
                message = self._waiting.popleft()
            self._send(memoryview(message))
            with self._changed:
                self._waiting_bytes -= len(message)
                self._changed.notify_all()

    def _send(self, data: memoryview) -> None:
        idle_end = time.monotonic() + self._limits.idle_s
        while data and not self._broken:
            try:
                sent = self._socket.send(data[:_CHUNK])
            except TimeoutError:
                if self._stop.is_set() or time.monotonic() > idle_end:
                    self._broken = "the client does not take what is sent back"
                continue
            except OSError:
                self._broken = "the client is gone"
                return
            data = data[sent:]
            idle_end = time.monotonic() + self._limits.idle_s

    def _drain(self) -> None:
        """Read what the client has sent behind its end, until it ends too, for a moment."""
        end = time.monotonic() + _LAST_WORDS_S
        while time.monotonic() < end and not self._stop.is_set():
            try:
                if not self._socket.recv(_CHUNK):
                    return
            except TimeoutError:
                continue
