"""Facts about the GPU from NVIDIA's driver, asked directly: no CUDA package needed, and fast."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

_COMPUTE_MAJOR: Final = 75
_COMPUTE_MINOR: Final = 76
"""CUdevice_attribute values of the CUDA driver API."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU that CUDA sees."""

    name: str
    compute_capability: tuple[int, int]
    driver: int
    """CUDA version that the driver supports, 1000 · major + 10 · minor."""


@cache
def nvidia_gpu() -> Gpu | None:
    """The first NVIDIA GPU, or None where driver or device are missing."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, device, driver = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    major, minor = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    calls: tuple[Callable[[], int], ...] = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDriverGetVersion(ctypes.byref(driver)),
        lambda: cuda.cuDeviceGetCount(ctypes.byref(count)),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),
        lambda: cuda.cuDeviceGetName(name, len(name), device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, device),
        lambda: cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, device),
    )
    if any(call() != 0 for call in calls) or count.value < 1:
        return None
    return Gpu(name.value.decode(errors="replace"), (major.value, minor.value), driver.value)


if __name__ == "__main__":
    sys.exit(0 if nvidia_gpu() else "no NVIDIA GPU or driver")
