"""Trial of the page with a FHIR server, done as it stands there but for a free port."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from scarseg_infer.cli import main
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "reports.md"
SERVER = Path(__file__).with_name("fhir_server.mjs")
COUNT = 20
"""Resources: a report, the ventricle, 17 segments, the device."""


def test_trying_it_with_a_fhir_server(
    program: Callable[[str, str], str], free_ports: Callable[[int], list[int]], tmp_path: Path
) -> None:
    """Posted twice, the bundle creates every resource once, and its references lead to them."""
    for tool in ("node", "npm", "curl"):
        program(tool, tool)
    section = PAGE.read_text("utf-8").partition("### Try it with a FHIR server")[2]
    (commands,) = re.findall("^```bash\n(.*?)^```$", section.partition("\n## ")[0], re.M | re.S)
    (port,) = free_ports(1)
    commands = commands.replace("8103", str(port))
    (tmp_path / "tests" / "infer").mkdir(parents=True)
    shutil.copy(SERVER, tmp_path / "tests" / "infer")
    written = ["--only", "fhir", "-o", str(tmp_path / "out-fhir"), "--threads", "1"]
    assert main([str(DEMO_STUDY), str(DEMO_ECG), *written]) == 0
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        ["bash", "-ec", f"{commands.replace('kill %1', 'read; kill %1')}"],
        cwd=tmp_path, env=os.environ | {"PATH": path}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    printed = [process.stdout.readline() for _ in range(2)]
    try:
        found = {kind: _all(port, kind) for kind in ("DiagnosticReport", "Observation", "Device")}
    finally:
        _, errors = process.communicate("\n", timeout=60)
    assert printed == [f"{[status] * COUNT}\n" for status in ("201", "200")], errors
    assert sum(map(len, found.values())) == COUNT
    (report,), (device,) = found["DiagnosticReport"], found["Device"]
    names = {f"Observation/{one['id']}" for one in found["Observation"]}
    assert {one["reference"] for one in report["result"]} == names
    devices = {one["device"]["reference"] for one in found["Observation"]}
    assert devices == {f"Device/{device['id']}"}


def _all(port: int, kind: str) -> list[dict]:
    with urlopen(f"http://127.0.0.1:{port}/{kind}?_count=100", timeout=30) as answer:
        return [entry["resource"] for entry in json.load(answer).get("entry", [])]
