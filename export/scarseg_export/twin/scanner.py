"""Looks of one acquisition: contrast, coil bias, ghosts, noise, blur, stored pixel values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """Appearance of one acquisition. Amplitudes in units of blood − myocardium."""

    scar: float
    scar_patches: float
    """Amount by which its brightness varies over a few mm, relative."""
    scar_border_mm: float
    """Width over which scar goes over into healthy wall."""
    rv_blood: float
    fat: float
    noise: float
    texture: float
    blood_streaks: float
    slow_flow: float
    """Brighter blood along the endocardium."""
    trabeculae: float
    """Darker strands along the endocardium, part of the cavity."""
    magnitude_offset: float | None
    """None for PSIR; else remote myocardium's signal before taking the magnitude."""
    bias: float
    ghost: float
    blur_mm: float
    gain: float
    offset: float


def sample_look(rng: np.random.Generator) -> Look:
    """Draw an acquisition, from clean PSIR to a noisy, badly nulled magnitude image."""
    magnitude = rng.random() < 0.35
    return Look(
        # Most scars are about as bright as blood: the endocardial border is the hard part.
        scar=rng.uniform(0.8, 1.2) if rng.random() < 0.6 else rng.uniform(0.45, 1.5),
        scar_patches=rng.uniform(0.0, 0.4),
        scar_border_mm=rng.uniform(0.0, 5.0),
        rv_blood=rng.uniform(0.8, 1.15),
        fat=_fat(rng.random()),
        noise=float(np.exp(rng.uniform(np.log(0.015), np.log(0.2)))),
        texture=rng.uniform(0.0, 0.12),
        blood_streaks=0.3 * rng.random() ** 2.5,
        slow_flow=0.4 * rng.random() ** 2,
        trabeculae=0.8 * rng.random() ** 2,
        magnitude_offset=rng.uniform(-0.25, 0.3) if magnitude else None,
        bias=rng.uniform(0.0, 0.25),
        ghost=rng.uniform(0.0, 0.08) if rng.random() < 0.3 else 0.0,
        blur_mm=rng.uniform(1.0, 2.4),
        gain=float(np.exp(rng.uniform(np.log(80.0), np.log(900.0)))),
        offset=rng.uniform(0.0, 1500.0),
    )


def _fat(draw: float) -> float:
    """Signal of fat: suppressed in three of ten acquisitions, else as bright as blood or more.

    Where it is bright, epicardial scar beside it cannot be seen.
    """
    return 0.1 + 2.0 * draw if draw < 0.3 else 0.9 + 0.9 * (draw - 0.3) / 0.7


def acquire(
    rng: np.random.Generator, image: FloatArray, look: Look, spacing_mm: float
) -> FloatArray:
    """Coil bias, ghosts, noise, magnitude, blur and scaling to stored pixel values."""
    bias = np.exp(look.bias * smooth(rng, (1, *image.shape[1:]), spacing_mm, 90.0))
    signal = image * bias
    if look.ghost:
        signal = signal + look.ghost * np.roll(image, int(rng.integers(20, 80)), axis=1)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(look.noise)
    if rng.random() < 0.5:  # interpolated reconstructions have correlated noise
        noise = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) * np.float32(0.6)
    signal = signal + noise
    if look.magnitude_offset is not None:
        signal = np.abs(signal + look.magnitude_offset)
        lowest = 0.0
    else:
        lowest = float(signal.min())
    pixels = (signal - lowest) * look.gain + (look.offset if look.magnitude_offset is None else 0)
    return np.clip(np.rint(pixels), 0, 4095 * 4).astype(np.float32)


def smooth(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: float, size_mm: float
) -> FloatArray:
    """Smooth random field of about unit standard deviation, features of ``size_mm``."""
    slices, rows, columns = shape
    up, across = (
        _interpolation(n, max(4, int(n * spacing_mm / size_mm) + 3)) for n in (rows, columns)
    )
    seeds = rng.standard_normal((slices, up.shape[1], across.shape[1]), dtype=np.float32)
    return (up @ seeds @ across.T * np.float32(1.6)).astype(np.float32)


def _interpolation(samples: int, knots: int) -> FloatArray:
    """[samples, knots] weights of smooth (raised-cosine) interpolation between knots."""
    position = np.linspace(0.5, knots - 1.5, samples)
    distance = np.abs(position[:, None] - np.arange(knots)[None, :])
    return np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0.0).astype(np.float32)
