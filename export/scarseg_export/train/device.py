"""Device and precision of training."""

from __future__ import annotations

from typing import Any

import torch

from scarseg_runtime.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")


def training_device(name: str) -> torch.device:
    """The device called ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``.

    Raises:
        UsageError: CUDA was asked for and cannot be used.
    """
    if name not in DEVICES:
        raise UsageError(f"unknown device {name!r}", f"Known: {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("this PyTorch sees no CUDA device", "Pass --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def bf16_pays(device: torch.device) -> bool:
    """True where convolutions in BF16 are faster than in FP32: on GPUs, and on CPUs that have it
    (AMX or AVX512-BF16; elsewhere it is emulated)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    tell = getattr(torch.cpu, "get_capabilities", None)  # PyTorch before 2.13 has none
    known: dict[str, Any] = tell() if tell is not None else {}
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))
