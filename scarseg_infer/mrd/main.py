"""``scarseg-mrd``: the command line, start-up and an orderly end."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scarseg_infer.host.quiet import silence_libraries
from scarseg_runtime.console import CommandParser, run_console
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.install import install_command
from scarseg_runtime.providers.registry import PRECISIONS, PROVIDERS
from scarseg_runtime.version import __version__

_QUERY_PACKAGES: Final = ("pynetdicom", "msgspec")
"""Packages of the extra ``node``."""
_TALKATIVE: Final = ("pydicom", "pynetdicom")
_PORT: Final = 9002
"""The port that MRD names."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = CommandParser(
        prog="scarseg-mrd",
        description="Serve scanners that stream images by the MRD protocol (FIRE, OpenRecon, "
        "Gadgetron clients): find the LGE stack among them and send scar back. Research use only. "
        "Not a medical device.",
    )
    add = found.add_argument
    add("--address", default="127.0.0.1", help="to listen on (default: %(default)s)")
    add("--port", type=_whole(1, 65535), default=_PORT, help="default: %(default)s")
    add("--ecg", type=Path, metavar="PATH", help="an ECG for every session, or a folder in which "
        "the newest of the same patient is looked for")  # fmt: skip
    add("--ecg-query", type=Path, metavar="NODE.toml", help="configuration of scarseg-node: its "
        "[ecg_query] is asked for an ECG where --ecg has none of the patient")  # fmt: skip
    add("--model", type=Path, metavar="FILE", help="default: the model that is shipped")
    add("--provider", choices=("auto", *(one.name for one in PROVIDERS)), default="auto",
        help="default: the best that runs here")  # fmt: skip
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--threads", type=_whole(1, 1024), metavar="N", help="cores to compute on")
    add("--sessions", type=_whole(1, 100), default=4, metavar="N",
        help="at the same time (default: %(default)s)")  # fmt: skip
    add("--message-mb", type=_whole(1, 4096), default=256, metavar="MB",
        help="the largest message (default: %(default)s)")  # fmt: skip
    add("--session-mb", type=_whole(1, 65536), default=1024, metavar="MB",
        help="images that one session keeps (default: %(default)s)")  # fmt: skip
    add("--idle-s", type=_seconds, default=600.0, metavar="S",
        help="silence after which a session is ended (default: %(default)g)")  # fmt: skip
    add("--session-s", type=_seconds, default=7200.0, metavar="S",
        help="longest session (default: %(default)g)")  # fmt: skip
    add("--timeout-s", type=_seconds, default=600.0, metavar="S",
        help="time for computing one result (default: %(default)g)")  # fmt: skip
    add("--check", action="store_true",
        help="only check the model's provider and the path of ECGs, then end")  # fmt: skip
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see docs/reference/exit-codes.md)."""
    arguments = parser().parse_args(argv)
    if find_spec("ismrmrd") is None:
        sys.stderr.write(f"scarseg-mrd: ismrmrd is missing. {install_command('mrd')}\n")
        return UsageError.exit_code
    silence_libraries(*_TALKATIVE)
    try:
        _check_ecg(arguments)
        if arguments.check:
            sys.stdout.write(f"ok: model on {_model_on(arguments)}\n")
            return 0
        return _serve(arguments)
    except ScarsegError as error:
        sys.stderr.write(f"scarseg-mrd: {error}\n")
        return error.exit_code


def run() -> None:
    """Entry point of the console script."""
    sys.exit(run_console("scarseg-mrd", main))


def _serve(arguments: argparse.Namespace) -> int:
    from scarseg_infer.mrd.connection import Limits
    from scarseg_infer.mrd.ecg import EcgShelf
    from scarseg_infer.mrd.segmenters import Segmenters
    from scarseg_infer.mrd.server import Server
    from scarseg_infer.mrd.session import Shared
    from scarseg_infer.node.log import Log

    silence_libraries(*_TALKATIVE)  # ismrmrd sets filters of its own while it is imported
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log = Log(sys.stdout)
    segmenters = Segmenters(
        arguments.model, arguments.provider, arguments.precision, arguments.threads
    )
    limits = Limits(
        message_bytes=arguments.message_mb << 20, session_bytes=arguments.session_mb << 20,
        idle_s=arguments.idle_s, session_s=arguments.session_s, run_s=arguments.timeout_s,
    )  # fmt: skip
    archive = None
    if arguments.ecg_query is not None:
        from scarseg_infer.mrd.archive import ArchiveQuery

        archive = ArchiveQuery(arguments.ecg_query, log, stop)
    shared = Shared(segmenters, EcgShelf(arguments.ecg, archive), limits, log, stop)
    server = Server(shared, arguments.address, arguments.port, arguments.sessions)
    segmenter = segmenters.get()
    segmenter.warm_up()
    log.write(
        "started", version=__version__, port=arguments.port,
        provider=segmenter.model_use().provider, ecg=arguments.ecg is not None,
        ecg_query=archive is not None,
    )  # fmt: skip
    server.run()
    log.write("stopped")
    return 0


def _model_on(arguments: argparse.Namespace) -> str:
    """Provider that the model would run on, as ``provider precision``."""
    from scarseg_infer.models import model_path
    from scarseg_runtime.model_file.read import with_half_variant
    from scarseg_runtime.providers.registry import candidates, choose

    with model_path(arguments.model) as path:
        chosen = choose(
            candidates(with_half_variant(path)), arguments.provider, arguments.precision
        )
    return f"{chosen.provider.name} {chosen.precision}"


def _check_ecg(arguments: argparse.Namespace) -> None:
    """Raises UsageError where what is to give ECGs is not there."""
    path = arguments.ecg
    names = [] if path is None else [path, path.with_suffix(".hea"), path.with_suffix(".dat")]
    if names and not any(name.exists() for name in names):  # a WFDB record has a name without any
        raise UsageError("--ecg is neither a file nor a folder", "Correct its path")
    if arguments.ecg_query is None:
        return
    if missing := next((name for name in _QUERY_PACKAGES if find_spec(name) is None), None):
        raise UsageError(f"--ecg-query needs {missing}", install_command("node"))
    from scarseg_infer.mrd.archive import archive_in
    from scarseg_infer.node.config import read_config

    archive_in(read_config(arguments.ecg_query))


def _whole(low: int, high: int) -> Callable[[str], int]:
    """A type of argparse: a whole number within bounds."""

    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"not from {low} to {high}")
        return value

    return number


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError("not from 0.1 to 86400 seconds")
    return value


if __name__ == "__main__":
    run()
