"""Pinned memory, marks on a stream and waiting: all that the GPU rows ask of a device.

:class:`CudaTiming` is the one place that calls CUDA. A test has the same for the CPU, so that all
around it is tested where there is no GPU.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Timing(Protocol):
    """One device and its clock."""

    device: torch.device

    def pinned(self, like: Tensor) -> Tensor:
        """Memory of the host that copies reach without a detour, of the shape and type of ``like``,
        which may lie on the device."""

    def mark(self) -> Any:
        """A place in the order of the device's work."""

    def between_s(self, first: Any, second: Any) -> float:
        """Time that the device took from one mark to another, both reached."""

    def wait(self) -> None:
        """Until all work is done."""


class CudaTiming:
    """The first CUDA device."""

    def __init__(self) -> None:
        self.device = torch.device("cuda", 0)

    def pinned(self, like: Tensor) -> Tensor:
        """Page-locked memory."""
        return torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=True)

    def mark(self) -> torch.cuda.Event:
        """An event on the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between_s(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        """From the GPU's own clock."""
        return first.elapsed_time(second) / 1000.0

    def wait(self) -> None:
        """Synchronise the device."""
        torch.cuda.synchronize()
