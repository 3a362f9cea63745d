"""Calling other application entities: one way for sending results and for asking for ECGs."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from scarseg_infer.node.config import Config, Peer
from scarseg_infer.node.dicom.outgoing_limits import OutgoingLimits
from scarseg_infer.node.dicom.pynetdicom_parts import answer_to_request, plain_socket
from scarseg_infer.node.dicom.rejection import CALLED_AE, CALLING_AE, reason
from scarseg_infer.node.dicom.tls import WatchedContext, client_context

CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
"""For an answer, and for a peer to go on reading or writing in the middle of one."""

NAME_NOT_KNOWN: Final = "host name not known"
NOT_REACHABLE: Final = "not reachable"
TLS_FAILED: Final = "TLS failed"
NO_ANSWER: Final = "no answer to the request for an association"
NO_CLASS: Final = "no class accepted"
REJECTED: Final = "rejected"
REJECTED_FOR_NOW: Final = "rejected for now"
_REJECTED_SINCE: Final = {
    CALLING_AE: "calling AE title not recognised",
    CALLED_AE: "called AE title not recognised",
}
_FOR_NOW: Final = 2


class NoAssociationError(Exception):
    """A peer is not there or wants no association; the text is one of those above, never its own.

    No more than that can be told from here: a peer that ends the connection without a word may
    have wanted TLS, or does not want us.
    """


class Client:
    """Opens associations with one peer.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(self, config: Config, peer: Peer) -> None:
        self._title, self._peer = config.node.ae_title, peer
        self._tls: WatchedContext | None = None
        if peer.tls and config.tls:
            self._tls = client_context(config.tls)

    def associate(
        self,
        services: Iterable[str],
        *,
        stores: Sequence[str] = (),
        on_store: Any = None,
        limits: OutgoingLimits | None = None,
    ) -> Association:
        """An association that is established.

        Args:
            services: SOP classes to ask for.
            stores: SOP classes that the peer may store here over the same association (C-GET).
            on_store: handler of these; returns a status.
            limits: of the association; None where all that is answered are acknowledgements.

        Raises:
            NoAssociationError: says why there is none.
        """
        ae = AE(ae_title=self._title)
        ae.connection_timeout = CONNECT_S
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
        for uid in (*services, *stores):
            ae.add_requested_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        connected: list[evt.Event] = []

        def open_(event: evt.Event) -> None:
            connected.append(event)
            _never_wait_for_ever(event)

        handlers: list[Any] = [(evt.EVT_CONN_OPEN, open_), *(limits or OutgoingLimits()).handlers()]
        if on_store:
            handlers.append((evt.EVT_C_STORE, on_store))
        peer = self._peer
        if self._tls:
            self._tls.failed = False
        try:
            found = ae.associate(
                peer.host, peer.port, ae_title=peer.ae_title,
                tls_args=(self._tls, peer.host) if self._tls else None,
                ext_neg=[build_role(uid, scp_role=True) for uid in stores],
                evt_handlers=handlers,
            )  # fmt: skip
        except (socket.gaierror, UnicodeError) as error:  # the latter of what can be no name
            raise NoAssociationError(NAME_NOT_KNOWN) from error
        except OSError as error:
            raise NoAssociationError(NOT_REACHABLE) from error
        if not found.is_established:
            raise NoAssociationError(self._why(found, bool(connected)))
        return found

    def _why(self, association: Association, connected: bool) -> str:
        if self._tls and self._tls.failed:
            return TLS_FAILED
        if not connected:
            return NOT_REACHABLE
        answer = answer_to_request(association)
        if association.is_rejected:
            since = _REJECTED_SINCE.get(reason(association))
            return since or (REJECTED_FOR_NOW if answer.result == _FOR_NOW else REJECTED)
        return NO_ANSWER if answer is None else NO_CLASS


def _never_wait_for_ever(event: evt.Event) -> None:
    """pynetdicom takes the time limit off the socket once it is connected. A peer that then
    stops in the middle of a PDU would hold the thread that calls it, and its abort, for good."""
    plain = plain_socket(event.assoc)
    if plain:
        plain.settimeout(ANSWER_S)
