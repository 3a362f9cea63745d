"""Machine that a benchmark ran on; nothing that names a person, host or path."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scarseg_runtime.cores import usable_cores

PACKAGES = ("scarseg-infer", "numpy", "onnxruntime", "torch", "openvino",
            "tensorrt", "tensorrt-rtx", "nnunetv2")  # fmt: skip
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def machine() -> dict[str, Any]:
    """CPU, its instruction sets, cores, system and versions."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    entries = {name.strip(): value.strip() for name, value in pairs}
    return {
        "cpu": entries.get("model name", platform.processor()),
        "instructions": [flag for flag in FLAGS if flag in entries.get("flags", "").split()],
        "cores": usable_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
