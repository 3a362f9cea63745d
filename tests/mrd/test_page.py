"""The page's way to try the server, done as it stands there but for a free port."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mrd.md").read_text("utf-8")


def test_trying_the_server(server: Any, mrd_factory: ModuleType, by_dicom: Any) -> None:
    section = PAGE.partition("## Try it")[2].partition("\n## ")[0]
    (client,) = re.findall("^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert client.count("9002") == 1
    done = subprocess.run(
        [sys.executable, "-c", client.replace("9002", str(server.port))],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:10] == ["1 as it came"] * 10
    volume = f"{by_dicom.quantities.scar_ml:.4f}"
    assert lines[10:40] == [f"{series} {volume}" for series in (2, 3, 4) for _ in range(10)]
    assert lines[40].startswith("Scar ")
    assert "weight 0.97" in done.stdout


def test_what_the_page_lists_is_there(server: Any, mrd_factory: ModuleType) -> None:
    from scarseg_infer.mrd.messages import Kind
    from scarseg_infer.mrd.options import Options

    def rows(head: str) -> str:
        return PAGE.partition(head)[2].partition("\n\n")[0]

    options = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", rows("| option |"), re.M)))
    )
    assert options == {one.name for one in fields(Options)}
    numbers = set(re.findall(r"\d+", "".join(re.findall(r"^\| (.*?) \|", rows("| type |"), re.M))))
    assert numbers == {str(int(kind)) for kind in Kind}
    told = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", rows("| attribute |"), re.M)))
    )
    answer = mrd_factory.exchange(server.port, mrd_factory.twin_images(name="LGE")[:3])
    meta = answer.made("scar_labels")[0].meta
    ours = {key for key in meta if re.match(r"(Scar|ImageOnly|LV|AHA|ECG|Model)[A-Za-z]*", key)}
    assert told == ours
