"""Listening, and a thread for each session, until the server is stopped."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Final

from scarseg_infer.mrd.connection import Connection
from scarseg_infer.mrd.results import text_message
from scarseg_infer.mrd.session import CLOSE, Session, Shared
from scarseg_runtime.errors import UsageError

STOP_S: Final = 20.0
"""For sessions under way after a signal to stop: less than what container engines are told."""
_POLL_S: Final = 0.2
_GRACE_S: Final = 1.0
"""For a session to end whose client has seen its end already, and comes with the next study."""
_BUSY: Final = "scarseg-mrd: no result: as many sessions are under way as may be. Try again later."


class Server:
    """A server that listens.

    Args:
        shared: what sessions use.
        most_sessions: at the same time; a further client is told so, and its connection closed.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, shared: Shared, address: str, port: int, most_sessions: int) -> None:
        self._shared, self._most = shared, most_sessions
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address, port))
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise UsageError(
                f"port {port} cannot be listened on ({error.strerror})",
                "End what uses it, or choose another --address or --port",
            ) from error
        self._socket.settimeout(_POLL_S)
        self._threads: list[threading.Thread] = []
        self._count = 0

    def run(self) -> None:
        """Serve until the server is stopped, then end sessions in order."""
        while not self._shared.stop.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # the client is gone already, or no file is left for it
                time.sleep(_POLL_S)
                continue
            self._welcome(client)
        self._socket.close()
        end = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _welcome(self, client: socket.socket) -> None:
        if not self._place_found():
            self._refuse(client, "busy")
            return
        self._count += 1
        thread = threading.Thread(
            target=self._serve, args=(client, self._count), name=f"session {self._count}",
            daemon=True,
        )  # fmt: skip
        try:
            thread.start()
            self._threads.append(thread)
        except RuntimeError:  # the system gives no more threads
            self._refuse(client, "no thread")

    def _place_found(self) -> bool:
        """Wait a moment for a place; false where there is none."""
        end = time.monotonic() + _GRACE_S
        while True:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) < self._most:
                return True
            if time.monotonic() > end or self._shared.stop.is_set():
                return False
            time.sleep(0.02)

    def _refuse(self, client: socket.socket, reason: str) -> None:
        self._shared.log.write("session_refused", reason=reason)
        with suppress(OSError), client:
            client.settimeout(_POLL_S)
            client.sendall(text_message(_BUSY) + CLOSE)
            client.shutdown(socket.SHUT_WR)

    def _serve(self, client: socket.socket, number: int) -> None:
        try:
            connection = Connection(client, self._shared.limits, self._shared.stop)
        except RuntimeError:
            self._refuse(client, "no thread")
            return
        Session(number, connection, self._shared).run()
