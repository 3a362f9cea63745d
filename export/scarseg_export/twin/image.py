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
from scarseg_export.twin.grid import SliceGrid, polar, window_about
from scarseg_export.twin.scanner import Look, acquire, smooth
from scarseg_export.twin.scar import ScarMap
from scarseg_runtime.atlas import segment_at
from scarseg_runtime.contract import Label

FloatArray = NDArray[np.float32]

_TABLE_DEG = np.arange(0.0, 360.0, 0.5, dtype=np.float32)
SUBLEVELS = (-0.25, 0.25)
"""Places in a slice's thickness at which it is sampled: the partial volume of two halves."""
RV_WALL_MM = 3.0
RIM_MM = 7.0
"""Depth of the trabeculated, slowly flowing layer of the cavity under the endocardium."""


@dataclass(frozen=True, slots=True)
class ImageStack:
    """A rendered stack and its truth, all in display orientation."""

    pixels: FloatArray
    labels: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    mimic: NDArray[np.bool_]
    """Viable myocardium painted like scar: no image can tell it from scar."""
    spacing_mm: float
    heights_mm: NDArray[np.float64]
    """[S] distance of each slice from the base plane towards the apex."""
    centres_mm: NDArray[np.float64]
    """[S, 2] LV centre as (column, row) offset from the image centre."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """Facts that both sub-slices of every slice share."""

    anatomy: Anatomy
    maps: tuple[ScarMap, ScarMap]
    """Scar and mimic."""
    look: Look
    spacing_mm: float
    radius: FloatArray
    angle: FloatArray
    bin: NDArray[np.int32]
    """[S, h, w] index of each pixel into a flattened per-slice, per-angle table."""
    field: FloatArray
    textures: list[FloatArray]

    def at_pixels(self, table: FloatArray) -> FloatArray:
        """Per-slice, per-angle table [S, 720] at every pixel."""
        return table.astype(np.float32).ravel()[self.bin]

    def edge(self, distance_mm: FloatArray, border_mm: float = 0.0) -> FloatArray:
        """Occupancy of a pixel that lies so far inside a border: soft over a pixel, the blur or
        the width of the border itself."""
        soft = np.float32(1.0 / max(self.spacing_mm, self.look.blur_mm, border_mm))
        occupancy = distance_mm * soft
        occupancy += np.float32(0.5)
        return np.clip(occupancy, 0, 1, out=occupancy)


def render(
    rng: np.random.Generator,
    anatomy: Anatomy,
    scar: ScarMap,
    mimic: ScarMap,
    grid: SliceGrid,
    look: Look,
) -> ImageStack:
    """Render one acquisition. ``mimic`` is painted like scar but never labelled."""
    tilt = np.deg2rad(_TABLE_DEG - rng.uniform(0, 360))
    image = _organs(rng, grid, look)
    textures = [smooth(rng, image.shape, grid.spacing_mm, size) for size in (9.0, 12.0, 5.0)]
    fat_mm = rng.uniform(0.0, 7.0) * (1 + 0.5 * np.cos(tilt))
    levels = [
        ((grid.heights_mm + part * grid.thickness_mm) / anatomy.length_mm).astype(np.float32)
        for part in SUBLEVELS
    ]
    borders = [_borders(anatomy, (scar, mimic), fat_mm, level) for level in levels]
    # Beyond this nothing of the heart is seen: most of the image need not be painted.
    reach = max(float(table.max()) for tables in borders for table in tables) + RV_WALL_MM
    window = window_about(grid, reach + max(grid.spacing_mm, look.blur_mm) + grid.spacing_mm)
    inside = (slice(None), *window)
    radius, angle = polar(grid, anatomy.insertion_deg, window)
    slices = np.arange(len(radius), dtype=np.int32)[:, None, None] * len(_TABLE_DEG)
    scene = _Scene(
        anatomy, (scar, mimic), look, grid.spacing_mm, radius, angle,
        np.minimum((angle * 2).astype(np.int32), len(_TABLE_DEG) - 1) + slices,
        image[inside], [texture[inside] for texture in textures],
    )  # fmt: skip
    heart = np.zeros_like(radius)
    occupancy = np.zeros((5, *radius.shape), np.float32)
    for level, tables in zip(levels, borders, strict=True):
        _paint_heart(heart, occupancy, scene, level, tables)
    heart /= len(SUBLEVELS)
    occupancy /= len(SUBLEVELS)
    image[inside] = heart
    return _stack(rng, image, grid, look, anatomy, angle, _labels(occupancy), inside)


def _stack(
    rng: np.random.Generator,
    image: FloatArray,
    grid: SliceGrid,
    look: Look,
    anatomy: Anatomy,
    angle: FloatArray,
    found: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    inside: tuple[slice, ...],
) -> ImageStack:
    """The acquired image with the labels and mimics that were found inside the window."""
    labels, segments = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    painted = np.zeros(image.shape, bool)
    labels[inside], painted[inside] = found
    levels = np.clip(grid.heights_mm / anatomy.length_mm, 0.0, 1.0)[:, None, None]
    muscle = (found[0] == Label.VIABLE_MYOCARDIUM) | (found[0] == Label.SCAR)
    segments[inside][muscle] = segment_at(
        _standard_septum(angle[muscle], anatomy.septum_deg),
        np.broadcast_to(levels, muscle.shape)[muscle],
    )
    return ImageStack(
        acquire(rng, image, look, grid.spacing_mm), labels, segments, painted,
        grid.spacing_mm, grid.heights_mm, grid.centres_mm,
    )  # fmt: skip


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
    scene: _Scene,
    levels: FloatArray,
    tables: tuple[FloatArray, ...],
) -> None:
    """Add one sub-slice to ``image`` and to ``occupancy`` [epi, endo, scar, RV, mimic]."""
    look, radius = scene.look, scene.radius
    above = levels[:, None] < 0  # atrium and outflow tract: blood in a thin wall, never labelled
    endo, epi, rv, fat = (scene.at_pixels(table) for table in tables)
    exists = (levels < 1.0).astype(np.float32)[:, None, None]
    inside = scene.edge(epi - radius) * exists
    cavity = scene.edge(endo - radius) * exists * (endo > 0.5)
    right_exists = (rv > epi + 0.5) * exists
    right = scene.edge(rv - radius) * right_exists
    right_wall = scene.edge(rv + RV_WALL_MM - radius) * right_exists

    part = scene.field + scene.edge(fat - radius) * exists * (look.fat - scene.field)
    part += right_wall * (0.1 - part)
    part += right * (look.rv_blood - part)
    wall, bright = _wall(scene, levels, endo, epi, (inside > 0) & (cavity < 1) & ~above[:, :, None])
    part += inside * (wall - part)
    _fill_cavity(part, scene, endo, cavity)
    image += part
    labelled_slice = (levels >= 0).astype(np.float32)[:, None, None]
    muscle = inside - cavity
    masks = inside, cavity, bright[0] * muscle, right, bright[1] * muscle
    for index, mask in enumerate(masks):
        occupancy[index] += mask * labelled_slice


def _borders(
    anatomy: Anatomy, maps: tuple[ScarMap, ScarMap], fat_mm: FloatArray, levels: FloatArray
) -> tuple[FloatArray, ...]:
    """[S, 720] radius in mm of endocardium, epicardium, RV and fat, per slice and angle."""
    angle, level = _TABLE_DEG[None, :], levels[:, None]
    endo, epi = anatomy.radii(angle, level)
    for scar_map in maps:  # a mimic thins the wall too, or thinning would give it away
        endo = epi - (epi - endo) * (1.0 - scar_map.thinning_at(angle, level))
    endo = np.where(level < 0, np.maximum(epi - 2.5, 0.0), endo)
    rv = anatomy.rv_outer_radius(angle, level)
    return endo, epi, rv, rv + fat_mm


def _wall(
    scene: _Scene,
    levels: FloatArray,
    endo: FloatArray,
    epi: FloatArray,
    muscle: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Signal of the wall [S, h, w] and occupancy [2, S, h, w] of scar and mimic in it."""
    look = scene.look
    wall = look.texture * scene.textures[1]
    occupancy = np.zeros((2, *wall.shape), np.float32)
    where = np.nonzero(muscle)
    if not where[0].size or all(scar_map.kind == "none" for scar_map in scene.maps):
        return wall, occupancy
    thickness = np.maximum(epi[where] - endo[where], 1.0)
    depth = (scene.radius[where] - endo[where]) / thickness
    heart = (scene.angle[where], levels[where[0]], depth)
    amplitude = look.scar * (1 + 0.5 * scene.textures[1][where] * look.texture)
    amplitude *= np.clip(1 + look.scar_patches * scene.textures[2][where], 0.2, 2.0)
    for index, scar_map in enumerate(scene.maps):
        if scar_map.kind == "none":
            continue
        margin = scene.edge(scar_map.margin(*heart) * thickness, look.scar_border_mm)
        core = np.zeros_like(margin)
        if scar_map.core.any():
            core = scene.edge(scar_map.core_margin(*heart) * thickness)
        wall[where] += margin * (amplitude * (1 - 0.85 * core) - wall[where])
        occupancy[index][where] = margin
    return wall, occupancy


def _fill_cavity(part: FloatArray, scene: _Scene, endo: FloatArray, cavity: FloatArray) -> None:
    """Blood into ``part``, with papillary muscles, trabeculae and slow flow, none labelled."""
    look = scene.look
    where = np.nonzero(cavity > 0)
    radius, edge = scene.radius[where], endo[where]
    rim = np.clip(1.0 - (edge - radius) / RIM_MM, 0, 1)
    fine = scene.textures[2][where]
    blood = 1.0 + look.blood_streaks * scene.textures[0][where]
    blood += look.slow_flow * rim * np.clip(fine, 0, 1)
    blood -= look.trabeculae * rim * np.clip(-fine, 0, 1) * blood
    muscle = np.zeros_like(radius)
    anatomy = scene.anatomy
    for centre_deg, size in zip(anatomy.papillary_deg, anatomy.papillary_mm, strict=True):
        turn = np.deg2rad(scene.angle[where] - np.float32(centre_deg))
        centre = np.maximum(edge - np.float32(size * 0.7), 0.0)
        square = radius**2 + centre**2 - 2 * radius * centre * np.cos(turn)
        muscle = np.maximum(muscle, scene.edge(np.float32(size) - np.sqrt(np.maximum(square, 0))))
    muscle *= edge > 10.0
    blood += muscle * (0.05 - blood)
    part[where] += cavity[where] * (blood - part[where])


def _labels(occupancy: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels, and where viable myocardium was painted as a mimic."""
    inside, cavity, scar, right, mimic = occupancy
    labels = np.zeros(inside.shape, np.uint8)
    muscle = inside > 0.5
    half = 0.5 * np.maximum(inside - cavity, 1e-3)
    labels[right > 0.5] = Label.RV_CAVITY
    labels[muscle] = Label.VIABLE_MYOCARDIUM
    labels[muscle & (scar > half)] = Label.SCAR
    labels[cavity > 0.5] = Label.LV_CAVITY
    return labels, (labels == Label.VIABLE_MYOCARDIUM) & (mimic > half)


def _organs(rng: np.random.Generator, grid: SliceGrid, look: Look) -> FloatArray:
    """[S, rows, columns] signal around the heart: random organs inside a body outline."""
    shape = (1, grid.rows, grid.columns)
    organs = np.zeros(shape, np.float32)
    for size in (30.0, 45.0, 70.0):
        blobs = smooth(rng, shape, grid.spacing_mm, size)
        palette = rng.uniform(-0.4, 1.5, 3).astype(np.float32)
        cuts = np.sort(rng.normal(0.0, 0.7, 2))
        chosen = palette[np.digitize(blobs, cuts)]
        organs = np.where(smooth(rng, shape, grid.spacing_mm, 60.0) > 0, chosen, organs)
    organs = organs + rng.uniform(0.0, 0.15) * smooth(rng, shape, grid.spacing_mm, 6.0)
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
