"""HTTP/1.1 with limits: each connection carries one request and ends within a known time.

``http.server`` reads the protocol; here stand the limits and an early no. None of seven maintained
servers did all that is needed: a body as it comes, a no before it, an end for whoever is slow, and
a refusal that arrives. ``docs/explanation/http-server.md`` has what each did.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BufferedReader, RawIOBase
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any, Final

from scarseg_infer.host.crash_place import crash_place
from scarseg_infer.node.http.answer import (
    Answer,
    Request,
    Routes,
    TooManyUploadsError,
    match,
    problem,
)
from scarseg_infer.node.http.guard import Names, refusal

CONNECTIONS: Final = 32
"""At a time; further ones are closed."""
UPLOADS: Final = 8
"""Connections with a body, which may take long, so that monitors always find a place."""
HEADERS_S: Final = 10.0
"""For request line and headers to come, and for the first bytes of a body."""
BODY_BYTES_PER_S: Final = 256 << 10
"""The slowest at which a body may come, at any time and not only by the end."""
SILENCE_S: Final = 30.0
"""Within a body, for a sender that was fast enough before."""
RETRY_S: Final = 10
"""After which to ask again where there are too many uploads."""
SEND_S: Final = 30.0
LINGER_S: Final = 5.0
"""For the caller to end: a close while it still sends would take our answer from it."""


class HttpServer(ThreadingHTTPServer):
    """Serves routes.

    Args:
        address: IP address to listen on.
        open_to_any_name: templates of paths that may be asked for by any name where other machines
            are listened to: they may hold numbers, states, times, reasons and names of peers, but
            nothing of a patient.

    Raises:
        OSError: it cannot be listened on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: str, port: int, routes: Routes, open_to_any_name: frozenset[str]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.routes, self._open_to_any_name = routes, open_to_any_name
        self._loopback = ip_address(address).is_loopback
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self.upload_places = threading.BoundedSemaphore(UPLOADS)
        super().__init__((address, port), _Handler)

    def names(self, template: str | None) -> Names:
        """By which names this path may be asked for."""
        if self._loopback:
            return "loopback"
        return "any" if template in self._open_to_any_name else "address"

    def server_bind(self) -> None:
        """Without HTTPServer's question to the DNS for our name."""
        TCPServer.server_bind(self)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""


class _Timed(RawIOBase):
    """Input of a connection, which has a time however few bytes come at once.

    Only what is waited for the caller counts, not a disk of ours that is slow meanwhile.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left_s, self._byte_s = HEADERS_S, 0.0

    def start_body(self) -> None:
        """From now on bytes that come give time for further ones."""
        self._left_s, self._byte_s = HEADERS_S, 1 / BODY_BYTES_PER_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(self._left_s)
        start = time.monotonic()
        count = self._connection.recv_into(buffer)
        left_s = self._left_s - (time.monotonic() - start)
        self._left_s = min(left_s + count * self._byte_s, SILENCE_S)
        return count


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # that of a request line without one gets no headers
    server_version = "scarseg-node"
    sys_version = ""
    _continue_expected = _uploads = False

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._received = _Timed(self.connection)
        self.rfile = BufferedReader(self._received)

    def finish(self) -> None:
        super().finish()
        try:
            self.connection.shutdown(socket.SHUT_WR)
            until = time.monotonic() + LINGER_S
            while (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 16):
                    return
        except OSError:
            return

    def handle_expect_100(self) -> bool:
        """Later, by :meth:`_body`: what the headers tell can be refused without the body."""
        self._continue_expected = True
        return True

    def __getattr__(self, name: str) -> Callable[[], None]:
        """The base class looks for ``do_METHOD``: any is answered, if only with 405."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._serve

    def _serve(self) -> None:
        try:
            answer = self._answer_to()
        except TooManyUploadsError:
            after = {"Retry-After": str(RETRY_S)}
            answer = problem(503, "Too many uploads at a time.", **after)
        except TimeoutError:
            answer = problem(408, "The body came too slowly.")
        except ConnectionError:
            raise
        except sqlite3.Error:
            answer = problem(503, "The queue cannot be read now.")
        except Exception as error:  # noqa: BLE001 - one odd request must not go unanswered
            answer = problem(500, f"Internal error, {crash_place(error)}.")
        finally:
            if self._uploads:
                self.server.upload_places.release()
        self._send(answer)

    def _answer_to(self) -> Answer:
        server = self.server
        template, values = match(server.routes, self.path.partition("?")[0])
        required = self.request_version != "HTTP/1.0"
        if refused := refusal(self.headers, required, server.names(template)):
            return refused
        if template is None:
            return problem(404, "There is nothing at this path.")
        methods = server.routes[template]
        call = methods.get("GET" if self.command == "HEAD" else self.command)
        if not call:
            allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
            return problem(405, "This path has other methods.", Allow=", ".join(allowed))
        return call(Request(values, self.headers, self._body))

    def _body(self) -> BufferedIOBase:
        self._uploads = self.server.upload_places.acquire(blocking=False)
        if not self._uploads:
            raise TooManyUploadsError
        self._received.start_body()
        if self._continue_expected:
            self.send_response_only(100)
            self.end_headers()
        return self.rfile

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by the base class for what is no HTTP; its message would quote the request."""
        self._send(problem(code, f"{self.responses[code][1]}."))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(SEND_S)
        self.send_response(answer.code)
        headers = {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }
        for name, value in (headers | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not a line for every look of a monitor."""
