"""pynetdicom's server with the limits that it lacks against callers who are slow or hostile.

Handshakes of TLS run in the thread of their connection, so one that never ends holds up nobody;
a connection from a foreign address is closed before a byte of it is read; what comes over the
others is bounded in size and pace by incoming_limits.py.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any, Final

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from scarseg_infer.node.config import Config
from scarseg_infer.node.dicom.incoming_limits import IncomingLimits
from scarseg_infer.node.dicom.pynetdicom_parts import (
    before_each_association,
    restart_silence,
    wake_acceptor,
)
from scarseg_infer.node.dicom.rejection import BUSY
from scarseg_infer.node.dicom.tls import server_context

if TYPE_CHECKING:
    from pynetdicom.association import Association

HANDSHAKE_S: Final = 10.0
REQUEST_S: Final = 10.0
"""For a caller to ask for an association once connected, and to close after its end."""
CONNECTIONS_PER_ASSOCIATION: Final = 4
"""Connections, with those still to be refused politely, for each association allowed."""
_GRACE_S: Final = 1.0
"""For an association to end whose caller has seen its end already, and comes with the next one."""
_TRANSIENT: Final = 2
"""Result of a rejection (PS3.8, table 9-21): the caller may ask again."""


class Places:
    """Those that associations hold, from their request to their release or abort.

    pynetdicom counts threads instead: of connections that ask for nothing, and of associations
    whose callers have had the end confirmed. Who sends one study after the other met the thread of
    the one before, and was rejected.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, list["Association"]()
        self._lock = threading.Lock()

    def take(self, association: Association) -> bool:
        """Wait a moment for a place; false where there is none."""
        end = time.monotonic() + _GRACE_S
        while True:
            with self._lock:
                self._held = [one for one in self._held if _holds_place(one)]
                if len(self._held) < self._most:
                    self._held.append(association)
                    return True
            if time.monotonic() > end:
                return False
            time.sleep(0.02)


def _holds_place(one: Association) -> bool:
    return one.is_alive() and not (one.is_released or one.is_aborted or one.is_rejected)


def _not_idle(event: evt.Event) -> None:
    """The caller's silence begins with our answer. pynetdicom counts from what it heard last, so
    that an association ended when a busy disk had taken longer than ``idle_s`` to store an object,
    right after that was acknowledged."""
    restart_silence(event.assoc)


class NodeServer(ThreadedAssociationServer):
    """Accepts associations for the node.

    Args:
        ae: with its supported contexts.
        config: address, limits and who may call.
        handlers: of pynetdicom's events.
        on_refused: told why a connection was closed, ``address``, ``connections``, ``tls`` or a
            reason of incoming_limits.py, and the caller's IP address.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, ae: AE, config: Config, handlers: list[Any], on_refused: Any) -> None:
        self._config = config
        self._on_refused = on_refused
        self._handshakes = 0
        self._lock = threading.Lock()
        self._places = Places(config.limits.associations)
        self._tls = server_context(config.tls) if config.tls else None
        handlers = [*handlers, (evt.EVT_REQUESTED, self._find_place)]
        super().__init__(
            ae, (config.node.address, config.node.port), ae.ae_title, ae.supported_contexts,
            evt_handlers=handlers, request_handler=before_each_association(NodeServer.bound),
        )  # fmt: skip

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS follows in :meth:`process_request_thread`."""
        assert self.socket is not None  # made by the base class
        client, address = self.socket.accept()
        client.settimeout(self._config.limits.idle_s)  # accept() does not pass it on
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Is this address admitted, and is there room? Otherwise the connection is closed."""
        if not self._config.callers.admit(client_address[0]):
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

    def _find_place(self, event: evt.Event) -> None:
        """In the thread of an association that is asked for, before it is negotiated."""
        association = event.assoc
        if not self._places.take(association):
            association.acse.send_reject(_TRANSIENT, *BUSY)
            self._on_refused("busy", association.requestor.address)
            association.kill()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that failed before its association began is no news."""

    def bound(self, association: Association) -> None:
        """Set the limits of an association that is about to begin."""
        limits = self._config.limits
        IncomingLimits(
            association, limits.object_bytes, min(REQUEST_S, limits.idle_s), limits.idle_s,
            lambda reason: self._on_refused(reason, association.requestor.address),
        )  # fmt: skip
        association.bind(evt.EVT_FSM_TRANSITION, wake_acceptor)
        association.bind(evt.EVT_DIMSE_SENT, _not_idle)

    def shutdown(self) -> None:
        """Accept no more. pynetdicom's own looks for this in a list of servers that it made."""
        BaseServer.shutdown(self)
        self.server_close()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait for running associations to end by themselves; did they?"""
        end = time.monotonic() + seconds
        while self.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        return not self.active_associations
