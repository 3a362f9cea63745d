"""Status over HTTP: /healthz, /metrics for Prometheus and a page at /; no patient is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Final

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.http_api import StudyApi
from scarseg_infer.node.outbox import PENDING, Outbox
from scarseg_infer.node.queue import Queue
from scarseg_runtime.errors import UsageError
from scarseg_runtime.version import __version__

PREFIX: Final = "scarseg_node_"
_TIMEOUT_S: Final = 10.0
_ON_PAGE: Final = 100


class Status:
    """Answers from the queue and the counters.

    Args:
        problems: what is wrong with the node now; empty where nothing is.
        gauges: further numbers of the moment, by name.
    """

    def __init__(
        self,
        queue: Queue,
        outbox: Outbox,
        counters: Counters,
        problems: Callable[[], list[str]],
        gauges: Callable[[], dict[str, float]],
    ) -> None:
        self._queue, self._outbox, self._counters = queue, outbox, counters
        self._problems, self._gauges = problems, gauges

    def health(self) -> tuple[int, str]:
        """Status code and text of /healthz."""
        problems = self._problems()
        return (503, "".join(f"{line}\n" for line in problems)) if problems else (200, "ok\n")

    def metrics(self) -> str:
        """Prometheus text format 0.0.4."""
        lines: list[str] = []
        named: set[str] = set()

        def add(name: str, kind: str, value: float, **labels: str) -> None:
            if name not in named:
                named.add(name)
                lines.append(f"# TYPE {PREFIX}{name} {kind}")
            inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            lines.append(f"{PREFIX}{name}{{{inside}}} {value:g}" if inside else
                         f"{PREFIX}{name} {value:g}")  # fmt: skip

        for name, labels, value in self._counters.values():
            add(name, "counter", value, **labels)
        for state, count in self._queue.counts().items():
            add("studies", "gauge", count, state=state)
        for (peer, state), count in sorted(self._outbox.counts().items()):
            add("deliveries", "gauge", count, peer=peer, state=state)
        add("oldest_delivery_seconds", "gauge", self._outbox.oldest_pending_s())
        for name, value in self._gauges().items():
            add(name, "gauge", value)
        add("healthy", "gauge", 0 if self._problems() else 1)
        return "\n".join(lines) + "\n"

    def page(self) -> str:
        """A page for people."""
        problems = self._problems()
        pending = sum(n for (_, state), n in self._outbox.counts().items() if state == PENDING)
        counts = self._queue.counts()
        head = "".join(f"<p class=bad>{escape(line)}</p>" for line in problems) or "<p>Healthy.</p>"
        rows = "".join(
            f"<tr><td>{row['id']}<td>{row['state']}<td>{row['objects']}<td>{row['revision']}"
            f"<td>{_moment(row['last_received'])}<td>{_moment(row['finished'])}"
            f"<td>{escape(row['why'])}</tr>"
            for row in self._queue.listing(_ON_PAGE)
        )
        return (
            "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>scarseg-node</title>"
            "<meta http-equiv=refresh content=10><style>body{font:15px sans-serif;margin:2em}"
            "td,th{text-align:left;padding:.2em 1em .2em 0}.bad{color:#b00020}</style>"
            f"<h1>scarseg-node {__version__}</h1>{head}"
            f"<p>Studies: {counts['open']} open, {counts['done']} done, {counts['failed']} failed. "
            f"Objects to be sent: {pending}.</p><p>Research use only. Not a medical device.</p>"
            "<table><tr><th>Study<th>State<th>Objects<th>Results<th>Last received (UTC)"
            f"<th>Finished (UTC)<th>Why</tr>{rows}</table></html>"
        )


class StatusServer:
    """Serves :class:`Status` in a thread of its own. Raises UsageError where it cannot listen."""

    def __init__(self, status: Status, api: StudyApi | None, address: str, port: int) -> None:
        class Handler(_Handler):
            source = status
            studies = api

        try:
            self._server = ThreadingHTTPServer((address, port), Handler)
        except OSError as error:
            raise UsageError(
                f"status.address and status.port cannot be listened on ({error.strerror})",
                "Choose a free port, or set status.on = false",
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="status", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    source: Status
    studies: StudyApi | None
    timeout = _TIMEOUT_S
    server_version = "scarseg-node"
    sys_version = ""

    def do_POST(self) -> None:
        self.close_connection = True  # what is left of a refused body is not a request
        if self.studies is None or self.path != "/studies":
            self._answer(404, "text/plain; charset=utf-8", "not found\n")
        elif self._own_name():
            headers = self.headers
            length = headers.get("Content-Length")
            try:
                answer = self.studies.post(headers.get("Content-Type", ""), length, self.rfile)
            except TimeoutError:
                return
            self._answer_json(*answer)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        number = path.removeprefix("/studies/")
        if self.studies and number != path and number.isascii() and number.isdigit():
            if self._own_name():
                self._answer_json(*self.studies.get(int(number[:18])))
        elif path == "/healthz":
            code, text = self.source.health()
            self._answer(code, "text/plain; charset=utf-8", text)
        elif path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", self.source.metrics())
        elif path == "/":
            self._answer(200, "text/html; charset=utf-8", self.source.page())
        else:
            self._answer(404, "text/plain; charset=utf-8", "not found\n")

    def _own_name(self) -> bool:
        """Was this machine asked by its address or as localhost? Else a web page may have had its
        own name point here, to read what it must not."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            if name != "localhost":
                self._answer(421, "text/plain; charset=utf-8", "ask by address\n")
                return False
        return True

    def _answer_json(self, code: int, document: dict[str, Any]) -> None:
        self._answer(code, "application/json", json.dumps(document) + "\n")

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not a line for every look of a monitor."""


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
