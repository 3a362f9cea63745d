"""Trial of the page about the node, done as it stands there but for free ports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "node.md"


def test_trying_the_node(
    node_factory: ModuleType, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    program("curl", "curl")
    section = PAGE.read_text("utf-8").partition("## Try it")[2].partition("\n## ")[0]
    (configuration,) = re.findall("^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (commands,) = re.findall("^```bash\n(demo=.*?)^```$", section, re.MULTILINE | re.DOTALL)
    node = node_factory.make_node(tmp_path / "node")
    free = (f"[node]\nport = {node.port}", f"[status]\nport = {node.status_port}")
    for table, with_port in zip(("[node]", "[status]"), free, strict=True):
        assert configuration.count(table) == 1
        configuration = configuration.replace(table, with_port)
    (node.folder / "node.toml").write_text(configuration)
    node.start()
    try:
        ours = commands.replace(" 11112 ", f" {node.port} ").replace(
            ":8104/", f":{node.status_port}/"
        )
        *sending, asking = ours.splitlines()
        assert asking.startswith("curl ")

        def shell(lines: list[str]) -> str:
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            return subprocess.run(
                ["bash", "-ec", "\n".join(lines)], env=os.environ | {"PATH": path},
                capture_output=True, text=True, check=True, timeout=120,
            ).stdout  # fmt: skip

        shell(sending)
        # Without the ECG before, where that came later than a busy machine had patience.
        node_factory.wait_for(lambda: any(done["ecg"] for done in node.events("study_done")))
        found = json.loads(shell([asking]))
        assert (found["state"], found["objects"]) == ("done", 10)
        assert found["result"]["ecg"]["weight"] > 0.9
        assert "/studies/1/pdf" in [file["path"] for file in found["files"]]
        assert "/studies/1/pdf" in section
    finally:
        assert node.stop() == 0
