"""Trial with Orthanc of the page about DICOMweb, done as it stands there but for ports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "dicomweb.md"
ROOT = Path(__file__).parents[2]


def test_trying_it_with_orthanc(
    program: Callable[[str, str], str], free_ports: Callable[[int], list[int]],
    web_peers: ModuleType, tmp_path: Path,
) -> None:  # fmt: skip
    program("curl", "curl")
    program("Orthanc", "orthanc")
    assert web_peers.plugin() is not None, "install orthanc-dicomweb"
    section = PAGE.read_text("utf-8").partition("## Try it")[2].partition("\n## ")[0]
    (commands,) = re.findall("^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for port, free in zip(("8042", "4242"), free_ports(2), strict=True):
        assert port in commands
        commands = commands.replace(port, str(free))
    commands = commands.replace("scarseg-infer ", f"{sys.executable} -m scarseg_infer.cli ")
    commands = commands.replace("python -c", f"{sys.executable} -c")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}
    done = subprocess.run(
        ["bash", "-ec", f"trap 'kill %1; wait' EXIT\n{commands}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the newest of the patient on the server was used" in done.stderr
    document = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert document["ecg"]["weight"] > 0.9
