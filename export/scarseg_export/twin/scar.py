"""The scar function: where scar lies in heart coordinates, for the image and the ECG alike.

Chronic infarcts spread from the endocardium inside a coronary territory; non-ischaemic scar
lies mid-wall or at the epicardium. Territories after Cerqueira 2002 (see scarseg_runtime.atlas).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Kind = Literal["none", "ischaemic", "mid-wall", "epicardial"]

LEVELS, ANGLES = 25, 72
_LEVEL = np.linspace(0.0, 1.0, LEVELS)[:, None]
_ANGLE = (np.arange(ANGLES) * (360.0 / ANGLES))[None, :]

WIDE_SHARE = 0.6
"""Share of infarcts that fill their territory or more."""
TERRITORIES = {"LAD": (0.0, 0.60), "RCA": (130.0, 0.35), "LCx": (235.0, 0.38)}
"""Centres of what a coronary feeds, as (angle from the anterior RV insertion, level)."""


@dataclass(frozen=True, slots=True)
class ScarMap:
    """Scar fills the wall between two depths, both tables over (level, angle)."""

    kind: Kind
    inner: FloatArray
    """[LEVELS, ANGLES] depth at which scar begins."""
    outer: FloatArray
    """[LEVELS, ANGLES] depth at which scar ends; below ``inner`` where there is none."""
    core: FloatArray
    """[LEVELS, ANGLES] half-width in depth of the microvascular obstruction, 0 for none."""
    thinning: float = 0.0
    """Share of the wall's thickness that is lost where the scar is transmural."""

    def thinning_at(self, angle_deg: FloatArray, level: FloatArray) -> FloatArray:
        """Share of the wall's thickness lost at a place, in proportion to transmurality."""
        if not self.thinning:
            return np.float32(0.0) * (angle_deg + level)
        inner, outer = self._bounds(*np.broadcast_arrays(angle_deg, level))
        return self.thinning * np.clip(np.minimum(outer, 1.0) - np.maximum(inner, 0.0), 0.0, 1.0)

    def margin(self, angle_deg: FloatArray, level: FloatArray, depth: FloatArray) -> FloatArray:
        """Distance inside the scar in units of wall depth: positive in scar, negative outside."""
        inner, outer = self._bounds(angle_deg, level)
        return np.minimum(depth - inner, outer - depth)

    def core_margin(
        self, angle_deg: FloatArray, level: FloatArray, depth: FloatArray
    ) -> FloatArray:
        """Like :meth:`margin`, for the dark core within the scar."""
        inner, outer = self._bounds(angle_deg, level)
        half = _lookup(self.core, angle_deg, level)
        middle = (np.maximum(inner, 0.0) + np.minimum(outer, 1.0)) / 2
        # Without a core the middle of the scar would lie on the border of an empty one.
        return np.where(half > 0, half - np.abs(depth - middle), np.float32(-1.0))

    def _bounds(self, angle_deg: FloatArray, level: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _lookup(self.inner, angle_deg, level), _lookup(self.outer, angle_deg, level)


def no_scar() -> ScarMap:
    """A healthy wall."""
    empty = np.full((LEVELS, ANGLES), -1.0, np.float32)
    return ScarMap("none", np.zeros_like(empty), empty, np.zeros_like(empty))


def sample_scar(rng: np.random.Generator, scar_free: float = 0.4) -> ScarMap:
    """Draw a scar state: none, one or two infarcts, or a non-ischaemic pattern."""
    draw = rng.random()
    if draw < scar_free:
        return no_scar()
    if draw < scar_free + 0.75 * (1 - scar_free):
        scar = ischaemic_scar(rng)
        return _union(scar, ischaemic_scar(rng)) if rng.random() < 0.1 else scar
    return non_ischaemic_scar(rng)


def sample_mimic(rng: np.random.Generator) -> ScarMap:
    """Draw where viable wall is as bright as scar: shaped like scar, but never a whole territory
    of it."""
    if rng.random() < 0.75:
        return ischaemic_scar(rng, wide_share=0.0)
    return non_ischaemic_scar(rng)


def ischaemic_scar(
    rng: np.random.Generator,
    centre: tuple[float, float] | None = None,
    wide_share: float = WIDE_SHARE,
) -> ScarMap:
    """An infarct: a wavefront from the endocardium, deepest in the middle of its territory.

    From a small patch to a whole territory and around the apex: in patients with an infarct scar
    takes from a few per cent to two fifths of the wall.

    Args:
        centre: (angle, level) about which it lies; a coronary territory by default.
        wide_share: how many fill their territory or more.
    """
    usual = list(TERRITORIES.values())[int(rng.choice(len(TERRITORIES), p=(0.45, 0.3, 0.25)))]
    angle, level = centre or usual
    wide = rng.random() < wide_share
    reach = _patch(
        rng,
        (angle + rng.normal(0.0, 18.0), level + rng.normal(0.0, 0.12)),
        (rng.uniform(50.0, 130.0), rng.uniform(0.25, 0.75)) if wide
        else (rng.uniform(28.0, 75.0), rng.uniform(0.16, 0.45)),
    )  # fmt: skip
    deepest = rng.uniform(0.5, 1.7)
    outer = np.where(reach > 0, deepest * np.clip(2.0 * reach, 0, 1) ** 0.5, -1.0)
    core = np.zeros_like(outer)
    if rng.random() < 0.3:
        # Obstruction lies in the midst of the infarct; a dark band along all of it is a wall.
        core = np.clip(reach - 0.6, 0.0, 1.0) * rng.uniform(0.1, 0.3)
    inner = np.full_like(outer, -0.2)
    inner, outer, core = (table.astype(np.float32) for table in (inner, outer, core))
    thinning = rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 0.0
    return ScarMap("ischaemic", inner, outer, core, thinning)


def non_ischaemic_scar(rng: np.random.Generator) -> ScarMap:
    """Mid-wall stripe (usually septal) or epicardial layer (usually inferolateral)."""
    mid_wall = rng.random() < 0.5
    angle = rng.normal(60.0, 30.0) if mid_wall else rng.normal(225.0, 30.0)
    reach = _patch(
        rng,
        (angle, rng.uniform(0.15, 0.6)),
        (rng.uniform(25.0, 60.0), rng.uniform(0.18, 0.45)),
    )
    width = rng.uniform(0.35, 0.6) * np.clip(2.5 * reach, 0, 1) ** 0.5
    start = rng.uniform(0.2, 0.4) if mid_wall else None
    inner = np.full_like(width, start) if start is not None else 1.0 - width
    outer = inner + width if start is not None else np.full_like(width, 1.2)
    outer = np.where(reach > 0, outer, -1.0)
    kind: Kind = "mid-wall" if mid_wall else "epicardial"
    return ScarMap(
        kind, inner.astype(np.float32), outer.astype(np.float32), np.zeros((LEVELS, ANGLES), "f4")
    )


def _patch(
    rng: np.random.Generator, centre: tuple[float, float], half_size: tuple[float, float]
) -> NDArray[np.float64]:
    """A ragged elliptical patch over (level, angle): 1 in the centre, ≤ 0 outside."""
    # Towards the apex a degree spans less muscle, so the patch widens in angle.
    ring = np.sqrt(np.clip(1.0 - ((_LEVEL - 0.2) / 0.85).clip(0.0) ** 2, 0.12, 1.0))
    turn = (np.mod(_ANGLE - centre[0] + 180.0, 360.0) - 180.0) / (half_size[0] / ring)
    along = (_LEVEL - centre[1]) / half_size[1]
    return 1.0 - turn**2 - along**2 + 0.35 * _smooth_noise(rng)


def _smooth_noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth periodic noise over the map, about unit amplitude."""
    noise = np.zeros((LEVELS, ANGLES))
    for order in range(1, 8):
        phase = rng.uniform(0, 2 * np.pi, 2)
        wave = np.cos(np.deg2rad(order * _ANGLE) + phase[0])
        noise += rng.normal() / order**0.5 * wave * np.cos(3.0 * order * _LEVEL + phase[1])
    return noise / 1.6


def _union(first: ScarMap, second: ScarMap) -> ScarMap:
    take = second.outer > first.outer
    return ScarMap(
        first.kind,
        np.where(take, second.inner, first.inner),
        np.where(take, second.outer, first.outer),
        np.where(take, second.core, first.core),
        max(first.thinning, second.thinning),
    )


def _lookup(table: FloatArray, angle_deg: FloatArray, level: FloatArray) -> FloatArray:
    """Bilinear interpolation of a (level, angle) table, periodic in angle."""
    row = np.clip(level, 0.0, 1.0) * (LEVELS - 1)
    column = np.mod(angle_deg, 360.0) * (ANGLES / 360.0)
    r0 = np.minimum(row.astype(np.int32), LEVELS - 2)
    c0 = column.astype(np.int32) % ANGLES
    fr = (row - r0).astype(np.float32)
    fc = np.mod(column, 1.0).astype(np.float32)
    c1 = (c0 + 1) % ANGLES
    upper = table[r0, c0] * (1 - fc) + table[r0, c1] * fc
    lower = table[r0 + 1, c0] * (1 - fc) + table[r0 + 1, c1] * fc
    return upper * (1 - fr) + lower * fr
