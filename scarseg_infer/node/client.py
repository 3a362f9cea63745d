"""Calling other application entities: one way for sending results and for asking for ECGs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from scarseg_infer.node.call import Call
from scarseg_infer.node.config import Config, Peer
from scarseg_infer.node.tls import client_context

CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
"""For an answer, and for a peer to go on reading or writing in the middle of one."""


class Client:
    """Opens associations with one peer.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(self, config: Config, peer: Peer) -> None:
        self._title, self._peer = config.ae_title, peer
        self._tls = client_context(config.tls) if peer.tls and config.tls else None

    def associate(
        self,
        services: Iterable[str],
        *,
        stores: Sequence[str] = (),
        on_store: Any = None,
        call: Call | None = None,
    ) -> Association | None:
        """An association, or None where the peer is not there or does not want one.

        Args:
            services: SOP classes to ask for.
            stores: SOP classes that the peer may store here over the same association (C-GET).
            on_store: handler of these; returns a status.
            call: its limits; None where all that is answered are acknowledgements.
        """
        ae = AE(ae_title=self._title)
        ae.connection_timeout = CONNECT_S
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
        for uid in (*services, *stores):
            ae.add_requested_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, _never_wait_for_ever)]
        handlers += (call or Call()).handlers()
        if on_store:
            handlers.append((evt.EVT_C_STORE, on_store))
        peer = self._peer
        try:
            found = ae.associate(
                peer.host, peer.port, ae_title=peer.ae_title,
                tls_args=(self._tls, peer.host) if self._tls else None,
                ext_neg=[build_role(uid, scp_role=True) for uid in stores],
                evt_handlers=handlers,
            )  # fmt: skip
        except (OSError, UnicodeError):  # a host name that nobody knows, or that is none
            return None
        return found if found.is_established else None


def _never_wait_for_ever(event: evt.Event) -> None:
    """pynetdicom takes the time limit off the socket once it is connected. A peer that then
    stops in the middle of a PDU would hold the thread that calls it, and its abort, for good."""
    connection = event.assoc.dul.socket
    if connection and connection.socket:
        connection.socket.settimeout(ANSWER_S)
