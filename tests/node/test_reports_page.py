"""Trial of the page about HL7, done as it stands there but for free ports."""

from __future__ import annotations

import os
import re
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
    search = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")]),
    }
    done = subprocess.run(
        ["bash", "-ec", f"trap 'kill %1 %2; wait' EXIT\n{commands}"],
        cwd=tmp_path, env=os.environ | search, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = done.stderr + (tmp_path / "node.log").read_text()
    lines = done.stdout.splitlines()
    assert len(lines) == 12, told
    assert [line[:3] for line in lines] == ["MSH", "PID", "OBR", *["OBX"] * 9]
    assert "Research use only" in lines[3]
