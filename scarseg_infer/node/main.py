"""``scarseg-node CONFIG.toml``: start-up, recovery, threads and an orderly end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_infer.host.quiet import silence_libraries
from scarseg_runtime.console import CommandParser, run_console
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.install import install_command
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.node.config import Config
    from scarseg_infer.node.ecg_fetcher import EcgFetcher
    from scarseg_infer.node.log import Log
    from scarseg_infer.segmenter import Segmenter

_PACKAGES: Final = ("pynetdicom", "msgspec")
"""Packages of the extra ``node``. Asked for before the configuration is read: what that says of
another extra would lead only half of the way."""
_TALKATIVE: Final = (
    "pydicom", "pynetdicom", "dicomweb_client", "retrying", "urllib3", "python_multipart",
)  # fmt: skip
STOP_S: Final = 20.0
"""For running associations, and again for objects being sent, after a signal to stop: less in all
than what systemd and container engines are told to wait in ``deploy/``."""


class Node:
    """Everything that runs, put together from a configuration.

    Raises:
        UsageError: another node uses the data folder, or an address cannot be listened on.
        OutputError: the data folder cannot be used.
    """

    def __init__(self, config: Config, segmenter: Segmenter, log: Log) -> None:
        from scarseg_infer.node.counters import Counters
        from scarseg_infer.node.dicom.receive import Receiver
        from scarseg_infer.node.dicom.send import Sender
        from scarseg_infer.node.queue.outbox import Outbox
        from scarseg_infer.node.queue.received import Queue
        from scarseg_infer.node.queue.storage import Storage
        from scarseg_infer.node.work import Worker

        self._config, self._log = config, log
        self._stopping = threading.Event()
        self._storage = Storage(config.node.data)
        self._counters = Counters()
        self._queue, self._outbox = Queue(self._storage), Outbox(self._storage)
        self._recover()
        self._receiver = Receiver(config, self._storage, self._queue, self._counters, log)
        fetcher = self._ecg_fetcher()
        fetch = fetcher.fetch if fetcher else None
        self._worker = Worker(config, self._storage, segmenter, self._counters, log, fetch)
        jobs = {"work": self._worker.run} | {
            f"send {peer.name}": Sender(config, peer, self._outbox, self._counters, log).run
            for peer in config.peers
        }
        if config.hl7:
            from scarseg_infer.node.hl7.send import Hl7Sender

            jobs |= {
                f"send {peer.name}": Hl7Sender(config, peer, self._outbox, self._counters, log).run
                for peer in config.hl7
            }
        if config.storing:
            from scarseg_infer.node.dicomweb.send import WebSender

            jobs |= {
                f"send {peer.name}": WebSender(config, peer, self._outbox, self._counters, log).run
                for peer in config.storing
            }
        self._threads = [
            threading.Thread(target=job, args=(self._stopping,), name=name, daemon=True)
            for name, job in jobs.items()
        ]

    def _ecg_fetcher(self) -> EcgFetcher | None:
        """The one that asks another system for ECGs; None where none is configured."""
        config, rest = self._config, (self._queue, self._counters, self._log)
        limits = (self._receiver.has_room, self._stopping)
        if config.ecg_query:
            from scarseg_infer.node.dicom.query import EcgQuery

            return EcgQuery(config, config.ecg_query, *rest, *limits)
        if config.ecg_server:
            from scarseg_infer.node.dicomweb.query import WebEcgQuery

            return WebEcgQuery(config, config.ecg_server, *rest, *limits)
        return None

    def run(self, stop: threading.Event) -> bool:
        """Serve until ``stop`` is set, then end in order; the same, returning False, where a
        thread has died, so that whoever started the node can start it again."""
        from scarseg_infer.node.http.api import StudyApi
        from scarseg_infer.node.http.status import Status, StatusServer

        config = self._config
        status = Status(self._queue, self._outbox, self._counters, self.problems, self.gauges)
        self._receiver.start()
        has_room, limit = self._receiver.has_room, config.limits.object_bytes
        api = StudyApi(self._storage, self._queue, has_room, limit) if config.status.api else None
        page = (
            StatusServer(status, api, config.status.address, config.status.port)
            if config.status.on
            else None
        )
        for thread in self._threads:
            thread.start()
        self._log.write(
            "started", version=__version__, ae_title=config.node.ae_title, port=config.node.port,
            tls=bool(config.tls), peers=len(config.receivers) + len(config.message_receivers),
            status_port=config.status.port if config.status.on else None,
            api=config.status.api,
        )  # fmt: skip
        healthy = True
        while healthy and not stop.wait(1.0):
            healthy = self._receiver.listening and all(t.is_alive() for t in self._threads)
        self._log.write("stopping")
        self._stopping.set()
        self._receiver.stop(STOP_S)
        end = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if page:
            page.stop()
        if any(thread.is_alive() for thread in self._threads):
            self._worker.abandon()
        else:
            self._storage.close()
        self._log.write("stopped", healthy=healthy)
        return healthy

    def problems(self) -> list[str]:
        """Problems of the moment, for /healthz."""
        found = [
            f"thread {thread.name!r} has died"
            for thread in self._threads
            if not thread.is_alive() and not self._stopping.is_set()
        ]
        if not self._receiver.listening:
            found.append("not listening")
        if self._worker.disk_fails:
            found.append("the queue cannot be read or written")
        if not self._receiver.has_room():
            found.append("disk nearly full: objects are refused")
        return found

    def gauges(self) -> dict[str, float]:
        """Numbers of the moment, for /metrics."""
        return {
            "associations": self._receiver.associations,
            "disk_free_bytes": self._storage.free_bytes(),
        }

    def _recover(self) -> None:
        leftovers = self._storage.remove_leftovers()
        missing = self._queue.after_restart()
        config = self._config
        removed = self._outbox.after_restart([*config.receivers, *config.message_receivers])
        self._log.write("recovered", leftovers=leftovers, missing_files=missing)
        for peer, count in removed.items():
            self._counters.add("deliveries_removed_total", count, peer=peer)
            self._log.write("deliveries_removed", peer=peer, objects=count)


def serve(config: Config, log: Log, stop: threading.Event) -> bool:
    """Load the model and run a node until ``stop`` is set; see :meth:`Node.run`.

    Raises:
        ScarsegError: it cannot start; see :class:`Node` and :meth:`Segmenter.from_model`.
    """
    from filelock import FileLock, Timeout

    silence_libraries(*_TALKATIVE)
    try:
        config.node.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(config.node.data / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UsageError("another node uses the data folder", "Stop it, or change node.data") \
            from error  # fmt: skip
    except OSError as error:
        raise UsageError(
            f"node.data cannot be used ({error.strerror})", "Check who may write there"
        ) from error
    with lock:
        from scarseg_infer.segmenter import Segmenter

        chosen = config.model
        segmenter = Segmenter.from_model(
            chosen.file, provider=chosen.provider, precision=chosen.precision,
            threads=chosen.threads, background=True,
        )  # fmt: skip
        node = Node(config, segmenter, log)
        segmenter.warm_up()
        return node.run(stop)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    arguments = CommandParser(
        prog="scarseg-node",
        description="Receive MRI studies and ECGs by DICOM, find scar, send the results back. "
        "Research use only. Not a medical device.",
    )
    arguments.add_argument("config", metavar="CONFIG.toml", type=Path)
    arguments.add_argument(
        "--check",
        action="store_true",
        help="only check configuration, data folder and the model's provider, as the start does; "
        "may be asked while the node runs",
    )
    arguments.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see ``scarseg-infer --help``)."""
    arguments = parser().parse_args(argv)
    if missing := next((name for name in _PACKAGES if find_spec(name) is None), None):
        sys.stderr.write(f"scarseg-node: {missing} is missing. {install_command('node')}\n")
        return UsageError.exit_code
    try:
        from scarseg_infer.node.config import read_config
        from scarseg_infer.node.log import Log

        config = read_config(arguments.config)
        if arguments.check:
            if config.warning:
                sys.stderr.write(f"scarseg-node: warning: {config.warning}\n")
            from scarseg_infer.node.check import check_start

            model_on = check_start(config)
            sys.stdout.write(f"ok: {config.summary}, model on {model_on}\n")
            return 0
        log = Log(sys.stdout)
        if config.warning:
            log.write("configuration_warning", reason=config.warning)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        threading.excepthook = _thread_hook(log)
        return 0 if serve(config, log, stop) else 1
    except ScarsegError as error:
        sys.stderr.write(f"scarseg-node: {error}\n")
        return error.exit_code


def run() -> None:
    """Entry point of the console script."""
    code = run_console("scarseg-node", main)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # of a loss run_console has told
            stream.flush()
    # Not by way of Python's end, which waits for the threads of connections: pynetdicom's are no
    # daemons, and one that does not notice its end would keep the node from ending.
    os._exit(code)


def _thread_hook(log: Log) -> Callable[[threading.ExceptHookArgs], None]:
    """A thread of a connection that dies is an event, without the text that may quote a header."""

    def hook(arguments: threading.ExceptHookArgs) -> None:
        frames = traceback.extract_tb(arguments.exc_traceback)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        log.write("thread_died", reason=arguments.exc_type.__name__, place=place)

    return hook


if __name__ == "__main__":
    run()
