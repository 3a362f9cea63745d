"""The file of ``--report``: what a command found, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scarseg_runtime.errors import OutputError


def write_report(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` where a report was asked for. Raises OutputError."""
    if path is None:
        return
    try:
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError("the JSON report cannot be written", "Check --report") from error
