"""Distortion of mean beats: what recorders, electrodes and bodies do to an ECG beside scar.

Every record passes through all of it in training, simulated or real, so that the encoder does not
learn one recorder's habits: gain, misalignment, bandwidth, the bend that a one-way high-pass puts
into ST, electrodes off their places, an axis that is turned, a slower or faster beat, noise, drift.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scarseg_runtime.contract import BEAT_R_INDEX, ECG_RATE_HZ
from scarseg_runtime.ecg.beats import samples
from scarseg_runtime.preprocess import BASELINE_MS

GAIN, LEAD_GAIN = 0.15, 0.05
"""Standard deviations of the logarithms, of the whole record and of single leads."""
SHIFT_SAMPLES = 4.0
STRETCH, T_STRETCH = 0.03, 0.05
"""Standard deviations of the relative pace of the beat, and of what follows 80 ms after R."""
LOW_PASS_HZ = (14.0, 40.0)
HIGH_PASS_HZ = (0.05, 0.6)
FILTERED = 0.4
"""Share of records for each of the two filters."""
AXIS_DEG = 10.0
NEIGHBOUR = 0.12
"""Share of a chest lead's neighbours that it takes over (standard deviation): electrodes that lie
between their places."""
NOISE_MV, DRIFT_MV = 0.015, 0.03

_BASELINE = slice(*(BEAT_R_INDEX + samples(t) for t in BASELINE_MS))


def distort(beats: Tensor) -> Tensor:
    """Beats [N, 12, 512] as another recorder, electrode placement and day might give them."""
    count = len(beats)
    moved = _filtered(_replaced(_paced(beats)))
    moved = moved - moved[..., _BASELINE].mean(-1, keepdim=True)
    gain = torch.exp(GAIN * torch.randn(count, 1, 1) + LEAD_GAIN * torch.randn(count, 12, 1))
    drift = DRIFT_MV * torch.randn(count, 12, 1) * torch.linspace(-1, 1, beats.shape[-1])
    noise = NOISE_MV * 2 * torch.rand(count, 1, 1) * torch.randn_like(beats)
    return moved * gain + drift + noise


def _paced(beats: Tensor) -> Tensor:
    """Shifted by some ms, slower or faster about R, and T by itself a little."""
    count, _, length = beats.shape
    time = torch.arange(length, dtype=beats.dtype) - BEAT_R_INDEX
    pace = torch.exp(STRETCH * torch.randn(count, 1))
    late = torch.exp(T_STRETCH * torch.randn(count, 1))
    after = (time - samples(80.0)).clamp(min=0.0)
    source = time * pace + after * (late - 1.0) + SHIFT_SAMPLES * (2 * torch.rand(count, 1) - 1)
    source = (source + BEAT_R_INDEX).clamp(0, length - 1.001)
    low = source.floor()
    part = (source - low)[:, None, :]
    index = low.long()[:, None, :].expand(-1, beats.shape[1], -1)
    return beats.gather(2, index) * (1 - part) + beats.gather(2, index + 1) * part


def _replaced(beats: Tensor) -> Tensor:
    """Axis turned in the frontal plane, chest electrodes between their places; limb leads stay
    consistent with each other."""
    count = len(beats)
    one, two = beats[:, 0], beats[:, 1]
    down = (2 * two - one) / math.sqrt(3.0)
    turn = torch.deg2rad(AXIS_DEG * torch.randn(count, 1))
    left = torch.cos(turn) * one - torch.sin(turn) * down
    down = torch.sin(turn) * one + torch.cos(turn) * down
    one, two = left, (math.sqrt(3.0) * down + left) / 2
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    chest = beats[:, 6:]
    common = torch.randn(count, 1, 1)
    share = NEIGHBOUR * (0.7 * common + 0.7 * torch.randn(count, 6, 1))
    right = torch.cat([chest[:, :1], chest[:, :-1]], 1)
    beyond = torch.cat([chest[:, 1:], chest[:, -1:]], 1)
    neighbour = torch.where(share > 0, beyond, right)
    chest = chest + share.abs() * (neighbour - chest)
    return torch.cat([torch.stack(limb, 1), chest], 1)


def _filtered(beats: Tensor) -> Tensor:
    """Less bandwidth in some records, and in some the bend of a one-way high-pass."""
    count, _, length = beats.shape
    frequency = torch.fft.rfftfreq(length, 1.0 / ECG_RATE_HZ)
    low = _drawn(count, LOW_PASS_HZ)
    gain = torch.where(_some(count), 1.0 / (1.0 + (frequency / low) ** 4), 1.0).to(torch.complex64)
    corner = 1j * frequency / _drawn(count, HIGH_PASS_HZ)
    gain = gain * torch.where(_some(count), corner / (1.0 + corner), 1.0 + 0j)
    return torch.fft.irfft(torch.fft.rfft(beats) * gain[:, None, :], length)


def _drawn(count: int, limits: tuple[float, float]) -> Tensor:
    """[N, 1] log-uniform between two limits."""
    first, last = (math.log(limit) for limit in limits)
    return torch.exp(first + (last - first) * torch.rand(count, 1))


def _some(count: int) -> Tensor:
    return torch.rand(count, 1) < FILTERED
