"""The order of writes, as the operating system saw it: this is what a loss of power tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

RECEIVE = """
import sys
from io import StringIO
from pathlib import Path
from scarseg_infer.node.config import read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.dicom.receive import Receiver
from scarseg_infer.node.queue.storage import Storage

config = read_config(Path(sys.argv[1]))
storage = Storage(config.node.data)
receiver = Receiver(config, storage, Queue(storage), Counters(), Log(StringIO()))
receiver.start()
print("listening", flush=True)
sys.stdin.read()
receiver.stop(5)
"""
PUBLISH = """
import sys
from pathlib import Path
from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.storage import Storage

storage = Storage(Path(sys.argv[1]))
queue = Queue(storage)
queue.add(Arrival("1.1", "1.2", "image", "p", "", "", b"data", 0))
(study,) = queue.complete(0)
out = storage.root / "work" / "out"
out.mkdir()
for name in ("scar.dcm", "report-sr.dcm"):
    (out / name).write_bytes(b"result")
print("published", flush=True)
files = [ResultFile("seg", "scar.dcm", "9.1", "1.2"), ResultFile("sr", "report-sr.dcm", "9.2", "1")]
assert Outbox(storage).publish(study, out, files, ["peer"], "digest", with_ecg=False)
"""
P_DATA = r'"\4\0'
"""Start of a PDU with an answer to C-STORE, as strace shows it."""


CALLS = "trace=fsync,fdatasync,sendto,rename,renameat,renameat2,write"


@pytest.fixture
def strace(program: Callable[[str, str], str], tmp_path: Path) -> list[str | Path]:
    """The start of a command line that writes system calls to the file ``trace``."""
    found = program("strace", "strace")
    if subprocess.run([found, "-o", tmp_path / "x", "true"]).returncode:
        message = "tracing is not allowed here"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return [found, "-f", "-y", "-s", "12", "-e", CALLS, "-o", tmp_path / "trace", sys.executable]


def traced(tmp_path: Path, what: Callable[[str], str]) -> list[str]:
    lines = (tmp_path / "trace").read_text().splitlines()
    return [step for line in lines if (step := what(line))]


def test_answer_comes_after_object_name_and_row_are_on_the_disk(
    node_factory: ModuleType, tmp_path: Path, strace: list[str | Path]
) -> None:
    node = node_factory.make_node(tmp_path)
    with subprocess.Popen(
        [*strace, "-c", RECEIVE, tmp_path / "node.toml"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        images = node_factory.demo_study()[:3]
        assert node_factory.send(node.port, images) == [0, 0, 0]
        process.communicate("", 30)
    steps = traced(tmp_path, received)
    answers = [index for index, step in enumerate(steps) if step == "answer"]
    assert len(answers) == len(images)
    start = steps.index("sync object")
    folder = ["sync folders"]  # of the study: new with its first object
    for answer in answers:
        expected = ["sync object", *folder, "rename", "sync folder", "sync row"]
        assert steps[start:answer] == expected
        start, folder = answer + 1, []


def received(line: str) -> str:
    """Subject of a line of the trace; empty for all the rest."""
    if "sendto(" in line and P_DATA in line:
        return "answer"
    if "rename" in line and "/incoming/" in line:
        return "rename"
    if "fsync(" in line and "/incoming/" in line:
        return "sync object"
    if "fsync(" in line and "/objects>" in line:
        return "sync folders"
    if "fsync(" in line and "/objects/" in line:
        return "sync folder"
    return "sync row" if "fdatasync(" in line and "-wal>" in line else ""


def test_results_are_on_the_disk_before_anybody_may_send_them(
    tmp_path: Path, strace: list[str | Path]
) -> None:
    subprocess.run([*strace, "-c", PUBLISH, tmp_path / "data"], check=True, timeout=60)
    steps = traced(tmp_path, published)
    expected = ["sync file", "sync file", "sync names", "rename", "sync folder", "sync row"]
    assert steps[steps.index("start") + 1 :][: len(expected)] == expected


def published(line: str) -> str:
    """The same for a result."""
    if "write(" in line and '"published' in line:
        return "start"
    if "rename" in line and "/work/out" in line:
        return "rename"
    if "fsync(" in line and "/work/out/" in line:
        return "sync file"
    if "fsync(" in line and "/work/out>" in line:
        return "sync names"
    if "fsync(" in line and "/results>" in line:
        return "sync folder"
    return "sync row" if "fdatasync(" in line and "-wal>" in line else ""
