"""pynetdicom's server with the limits that it lacks against callers who are slow or hostile.

Handshakes of TLS run in the thread of their connection, so one that never ends holds up nobody;
a connection from a foreign address is closed before a byte of it is read; no PDU and no message
grows beyond what was allowed.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from pynetdicom import AE, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from scarseg_infer.node.config import Config
from scarseg_infer.node.tls import server_context

if TYPE_CHECKING:
    from pynetdicom.association import Association

MAX_PDU_BYTES: Final = 1 << 20
"""A request for an association with 128 contexts takes 30 kB, data PDUs are at most PDU_BYTES."""
PDU_BYTES: Final = 128 << 10
"""What we ask senders to keep to; many small PDUs cost more time than their data."""
MESSAGES_AHEAD: Final = 1
"""Messages that may wait while more is read. Nobody has a reason to send one before the answer to
the last, as we never agree to asynchronous operations (PS3.7, D.3.3.3)."""
HANDSHAKE_S: Final = 10.0
CONNECTIONS_PER_ASSOCIATION: Final = 4
"""Connections, with those still to be refused politely, for each association allowed."""


class _Handler(RequestHandler):
    """One connection: bounds what is read from it."""

    server: NodeServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = association.dul.socket
        if connection is None:
            return association
        read, limit = connection.recv, self.server.message_bytes
        since_message = 0

        def bounded(wanted: int) -> bytearray:
            nonlocal since_message
            since_message += wanted
            ahead = association.dimse.msg_queue.qsize() > MESSAGES_AHEAD
            if wanted > MAX_PDU_BYTES or since_message > limit or ahead:
                self.server.oversized()
                raise OSError("too much data")  # pynetdicom then closes the connection
            return read(wanted)

        def start_again(_: evt.Event) -> None:
            nonlocal since_message
            since_message = 0

        connection.recv = bounded  # type: ignore[method-assign, assignment]
        association.bind(evt.EVT_DIMSE_RECV, start_again)
        association.bind(evt.EVT_FSM_TRANSITION, _end_with_connection)
        return association


def _end_with_connection(event: evt.Event) -> None:
    """Where a connection ends before it asked for an association, wake the thread that waits for
    that, which would otherwise hold its place until its timeout (PS3.8, 9.2.2: AA-2 and AA-5)."""
    if event.action in ("AA-2", "AA-5"):
        waiting: Any = event.assoc.dul.to_user_queue
        waiting.put(None)


class NodeServer(ThreadedAssociationServer):
    """Accepts associations for the node.

    Args:
        ae: with its supported contexts.
        config: address, limits and who may call.
        handlers: of pynetdicom's events.
        on_refused: told why a connection was closed at once: ``address``, ``connections``,
            ``tls`` or ``oversized``, and where known the caller's IP address.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, ae: AE, config: Config, handlers: list[Any], on_refused: Any) -> None:
        self._config = config
        self._on_refused = on_refused
        self._handshakes = 0
        self._lock = threading.Lock()
        self._tls = server_context(config.tls) if config.tls else None
        self.message_bytes = config.limits.object_bytes + MAX_PDU_BYTES
        super().__init__(
            ae, (config.address, config.port), ae.ae_title, ae.supported_contexts,
            evt_handlers=handlers, request_handler=_Handler,
        )  # fmt: skip

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS follows in :meth:`process_request_thread`."""
        assert self.socket is not None  # made by the base class
        client, address = self.socket.accept()
        client.settimeout(self._config.limits.idle_s)  # accept() does not pass it on
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Is this address admitted, and is there room? Otherwise the connection is closed."""
        if not self._config.admits(client_address[0]):
            self._on_refused("address", client_address[0])
            return False
        room = self._config.limits.associations * CONNECTIONS_PER_ASSOCIATION
        if len(self.active_associations) + self._handshakes >= room:
            self._on_refused("connections", client_address[0])
            return False
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own: TLS, then the association."""
        if self._tls:
            try:
                request = self._secured(self._tls, request)
            except OSError:  # ssl.SSLError is one
                self._on_refused("tls", client_address[0])
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def _secured(self, tls: ssl.SSLContext, plain: socket.socket) -> ssl.SSLSocket:
        with self._lock:
            self._handshakes += 1
        try:
            plain.settimeout(HANDSHAKE_S)
            secured = tls.wrap_socket(plain, server_side=True)
            secured.settimeout(self._config.limits.idle_s)
            return secured
        finally:
            with self._lock:
                self._handshakes -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that failed before its association began is no news."""

    def oversized(self) -> None:
        """A message or PDU was larger than allowed."""
        self._on_refused("oversized")

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait for running associations to end by themselves; did they?"""
        end = time.monotonic() + seconds
        while self.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        return not self.active_associations
