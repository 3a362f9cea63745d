"""HTTP with bounds: no request without a limit on time, no answer without one on size.

``requests`` by itself follows redirects, inflates what is compressed, takes proxies and logins from
the environment, and waits anew for every byte. None of that happens here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NameResolutionError, ReadTimeoutError

from scarseg_infer.dicomweb.errors import (
    CUT_SHORT,
    NAME_NOT_KNOWN,
    NO_ANSWER,
    NOT_DICOM,
    NOT_REACHABLE,
    REDIRECTED,
    TLS_FAILED,
    TOO_LARGE,
    DicomWebError,
    refused,
)
from scarseg_infer.dicomweb.server import WebServer
from scarseg_runtime.errors import CancelledError
from scarseg_runtime.run_control import RunControl
from scarseg_runtime.version import __version__

CONNECT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 4 << 20
"""Of JSON, a thousand studies of which take some 1 MB."""
JSON_TYPES: Final = ("application/dicom+json", "application/json")
DICOM_TYPES: Final = ("multipart/related", "application/dicom")
_FAILURES: Final = (HTTPError, HTTPException, OSError, ValueError, AttributeError)
"""Raised by requests, urllib3 and http.client, also where the connection is closed under them."""


class BoundedSession(requests.Session):
    """A session with one server, used by one thread; another may call :meth:`hang_up`.

    Args:
        control: limits of all that is done with it.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(self, server: WebServer, control: RunControl) -> None:
        super().__init__()
        self._server, self._control = server, control
        self._plain: socket.socket | None = None
        self._over = False
        self.answer_bytes = MAX_ANSWER_BYTES
        self.warned = False
        """Did the last answer say that there are more? Warnings of other things count, too: then
        one question more is asked than would have to be."""
        self.trust_env = False  # .netrc, proxies: the configuration alone says what goes where
        self.auth = server.login()
        self.headers["User-Agent"] = f"scarseg-infer/{__version__}"
        self.headers["Accept-Encoding"] = "identity"
        secure = server.url.startswith("https:")
        self.adapters.clear()  # requests' own would take addresses of another scheme
        self.mount(
            "https://" if secure else "http://",
            _Adapter(server.tls() if secure else None, self._opened),
        )

    def hang_up(self) -> None:
        """Close the connection, or the one that is still to be opened. From any thread."""
        self._over = True
        if self._plain:
            with suppress(OSError):
                self._plain.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        if self._plain:
            self._plain.close()
            self._plain = None

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: else requests reads the body of a redirect, however long, before it asks whether
        to follow. To another host our token and the patient's identifier would go."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request and look at the head of the answer; its body is bounded when it is read.

        Raises:
            DicomWebError: no answer, one that is redirected, or to a GET one that is refused or is
                not of the kind that was asked for.
            CancelledError, RunTimeoutError: of the limits.
        """
        self._control.check()
        request.headers.pop("Host", None)  # dicomweb-client's lacks the port
        options |= {
            "stream": True, "allow_redirects": False,
            "timeout": (CONNECT_S, self._server.timeout_s),
        }  # fmt: skip
        try:
            response = super().send(request, **options)
        except _FAILURES as error:
            self._control.check()
            raise DicomWebError(_reason(error)) from None
        response.raw = _Body(response.raw, self._control, self.answer_bytes)
        self.warned = "Warning" in response.headers
        try:
            _check(response, request, self.answer_bytes)
        except DicomWebError:
            response.close()
            raise
        return response

    def _opened(self, opened: socket.socket) -> socket.socket:
        if self._plain:
            self._plain.close()
        # A second handle of the connection: TLS takes the first one away, and may stall before it
        # gives another.
        self._plain = opened.dup()
        opened.settimeout(self._server.timeout_s)
        if self._over:
            self.hang_up()
        return opened


class _Adapter(HTTPAdapter):
    """Connections whose TLS is ours and that tell of their sockets."""

    def __init__(
        self, tls: ssl.SSLContext | None, opened: Callable[[socket.socket], socket.socket]
    ) -> None:
        self._tls, self._pools = tls, _pools(opened)
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See :class:`requests.adapters.HTTPAdapter`."""
        super().init_poolmanager(*args, ssl_context=self._tls, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Leave the authorities to our context: requests would add all that browsers trust."""
        conn.cert_reqs = "CERT_REQUIRED"


def _pools(opened: Callable[[socket.socket], socket.socket]) -> dict[str, Any]:
    """Classes of connection pools, by scheme. ``_new_conn`` is where other packages that change
    how urllib3 connects do so, too; from there on a peer may stall."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return opened(super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return opened(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Body:
    """The body of an answer as ``requests`` reads it, up to a number of bytes."""

    def __init__(self, raw: Any, control: RunControl, limit: int) -> None:
        self._raw, self._control, self._left = raw, control, limit

    def read(self, amount: int | None = None) -> bytes:
        """Read on. Raises DicomWebError, CancelledError or RunTimeoutError."""
        self._control.check()
        try:
            data = bytes(self._raw.read(amount, decode_content=False))
        except (TimeoutError, ReadTimeoutError):
            raise DicomWebError(NO_ANSWER) from None
        except _FAILURES:
            self._control.check()
            raise DicomWebError(CUT_SHORT) from None
        self._control.check()  # a connection that was closed from here looks like an end
        self._left -= len(data)
        if self._left < 0:
            raise DicomWebError(TOO_LARGE)
        return data

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back."""
        self._raw.release_conn()


def _check(response: requests.Response, request: requests.PreparedRequest, limit: int) -> None:
    """Check the head of an answer. Raises DicomWebError."""
    status = response.status_code
    if 300 <= status < 400:
        raise DicomWebError(REDIRECTED)
    if request.method != "GET":
        return
    # 206: some of what was asked for could not be given (PS3.18, 8.5).
    if status not in (200, 204) and not (status == 206 and _asked_for(request) == JSON_TYPES):
        raise DicomWebError(CUT_SHORT) if status == 206 else refused(status)
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > limit:
        raise DicomWebError(TOO_LARGE)
    nothing = status == 204 or length == "0"
    if not nothing and media_type(response) not in _asked_for(request):
        raise DicomWebError(NOT_DICOM)
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise DicomWebError(NOT_DICOM)  # what it inflates to has no bound


def _asked_for(request: requests.PreparedRequest) -> tuple[str, ...]:
    return JSON_TYPES if "json" in request.headers.get("Accept", "") else DICOM_TYPES


def media_type(response: requests.Response) -> str:
    """Media type of an answer without its parameters, in lower case."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _reason(error: BaseException) -> str:
    """Cause of a failed request, by the errors that one wraps in the other."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue and len(seen) < 20:
        one = queue.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    if any(isinstance(one, CancelledError) for one in seen):
        return NO_ANSWER
    if any(isinstance(one, NameResolutionError | UnicodeError | socket.gaierror) for one in seen):
        return NAME_NOT_KNOWN
    if any(isinstance(one, requests.exceptions.SSLError) for one in seen):
        return TLS_FAILED
    if any(isinstance(one, requests.exceptions.ConnectTimeout) for one in seen):
        return NOT_REACHABLE
    if any(isinstance(one, requests.exceptions.Timeout | TimeoutError) for one in seen):
        return NO_ANSWER
    if any(isinstance(one, ConnectionRefusedError) for one in seen):
        return NOT_REACHABLE
    if any(isinstance(one, ConnectionError | HTTPException) for one in seen):
        return CUT_SHORT  # it was there, and then not any more
    return NOT_REACHABLE
