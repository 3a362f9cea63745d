"""Shape of the simulated heart, in heart coordinates (angle, long axis, wall depth).

Heart coordinates of a point:
    angle   degrees from the anterior RV insertion, anticlockwise in the standard short-axis
            display (septum = 0–120°, as in :mod:`scarseg_runtime.atlas`)
    level   position along the long axis, 0 base plane … 1 epicardial apex
    depth   0 at the endocardium … 1 at the epicardium
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.atlas import SEPTUM_DEG

FloatArray = NDArray[np.float32]

ANGLE_BINS = 180
_ANGLES = np.arange(ANGLE_BINS) * (2 * np.pi / ANGLE_BINS)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One heart. Lengths in mm, angles in degrees unless a name says otherwise."""

    length_mm: float
    """Base plane to epicardial apex."""
    cavity_end: float
    """Level at which the cavity closes (the apical cap, segment 17, lies beyond)."""
    widest_level: float
    epi_radius_mm: float
    wall_mm: float
    insertion_deg: float
    """Display angle of the anterior RV insertion (anticlockwise from image right)."""
    septum_deg: float
    """Angle between the RV insertions; 120 by definition, varied a little between hearts."""
    epi_shape: FloatArray
    """[ANGLE_BINS] relative epicardial radius over angle."""
    wall_shape: FloatArray
    """[ANGLE_BINS] relative wall thickness over angle."""
    rv_width_mm: float
    rv_end: float
    """Level at which the RV ends."""
    tilt_mm: tuple[float, float]
    """In-plane shift of the LV centre from base to apex (columns, rows)."""
    papillary_deg: tuple[float, float]
    papillary_mm: tuple[float, float]

    def epi_profile(self, level: FloatArray) -> FloatArray:
        """Relative epicardial radius along the long axis, 0 beyond the apex."""
        return _ellipsoid_profile(level, self.widest_level, 1.0)

    def radii(self, angle_deg: FloatArray, level: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Endocardial and epicardial radius in mm; endocardial is 0 where there is no cavity."""
        epi = self.epi_radius_mm * self.epi_profile(level) * at_angle(self.epi_shape, angle_deg)
        closing = _ellipsoid_profile(level, self.widest_level, self.cavity_end)
        inner = (self.epi_radius_mm - self.wall_mm * at_angle(self.wall_shape, angle_deg)) * closing
        endo = np.maximum(inner * at_angle(self.epi_shape, angle_deg), 0.0)
        return endo.astype(np.float32), epi.astype(np.float32)

    def rv_outer_radius(self, angle_deg: FloatArray, level: FloatArray) -> FloatArray:
        """Radius in mm of the RV cavity's outer border; the epicardial radius outside the RV."""
        _, epi = self.radii(angle_deg, level)
        across = np.mod(angle_deg, 360.0) / self.septum_deg
        arch = np.maximum(np.sin(np.pi * np.clip(across, 0.0, 1.0)), 0.0) ** 0.6
        fade = np.sqrt(np.clip(1.0 - np.maximum(level, 0.0) / self.rv_end, 0.0, 1.0))
        return (epi + self.rv_width_mm * arch * fade).astype(np.float32)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a heart: adult sizes from normal to dilated, thin to hypertrophied."""
    epi = rng.uniform(27.0, 42.0)
    return Anatomy(
        length_mm=rng.uniform(75.0, 110.0) * (0.75 + 0.25 * epi / 34.0),
        cavity_end=rng.uniform(0.89, 0.95),
        widest_level=rng.uniform(0.10, 0.35),
        epi_radius_mm=epi,
        wall_mm=rng.uniform(6.0, 13.0),
        insertion_deg=120.0 + rng.normal(0.0, 15.0),
        septum_deg=SEPTUM_DEG + rng.uniform(-10.0, 10.0),
        epi_shape=_harmonics(rng, (0.05, 0.02, 0.012)),
        wall_shape=_harmonics(rng, (0.10, 0.08, 0.05, 0.03)),
        rv_width_mm=rng.uniform(16.0, 45.0),
        rv_end=rng.uniform(0.65, 0.95),
        tilt_mm=(rng.normal(0.0, 5.0), rng.normal(0.0, 5.0)),
        papillary_deg=(300.0 + rng.normal(0.0, 15.0), 185.0 + rng.normal(0.0, 15.0)),
        papillary_mm=(rng.uniform(2.5, 8.5), rng.uniform(2.5, 8.5)),
    )


def at_angle(table: FloatArray, angle_deg: FloatArray) -> FloatArray:
    """Linear interpolation of a periodic per-angle table [ANGLE_BINS]."""
    position = np.mod(angle_deg, 360.0) * (ANGLE_BINS / 360.0)
    low = position.astype(np.int32)
    fraction = (position - low).astype(np.float32)
    low %= ANGLE_BINS
    return table[low] * (1 - fraction) + table[(low + 1) % ANGLE_BINS] * fraction


def _ellipsoid_profile(level: FloatArray, widest: float, end: float) -> FloatArray:
    beyond = np.clip((level - widest) / (end - widest), 0.0, 1.0)
    before = 0.12 * np.clip((widest - level) / max(widest, 1e-3), 0.0, 1.0) ** 2
    return (np.sqrt(1.0 - beyond**2) - before).astype(np.float32)


def _harmonics(rng: np.random.Generator, amplitudes: tuple[float, ...]) -> FloatArray:
    """1 + a random Fourier series whose n-th harmonic starts at n = 2 for shapes."""
    table = np.ones(ANGLE_BINS)
    for order, amplitude in enumerate(amplitudes, start=2 if len(amplitudes) == 3 else 1):
        table += rng.normal(0.0, amplitude) * np.cos(order * _ANGLES + rng.uniform(0, 2 * np.pi))
    return np.maximum(table, 0.4).astype(np.float32)
