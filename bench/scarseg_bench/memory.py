"""Resident memory of this process, now and at its peak, and memory of the GPU."""

from __future__ import annotations

import ctypes
import runpy
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_rss_mb() -> float:
    """Peak resident memory in MB; NaN where the system does not tell (Windows without psutil).

    Not ``ru_maxrss`` on Linux: there a process that was just started inherits its parent's peak.
    """
    kept = _status_mb("VmHWM")
    if kept is not None:
        return kept
    try:
        import resource
    except ImportError:
        return _peak_by_psutil()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def current_rss_mb() -> float:
    """Resident memory now in MB; NaN outside Linux."""
    now = _status_mb("VmRSS")
    return float("nan") if now is None else now


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t of NVIDIA's management library."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def device_used_mb() -> float | None:
    """Memory in use on the first GPU by all processes, in MB; None without NVIDIA's driver.

    From the management library, which makes no CUDA context of its own as asking CUDA would.
    """
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        nvml = ctypes.CDLL(name)
    except OSError:
        return None
    device, memory = ctypes.c_void_p(), _NvmlMemory()
    calls = (
        nvml.nvmlInit_v2(),
        nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)),
        nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)),
    )
    return None if any(calls) else memory.used / 1e6


def _status_mb(name: str) -> float | None:
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(name + ":")), None)
    return None if found is None else int(found.split()[1]) * 1024 / 1e6


def _peak_by_psutil() -> float:
    try:
        import psutil
    except ImportError:
        return float("nan")
    return float(psutil.Process().memory_info().peak_wset) / 1e6


def main() -> None:
    """Run a module as ``python -m`` does, then print this process's peak memory in MB."""
    _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code:
            raise
    print(peak_rss_mb())


if __name__ == "__main__":
    main()
