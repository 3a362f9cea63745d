"""Trial of the page about HL7, done as it stands there but for free ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "reports.md"
ROOT = Path(__file__).parents[2]


def test_trying_it_with_a_receiver(free_ports: Callable[[int], list[int]], tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").partition("### Try it with a receiver")[2]
    (receiver,), (configuration,), (commands,) = (
        re.findall(f"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        for language in ("python", "toml", "bash")
    )
    mllp, dicom, status = (str(port) for port in free_ports(3))
    configuration = configuration.replace("[node]\n", f"[node]\nport = {dicom}\n")
    configuration = configuration.replace("2575", mllp) + f"\n[status]\nport = {status}\n"
    (tmp_path / "receiver.py").write_text(receiver.replace("2575", mllp))
    (tmp_path / "try.toml").write_text(configuration)
    assert commands.count("11112") == 3
    commands = commands.replace("11112", dicom)
    commands = commands.replace("scarseg-node ", "python -m scarseg_infer.node.main ")
    # Nothing is waited for without an end: not for a process that has died, nor for a client.
    assert commands.count("do sleep") == 2 and commands.count("python -m pynetdicom") == 2
    commands = commands.replace("do sleep", "do kill -0 %1; kill -0 %2; sleep")
    commands = commands.replace("python -m pynetdicom", "timeout 100 python -m pynetdicom")
    search = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")]),
    }
    bash = subprocess.Popen(
        ["bash", "-ec", f"trap 'kill %1 %2; wait' EXIT\n{commands}"],
        cwd=tmp_path, env=os.environ | search, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        shown, told = bash.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(bash.pid, signal.SIGKILL)  # its jobs hold the pipes
        shown, told = bash.communicate(timeout=60)
    lines = shown.splitlines()
    assert len(lines) == 12, told + (tmp_path / "node.log").read_text()
    assert [line[:3] for line in lines] == ["MSH", "PID", "OBR", *["OBX"] * 9]
    assert "Research use only" in lines[3]
