"""TLS of the node: files in, contexts for both directions out (BCP 195: 1.2 or newer)."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from scarseg_runtime.errors import UsageError

Context = TypeVar("Context", bound=ssl.SSLContext)


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """``[tls]``: files of this node's identity and of the authority that signs everybody's."""

    certificate: Path
    key: Path
    ca: Path
    client_certificates: bool = True
    """Must callers show a certificate signed by ``ca``?"""

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "ca"):
            if not getattr(self, name).is_file():
                raise ValueError(f".{name} names a file that does not exist")


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS for those who call us.

    Raises:
        UsageError: the files do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.client_certificates:
        context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, tls)


class _WatchedSocket(ssl.SSLSocket):
    """Tells its context of what fails of TLS, also after the handshake: with TLS 1.3 a peer refuses
    our certificate only then."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self._tell()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError:
            self._tell()
            raise

    def _tell(self) -> None:
        context = self.context
        if isinstance(context, WatchedContext):
            context.failed = True


class WatchedContext(ssl.SSLContext):
    """For one connection at a time, of which pynetdicom does not say why it failed."""

    failed = False
    """Did TLS fail since this was set to False?"""
    sslsocket_class = _WatchedSocket


def client_context(tls: Tls) -> WatchedContext:
    """TLS for peers that we call; their certificate must be signed by our authority for the host
    name or address by which we call them.

    Raises:
        UsageError: the files do not fit together.
    """
    return _with_files(WatchedContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _with_files(context: Context, tls: Tls) -> Context:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as error:
        raise UsageError(
            "tls.certificate, tls.key or tls.ca cannot be used, or do not belong together",
            "Give PEM files, the key without a password",
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")  # else OpenSSL would ask for it at the terminal
