"""pydicom imported without its downloaders, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("requests")


@pytest.mark.parametrize("before", ["", "import requests", "import pydicom"])
def test_pydicom_comes_without_its_downloaders_and_they_can_follow(before: str) -> None:
    """Modules that a host has imported stay as they are."""
    code = f"""
import sys
{before}
there = {{name for name in ("requests", "tqdm") if name in sys.modules}}
from scarseg_infer.host.import_pydicom import import_pydicom
import_pydicom()
assert "pydicom" in sys.modules
assert {{name for name in ("requests", "tqdm") if name in sys.modules}} == there, sys.modules
import requests, pydicom.data
assert requests.get and pydicom.dcmread
"""
    subprocess.run([sys.executable, "-c", code], check=True)
