"""The order of writes, as the operating system saw it: this is what a loss of power tests."""

from __future__ import annotations

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
from scarseg_infer.node.queue import Queue
from scarseg_infer.node.receive import Receiver
from scarseg_infer.node.storage import Storage

config = read_config(Path(sys.argv[1]))
storage = Storage(config.data)
receiver = Receiver(config, storage, Queue(storage), Counters(), Log(StringIO()))
receiver.start()
print("listening", flush=True)
sys.stdin.read()
receiver.stop(5)
"""
P_DATA = r'"\4\0'
"""How strace shows the start of a PDU with an answer to C-STORE."""


def test_answer_comes_after_object_name_and_row_are_on_the_disk(
    node_factory: ModuleType, tmp_path: Path, program: Callable[[str, str], str]
) -> None:
    strace = program("strace", "strace")
    if subprocess.run([strace, "-o", tmp_path / "x", "true"]).returncode:
        pytest.skip("tracing is not allowed here")
    node = node_factory.make_node(tmp_path)
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,sendto,rename,renameat,renameat2"
    with subprocess.Popen(
        [strace, "-f", "-y", "-s", "8", "-e", calls, "-o", trace,
         sys.executable, "-c", RECEIVE, tmp_path / "node.toml"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        images = node_factory.demo_study()[:3]
        assert node_factory.send(node.port, images) == [0, 0, 0]
        process.communicate("", 30)
    steps = [step for line in trace.read_text().splitlines() if (step := what(line))]
    answers = [index for index, step in enumerate(steps) if step == "answer"]
    assert len(answers) == len(images)
    start = steps.index("sync object")
    for answer in answers:
        between = [step for step in steps[start:answer] if step != "sync objects"]
        assert between == ["sync object", "rename", "sync folder", "sync row"], between
        start = answer + 1


def what(line: str) -> str:
    """What a line of the trace is about; empty for all the rest."""
    if "sendto(" in line and P_DATA in line:
        return "answer"
    if "rename" in line and "/incoming/" in line:
        return "rename"
    if "fsync(" in line and "/incoming/" in line:
        return "sync object"
    if "fsync(" in line and "/objects>" in line:
        return "sync objects"
    if "fsync(" in line and "/objects/" in line:
        return "sync folder"
    return "sync row" if "fdatasync(" in line and "-wal>" in line else ""
