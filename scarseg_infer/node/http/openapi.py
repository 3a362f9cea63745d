"""The description of the node's HTTP, as it is served."""

from __future__ import annotations

import json
from collections.abc import Collection
from importlib import resources
from typing import Any, Final

from scarseg_runtime.version import __version__

RESULT: Final = "Result"
"""The component that in ``openapi.json`` refers to the schema of result.json."""


def description(paths: Collection[str]) -> bytes:
    """``openapi.json`` (OpenAPI 3.1) with the schema of result.json put in, for these paths."""
    package = resources.files("scarseg_infer")
    found: dict[str, Any] = json.loads((package / "node/http/openapi.json").read_text("utf-8"))
    inside = f'"$ref": "#/components/schemas/{RESULT}/'
    schema = (package / "schema/result.schema.json").read_text("utf-8")
    result = json.loads(schema.replace('"$ref": "#/', inside))
    del result["$schema"]  # only the root of a document may say it
    found["components"]["schemas"][RESULT] = result
    found["info"]["version"] = __version__
    found["paths"] = {path: item for path, item in found["paths"].items() if path in paths}
    return json.dumps(found).encode()
