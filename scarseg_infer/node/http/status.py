"""Status over HTTP: /healthz, /metrics for Prometheus and a page at /; no patient is named.

``openapi.json`` beside this file describes these paths and those of the studies.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from typing import Any, Final

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.http.answer import JSON, TEXT, Answer, Request, Routes
from scarseg_infer.node.http.api import StudyApi
from scarseg_infer.node.http.handler import HttpServer
from scarseg_infer.node.http.metric_help import HELP
from scarseg_infer.node.queue.outbox import PENDING, Outbox
from scarseg_infer.node.queue.received import Queue
from scarseg_runtime.errors import UsageError
from scarseg_runtime.version import __version__

PREFIX: Final = "scarseg_node_"
_ON_PAGE: Final = 100
RESULT: Final = "Result"
"""The component that in ``openapi.json`` refers to the schema of result.json."""
_STUDY_COLUMNS: Final = (
    "Study", "State", "Objects", "Results", "Last received (UTC)", "Finished (UTC)", "Why",
)  # fmt: skip
_PEER_COLUMNS: Final = ("Peer", "Objects", "Oldest (UTC)", "Next try (UTC)", "Why")


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
                lines.append(f"# HELP {PREFIX}{name} {HELP[name]}")
                lines.append(f"# TYPE {PREFIX}{name} {kind}")
            inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            lines.append(f"{PREFIX}{name}{{{inside}}} {value}" if inside else
                         f"{PREFIX}{name} {value}")  # fmt: skip

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
        counts = self._queue.counts()
        head = "".join(f"<p class=bad>{escape(line)}</p>" for line in problems) or "<p>Healthy.</p>"
        studies = [
            (row["id"], row["state"], row["objects"], row["revision"],
             _moment(row["last_received"]), _moment(row["finished"]), row["why"])
            for row in self._queue.listing(_ON_PAGE)
        ]  # fmt: skip
        waiting = [
            (row["peer"], row["objects"], _moment(row["first"]), _moment(row["next_at"]),
             row["why"])
            for row in self._outbox.waiting(_ON_PAGE)
        ]  # fmt: skip
        pending = sum(n for (_, state), n in self._outbox.counts().items() if state == PENDING)
        return (
            "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>scarseg-node</title>"
            "<meta http-equiv=refresh content=10><style>body{font:15px sans-serif;margin:2em}"
            "td,th{text-align:left;padding:.2em 1em .2em 0}.bad{color:#b00020}</style>"
            f"<h1>scarseg-node {__version__}</h1>{head}"
            "<p>Research use only. Not a medical device.</p>"
            f"<h2>Objects to be sent: {pending}</h2>"
            f"{_table(_PEER_COLUMNS, waiting)}"
            f"<h2>Studies: {counts['open']} open, {counts['done']} done, "
            f"{counts['failed']} failed</h2>{_table(_STUDY_COLUMNS, studies)}</html>"
        )


class StatusServer:
    """Serves :class:`Status`, and studies where there is an api, in a thread of its own.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, status: Status, api: StudyApi | None, address: str, port: int) -> None:
        monitoring = _monitoring(status)
        routes: dict[str, Any] = {**monitoring, **(api.routes() if api else {})}
        described = description([*routes, "/openapi.json"])
        routes["/openapi.json"] = {"GET": lambda _: Answer(200, described, JSON)}
        try:
            self._server = HttpServer(address, port, routes, frozenset(monitoring))
        except OSError as error:
            raise UsageError(
                f"status.address and status.port cannot be listened on ({error.strerror})",
                "Choose a free port, or set status.on = false",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="status", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _monitoring(status: Status) -> Routes:
    def health(_: Request) -> Answer:
        code, text = status.health()
        return Answer(code, text.encode(), TEXT)

    def metrics(_: Request) -> Answer:
        return Answer(200, status.metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")

    def page(_: Request) -> Answer:
        return Answer(200, status.page().encode(), "text/html; charset=utf-8")

    return {"/": {"GET": page}, "/healthz": {"GET": health}, "/metrics": {"GET": metrics}}


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{column}" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def description(paths: Collection[str]) -> bytes:
    """``openapi.json`` (OpenAPI 3.1) with the schema of result.json put in, for these paths."""
    package = resources.files("scarseg_infer")
    found: dict[str, Any] = json.loads((package / "node/http/openapi.json").read_text("utf-8"))
    inside = f'"$ref": "#/components/schemas/{RESULT}/'
    schema = (package / "schema/result.schema.json").read_text("utf-8")
    result = json.loads(schema.replace('"$ref": "#/', inside))
    del result["$schema"]  # only the root of a document may say it
    found["components"]["schemas"][RESULT] = result
    found["info"]["version"] = __version__
    found["paths"] = {path: item for path, item in found["paths"].items() if path in paths}
    return json.dumps(found).encode()
