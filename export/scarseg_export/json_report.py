"""The file of ``--report``: what a command found, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scarseg_runtime.whole import not_written, whole_file


def write_report(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` where a report was asked for. Raises OutputError."""
    if path is None:
        return
    try:
        with whole_file(path) as part:
            part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise not_written("the JSON report", error) from error
