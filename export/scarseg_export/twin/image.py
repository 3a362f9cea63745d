"""LGE rendering of a simulated heart on any slice grid, with labels on the same grid.

Intensities are built in units of the blood − myocardium difference (0 remote myocardium,
1 blood pool), the unit in which real LGE varies least between scanners, and only then scaled
to pixel values. Mimics (bright patches that are not scar) are painted by the very routine that
paints scar; otherwise a network would learn to tell the two apart by how they were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.anatomy import Anatomy
from scarseg_export.twin.scar import ScarMap
from scarseg_runtime.atlas import segment_at
from scarseg_runtime.contract import Label

FloatArray = NDArray[np.float32]

_TABLE_DEG = np.arange(0.0, 360.0, 2.0, dtype=np.float32)
RV_WALL_MM = 3.0


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Where slices lie in the heart; display orientation, base → apex."""

    rows: int
    columns: int
    spacing_mm: float
    heights_mm: NDArray[np.float64]
    """[S] distance of each slice from the base plane towards the apex; negative above it."""
    thickness_mm: float
    centres_mm: NDArray[np.float64]
    """[S, 2] LV axis at the base as (column, row) offset from the image centre."""


@dataclass(frozen=True, slots=True)
class ImageStack:
    """A rendered stack and its truth, all in display orientation."""

    pixels: FloatArray
    labels: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    spacing_mm: float
    heights_mm: NDArray[np.float64]
    """[S] distance of each slice from the base plane towards the apex."""
    centres_mm: NDArray[np.float64]
    """[S, 2] LV centre as (column, row) offset from the image centre."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one acquisition looks. Amplitudes in units of blood − myocardium."""

    scar: float
    rv_blood: float
    fat: float
    noise: float
    texture: float
    blood_streaks: float
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
        scar=rng.uniform(0.65, 1.5),
        rv_blood=rng.uniform(0.8, 1.15),
        fat=rng.uniform(0.9, 1.8),
        noise=float(np.exp(rng.uniform(np.log(0.015), np.log(0.22)))),
        texture=rng.uniform(0.0, 0.12),
        blood_streaks=0.3 * rng.random() ** 2.5,
        magnitude_offset=rng.uniform(-0.25, 0.3) if magnitude else None,
        bias=rng.uniform(0.0, 0.25),
        ghost=rng.uniform(0.0, 0.08) if rng.random() < 0.3 else 0.0,
        blur_mm=rng.uniform(1.0, 2.4),
        gain=float(np.exp(rng.uniform(np.log(80.0), np.log(900.0)))),
        offset=rng.uniform(0.0, 1500.0),
    )


def sample_grid(
    rng: np.random.Generator,
    anatomy: Anatomy,
    size: int,
    spacing_mm: float,
    wander_mm: float,
    slices: int | None = None,
) -> SliceGrid:
    """Draw a short-axis stack that covers the LV, as planned by a person.

    Args:
        wander_mm: how far the LV may lie from the image centre.
        slices: number of slices; None draws pitch as in practice (8–13 mm).
    """
    pitch = rng.uniform(8.0, 13.0)
    first = rng.uniform(-1.2, 0.6) * pitch
    if slices is None:
        last = anatomy.length_mm + rng.uniform(-1.0, 0.8) * pitch
        slices = max(4, round((last - first) / pitch))
    else:
        pitch = (anatomy.length_mm + rng.uniform(-0.5, 0.5) * pitch - first) / slices
    heights: NDArray[np.float64] = first + pitch * np.arange(slices, dtype=np.float64)
    drift = rng.normal(0.0, rng.uniform(0.0, 2.0), (slices, 2))
    centre = rng.uniform(-wander_mm, wander_mm, 2)
    along = (heights / anatomy.length_mm)[:, None]
    return SliceGrid(
        size, size, spacing_mm, heights, min(rng.uniform(6.0, 10.0), pitch),
        centre + along * np.asarray(anatomy.tilt_mm) + drift,
    )  # fmt: skip


def render(
    rng: np.random.Generator,
    anatomy: Anatomy,
    scar: ScarMap,
    mimic: ScarMap,
    grid: SliceGrid,
    look: Look,
) -> ImageStack:
    """Render one acquisition. ``mimic`` is painted like scar but never labelled."""
    radius, angle = _polar(grid, anatomy.insertion_deg)
    field = _chest(rng, grid, look)
    textures = [_smooth(rng, radius.shape, grid.spacing_mm, size) for size in (9.0, 12.0)]
    image = np.zeros_like(radius)
    occupancy = np.zeros((4, *radius.shape), np.float32)
    fat_mm = rng.uniform(0.0, 7.0) * (
        1 + 0.5 * np.cos(np.deg2rad(_TABLE_DEG - rng.uniform(0, 360)))
    )
    sublevels = (-0.25, 0.25)
    for part in sublevels:
        levels = (grid.heights_mm + part * grid.thickness_mm) / anatomy.length_mm
        _paint_heart(
            image, occupancy, field, anatomy, (scar, mimic), levels.astype(np.float32),
            (radius, angle), look, textures, fat_mm, grid.spacing_mm,
        )  # fmt: skip
    image /= len(sublevels)
    occupancy /= len(sublevels)
    labels = _labels(occupancy)
    levels = np.clip(grid.heights_mm / anatomy.length_mm, 0.0, 1.0)[:, None, None]
    muscle = (labels == Label.VIABLE_MYOCARDIUM) | (labels == Label.SCAR)
    segments = np.zeros(labels.shape, np.uint8)
    segments[muscle] = segment_at(
        _standard_septum(angle, anatomy.septum_deg)[muscle],
        np.broadcast_to(levels, labels.shape)[muscle],
    )
    pixels = _acquire(rng, image, look, grid.spacing_mm)
    return ImageStack(pixels, labels, segments, grid.spacing_mm, grid.heights_mm, grid.centres_mm)


def _polar(grid: SliceGrid, insertion_deg: float) -> tuple[FloatArray, FloatArray]:
    """Radius (mm) and heart angle (deg) of every pixel about its slice's LV centre."""
    columns = (np.arange(grid.columns) + 0.5 - grid.columns / 2) * grid.spacing_mm
    rows = (np.arange(grid.rows) + 0.5 - grid.rows / 2) * grid.spacing_mm
    dx = (columns[None, :] - grid.centres_mm[:, :1]).astype(np.float32)[:, None, :]
    dy = (rows[None, :] - grid.centres_mm[:, 1:]).astype(np.float32)[:, :, None]
    radius = np.sqrt(dx**2 + dy**2)
    angle = np.mod(np.degrees(np.arctan2(-dy, dx)) - np.float32(insertion_deg), 360.0)
    return radius, angle.astype(np.float32)


def _standard_septum(angle: FloatArray, septum_deg: float) -> FloatArray:
    """Angle rescaled so that septum and free wall are cut as the definition says.

    Sectors are equal parts of the septum and of the free wall between the real insertions.
    """
    septum = angle * (120.0 / septum_deg)
    free = 120.0 + (angle - septum_deg) * (240.0 / (360.0 - septum_deg))
    return np.where(angle < septum_deg, septum, free).astype(np.float32)


def _paint_heart(
    image: FloatArray,
    occupancy: FloatArray,
    field: FloatArray,
    anatomy: Anatomy,
    maps: tuple[ScarMap, ScarMap],
    levels: FloatArray,
    polar: tuple[FloatArray, FloatArray],
    look: Look,
    textures: list[FloatArray],
    fat_mm: FloatArray,
    spacing_mm: float,
) -> None:
    """Add one sub-slice to ``image`` and to ``occupancy`` [epi, endo, scar, RV]."""
    radius, angle = polar
    table_level = levels[:, None]
    endo_table, epi_table = anatomy.radii(_TABLE_DEG[None, :], table_level)
    rv_table = anatomy.rv_outer_radius(_TABLE_DEG[None, :], table_level)
    above = table_level < 0  # atrium and outflow tract: blood in a thin wall, never labelled
    endo_table = np.where(above, np.maximum(epi_table - 2.5, 0.0), endo_table)
    endo, epi, rv, fat = (
        _per_pixel(table, angle) for table in (endo_table, epi_table, rv_table, rv_table + fat_mm)
    )
    soft = np.float32(1.0 / max(spacing_mm, look.blur_mm))
    exists = (levels < 1.0).astype(np.float32)[:, None, None]
    inside = np.clip((epi - radius) * soft + 0.5, 0, 1) * exists
    cavity = np.clip((endo - radius) * soft + 0.5, 0, 1) * exists * (endo > 0.5)
    right = np.clip((rv - radius) * soft + 0.5, 0, 1) * (rv > epi + 0.5) * exists
    right_wall = np.clip((rv + RV_WALL_MM - radius) * soft + 0.5, 0, 1) * (rv > epi + 0.5) * exists

    part = field + np.clip((fat - radius) * soft + 0.5, 0, 1) * exists * (look.fat - field)
    part += right_wall * (0.1 - part)
    part += right * (look.rv_blood - part)
    blood = 1.0 + look.blood_streaks * textures[0]
    wall = look.texture * textures[1]
    scar_occupancy = np.zeros_like(radius)
    where = np.nonzero((inside > 0) & (cavity < 1) & ~above[:, :, None])
    if where[0].size:
        level = levels[where[0]]
        thickness = np.maximum(epi[where] - endo[where], 1.0)
        depth = (radius[where] - endo[where]) / thickness
        heart = (angle[where], level, depth)
        for scar_map, labelled in zip(maps, (True, False), strict=True):
            if scar_map.kind == "none":
                continue
            margin = np.clip(scar_map.margin(*heart) * thickness * soft + 0.5, 0, 1)
            core = np.clip(scar_map.core_margin(*heart) * thickness * soft + 0.5, 0, 1)
            core *= scar_map.core.max() > 0
            bright = look.scar * (1 + 0.5 * textures[1][where] * look.texture) * (1 - 0.85 * core)
            wall[where] += margin * (bright - wall[where])
            if labelled:
                scar_occupancy[where] = margin
    part += inside * (wall - part)
    part += cavity * (blood - part)
    part += _papillary(anatomy, radius, angle, endo, cavity, soft) * (wall * 0 + 0.05 - part)
    image += part
    labelled_slice = (levels >= 0).astype(np.float32)[:, None, None]
    for index, mask in enumerate((inside, cavity, scar_occupancy * (inside - cavity), right)):
        occupancy[index] += mask * labelled_slice


def _papillary(
    anatomy: Anatomy,
    radius: FloatArray,
    angle: FloatArray,
    endo: FloatArray,
    cavity: FloatArray,
    soft: np.float32,
) -> FloatArray:
    """Occupancy of the papillary muscles: dark, merging with the wall, part of the cavity label."""
    muscle = np.zeros_like(radius)
    big = endo > 10.0
    for centre_deg, size in zip(anatomy.papillary_deg, anatomy.papillary_mm, strict=True):
        turn = np.deg2rad(angle - np.float32(centre_deg))
        centre = np.maximum(endo - size * 0.7, 0.0)
        distance = np.sqrt(
            np.maximum(radius**2 + centre**2 - 2 * radius * centre * np.cos(turn), 0)
        )
        muscle = np.maximum(muscle, np.clip((size - distance) * soft + 0.5, 0, 1))
    return muscle * cavity * big


def _labels(occupancy: FloatArray) -> NDArray[np.uint8]:
    inside, cavity, scar, right = occupancy
    labels = np.zeros(inside.shape, np.uint8)
    labels[right > 0.5] = Label.RV_CAVITY
    labels[inside > 0.5] = Label.VIABLE_MYOCARDIUM
    labels[(inside > 0.5) & (scar > 0.5 * np.maximum(inside - cavity, 1e-3))] = Label.SCAR
    labels[cavity > 0.5] = Label.LV_CAVITY
    return labels


def _chest(rng: np.random.Generator, grid: SliceGrid, look: Look) -> FloatArray:
    """Everything around the heart: random organs with random signal inside a body outline."""
    shape = (1, grid.rows, grid.columns)
    organs = np.zeros(shape, np.float32)
    for size in (30.0, 45.0, 70.0):
        blobs = _smooth(rng, shape, grid.spacing_mm, size)
        palette = rng.uniform(-0.4, 1.5, 3).astype(np.float32)
        cuts = np.sort(rng.normal(0.0, 0.7, 2))
        chosen = palette[np.digitize(blobs, cuts)]
        organs = np.where(_smooth(rng, shape, grid.spacing_mm, 60.0) > 0, chosen, organs)
    organs = organs + rng.uniform(0.0, 0.15) * _smooth(rng, shape, grid.spacing_mm, 6.0)
    columns = (np.arange(grid.columns) + 0.5 - grid.columns / 2) * grid.spacing_mm
    rows = (np.arange(grid.rows) + 0.5 - grid.rows / 2) * grid.spacing_mm
    heart = grid.centres_mm.mean(axis=0)
    body = np.hypot(
        (columns[None, :] - heart[0] + rng.uniform(-50, 60)) / rng.uniform(110, 190),
        (rows[:, None] - heart[1] - rng.uniform(-30, 30)) / rng.uniform(95, 140),
    )[None]
    rim = rng.uniform(0.04, 0.2)
    air = rng.uniform(-0.5, 0.0)
    organs = np.where(body > 1.0 - rim, np.float32(look.fat), organs)
    organs = np.where(body > 1.0, np.float32(air), organs)
    slices = len(grid.heights_mm)
    change = 1 + 0.15 * rng.normal(size=(slices, 1, 1)).astype(np.float32)
    return (np.broadcast_to(organs, (slices, *shape[1:])) * change).astype(np.float32)


def _acquire(
    rng: np.random.Generator, image: FloatArray, look: Look, spacing_mm: float
) -> FloatArray:
    """Coil bias, ghosts, noise, magnitude, blur and scaling to stored pixel values."""
    bias = np.exp(look.bias * _smooth(rng, (1, *image.shape[1:]), spacing_mm, 90.0))
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


def _smooth(
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


def _per_pixel(table: FloatArray, angle: FloatArray) -> FloatArray:
    """Look up a per-slice, per-angle table [S, 180] at every pixel."""
    position = angle * np.float32(len(_TABLE_DEG) / 360.0)
    low = position.astype(np.int32)
    fraction = position - low
    low %= len(_TABLE_DEG)
    high = (low + 1) % len(_TABLE_DEG)
    slices = np.arange(table.shape[0])[:, None, None]
    return (table[slices, low] * (1 - fraction) + table[slices, high] * fraction).astype(np.float32)
