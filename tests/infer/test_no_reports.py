"""Nothing is reported to anybody, seen from outside of the process: libraries have threads, sockets
and files of their own, of which Python's audit events know nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HOST = """
import os, sys, time
from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
before = dict(os.environ)
with Segmenter.from_model(provider=sys.argv[1], threads=1) as segmenter:
    segmenter.run(DEMO_STUDY, DEMO_ECG)
assert dict(os.environ) == before
assert sys.argv[2] in sys.modules
time.sleep(float(sys.argv[3]))
"""
QUIET_IN = ("CI", "GITHUB_", "TEAMCITY", "TF_BUILD", "JENKINS", "TRAVIS", "ORT_", "XDG_")
"""Variables with which libraries report nothing, and those of folders."""
FIRST_REPORT_S = 12
"""ONNX Runtime 1.32 asks for its makers' address within this time."""


def at_home(home: Path) -> dict[str, str]:
    """The environment of a user whose home folder is new."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(QUIET_IN)}
    folders = ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")
    return kept | dict.fromkeys(folders, str(home))


def files_below(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("provider", "library"), [("cpu", "onnxruntime"), ("openvino",) * 2])
def test_a_run_leaves_nothing_in_the_home_folder_but_our_cache(
    provider: str, library: str, tmp_path: Path
) -> None:
    if provider == "openvino":
        pytest.importorskip("openvino", reason="extra openvino is not installed")
    subprocess.run(
        [sys.executable, "-c", HOST, provider, library, "0"], env=at_home(tmp_path), check=True
    )
    left = [path for path in files_below(tmp_path) if path.parts[0] != "scarseg-infer"]
    assert left == []


def test_a_run_asks_for_no_address_and_talks_to_nobody(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    trace, home = tmp_path / "trace", tmp_path / "home"
    home.mkdir()
    strace = [program("strace", "strace"), "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    subprocess.run(
        [*strace, sys.executable, "-c", HOST, "cpu", "onnxruntime", str(FIRST_REPORT_S)],
        env=at_home(home), check=True,
    )  # fmt: skip
    spoken = re.findall(r".*\b(?:connect|sendto|sendmsg|sendmmsg)\(.*", trace.read_text())
    assert [line for line in spoken if "AF_UNIX" not in line] == []
