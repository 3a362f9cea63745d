"""Machine that a benchmark ran on; nothing that names a person, host or path."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scarseg_runtime.cores import usable_cores

PACKAGES = ("scarseg-infer", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "openvino",
            "tensorrt", "tensorrt-rtx", "nnunetv2")  # fmt: skip
GPU_FACTS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw",
             "temperature.gpu")  # fmt: skip
"""As nvidia-smi names them; clocks in MHz, W, °C."""
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
        "gpu": gpu(),
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def gpu() -> dict[str, str] | None:
    """The first GPU, its driver and its clocks now, by NVIDIA's own tool; None without it."""
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FACTS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return gpu_facts(done.stdout)


def gpu_facts(text: str) -> dict[str, str] | None:
    """The first line of nvidia-smi's answer."""
    values = [value.strip() for value in text.partition("\n")[0].split(",")]
    return dict(zip(GPU_FACTS, values, strict=True)) if len(values) == len(GPU_FACTS) else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
