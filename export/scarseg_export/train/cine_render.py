"""LGE-like rendering of real cine slices: real anatomy and texture, simulated contrast and scar.

Intensities are in units of the blood − myocardium difference, as in
:mod:`scarseg_export.twin.image`, and the same acquisition is simulated. The heart is warped,
image and borders alike, so that few subjects give many shapes. Scar and mimic are painted by one
routine, between distances to the endocardium and to the epicardium.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from scarseg_export.train.cine import CineStack, signed_distance
from scarseg_export.train.losses import UNKNOWN_OUTSIDE
from scarseg_export.twin.image import RIM_MM, ImageStack
from scarseg_export.twin.scanner import Look, acquire, sample_look, smooth
from scarseg_export.twin.scar import ScarMap
from scarseg_runtime.contract import Label

FloatArray = NDArray[np.float32]

BORDER_MM = 25.0
"""Distance outside the epicardium to which the distances to both contours are known."""
MIN_WALL_MM = 3.0
CINE_BLUR_MM = 2.5
"""Width over which the cine goes from wall to blood."""


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """Facts of a stack that no rendering changes."""

    tissue: FloatArray
    """[S, H, W] 0 the slice's own myocardium, 1 its blood."""
    endo: FloatArray
    """[S, h, w] mm inside the endocardium, around the heart only."""
    epi: FloatArray
    corner: tuple[int, int]
    """First row and column of ``endo`` and ``epi``."""
    centres: NDArray[np.float64]
    """[S, 2] LV centre (column, row) in pixels."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """One stack on the output grid, warped, before contrast. Arrays are [S, h, w]."""

    tissue: FloatArray
    endo: FloatArray
    """mm inside the endocardium."""
    epi: FloatArray
    radius: FloatArray
    """mm from the LV centre."""
    angle: FloatArray
    levels: FloatArray
    """[S] 0 base … 1 apex."""
    seen: NDArray[np.bool_]
    """Inside the field of view of the cine."""
    spacing_mm: float
    look: Look

    def edge(self, distance_mm: FloatArray, border_mm: float = 0.0) -> FloatArray:
        """Occupancy of a pixel that lies so far inside a border: soft over a pixel, the blur or
        the width of the border itself."""
        soft = np.float32(1 / max(self.spacing_mm, self.look.blur_mm, border_mm))
        return np.clip(distance_mm * soft + np.float32(0.5), 0, 1)

    def smooth(self, rng: np.random.Generator, size_mm: float) -> FloatArray:
        return smooth(rng, self.tissue.shape, self.spacing_mm, size_mm)


def render_cine(
    rng: np.random.Generator,
    stack: CineStack,
    scar: ScarMap,
    mimic: ScarMap,
    size: int,
    spacing_mm: float,
    wander_mm: float,
    slices: int,
) -> ImageStack:
    """Render neighbouring slices on ``size`` × ``size`` pixels.

    The anterior RV insertion is drawn at random, for the RV has no contour: all outside the LV
    is labelled ``UNKNOWN_OUTSIDE``, and no segments are given.

    Args:
        mimic: painted like scar but not labelled.
        wander_mm: how far the LV may lie from the image centre; where that view leaves the
            frame, pixels hold the lowest value, as scanners pad.
        slices: number of slices, a random run; the most apical is repeated where the stack has
            fewer.
    """
    first = int(rng.integers(max(len(stack.pixels) - slices, 0) + 1))
    run = np.minimum(first + np.arange(slices), len(stack.pixels) - 1)
    look = replace(sample_look(rng), noise=float(np.exp(rng.uniform(np.log(0.015), np.log(0.3)))))
    scene = _scene(rng, stack, run, (size, spacing_mm, wander_mm), look)
    image = _outside(rng, scene)
    cavity = scene.edge(scene.endo)
    inside = np.maximum(scene.edge(scene.epi), cavity)
    wall, bright = _wall(rng, scene, (scar, mimic), (inside > 0) & (cavity < 1))
    image += inside * (wall - image)
    image += cavity * (_blood(rng, scene) - image)
    labels, painted = _labels(inside, cavity, bright)
    pixels = acquire(rng, np.where(scene.seen, image, image.min()), look, spacing_mm)
    pixels[~scene.seen] = pixels.min()
    return ImageStack(
        pixels, labels, np.zeros_like(labels), painted, spacing_mm,
        stack.heights_mm[run], _centres(labels, spacing_mm),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _measured(stack: CineStack) -> _Measured:
    spacing = stack.spacing_mm
    points = np.concatenate(stack.epi + stack.endo)
    limit = np.array(stack.pixels.shape[:0:-1])
    low = np.maximum(np.floor(points.min(axis=0) - BORDER_MM / spacing), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + BORDER_MM / spacing), limit - 1).astype(int)
    columns, rows = (np.arange(a, b + 1) for a, b in zip(low, high, strict=True))
    endo, epi = (
        np.stack([signed_distance(p, columns, rows) * np.float32(spacing) for p in polygons])
        for polygons in (stack.endo, stack.epi)
    )
    tissue = stack.pixels.copy()
    for k, frame in enumerate(tissue):
        near = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        wall = np.median(near[(epi[k] > 0) & (endo[k] < 0)])
        blood = np.percentile(near[endo[k] > 0], 70)  # above the papillary muscles
        frame -= wall
        frame /= max(float(blood - wall), 1e-3 * float(np.ptp(near)) + 1e-6)
    centres = np.array([polygon.mean(axis=0) for polygon in stack.epi])
    return _Measured(tissue, endo, epi, (int(low[1]), int(low[0])), centres)


def _scene(
    rng: np.random.Generator,
    stack: CineStack,
    run: NDArray[np.int_],
    view: tuple[int, float, float],
    look: Look,
) -> _Scene:
    """Sample slices ``run`` through a random smooth warp; ``view`` is size, spacing and wander."""
    measured = _measured(stack)
    scale = rng.uniform(0.85, 1.2)
    x, y = _warp(rng, len(run), view, scale)
    centre = measured.centres[run].mean(axis=0)
    axis = ((measured.centres[run] - centre) * stack.spacing_mm).astype(np.float32)
    dx, dy = x - axis[:, 0, None, None], y - axis[:, 1, None, None]
    radius = np.sqrt(dx**2 + dy**2)

    def pixels(push: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Rows and columns of the frame, moved outwards by ``push`` mm."""
        along = push / np.maximum(radius, np.float32(6.0))
        columns = (x + along * dx) / stack.spacing_mm + centre[0]
        return (y + along * dy) / stack.spacing_mm + centre[1], columns

    endo, epi = _borders(measured, run, *pixels(0.0))
    # Move the endocardium alone: the wall gets thicker or thinner, more here than there.
    move = rng.normal(0.0, 1.6) + rng.uniform(0.0, 1.2) * smooth(
        rng, (1, *x.shape[1:]), view[1], 40.0
    )
    room = np.maximum(epi - endo - MIN_WALL_MM, 0.0)
    rows, columns = pixels(np.maximum(move, -room) * np.exp(-((endo / 8.0) ** 2)))
    endo, epi = _borders(measured, run, rows, columns)
    height, width = stack.pixels.shape[1:]
    length = stack.heights_mm[-1] + rng.uniform(6.0, 24.0)
    levels = (stack.heights_mm[run] + rng.uniform(0.0, 6.0)) / length
    turned = rng.choice([-1.0, 1.0]) * np.degrees(np.arctan2(dy, dx)) + rng.uniform(0, 360)
    return _Scene(
        _sampled(measured.tissue, run, rows, columns), endo * scale, epi * scale, radius * scale,
        np.mod(turned, 360.0).astype(np.float32), levels.astype(np.float32),
        (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5),
        view[1], look,
    )  # fmt: skip


def _warp(
    rng: np.random.Generator, slices: int, view: tuple[int, float, float], scale: float
) -> tuple[FloatArray, FloatArray]:
    """[S, h, w] x and y in mm from the stack's mean LV centre, of which each pixel shows tissue.

    Placed, turned, resized, stretched, bent smoothly, and misregistered between slices.
    """
    size, spacing, wander = view
    offsets = (np.arange(size) + 0.5 - size / 2) * spacing
    placed = rng.uniform(-wander, wander, 2)
    x, y = np.meshgrid(offsets - placed[0], offsets - placed[1], indexing="xy")
    axes, turned = _rotation(rng.uniform(0, 2 * np.pi)), _rotation(rng.normal(0, np.pi / 12))
    stretch = np.exp(rng.normal(0.0, 0.06))
    linear = turned @ axes @ np.diag([stretch, 1 / stretch]) @ axes.T / scale
    drift = rng.normal(0.0, rng.uniform(0.0, 1.5), (2, slices, 1, 1))
    moved = []
    for row, shift in zip(linear, drift, strict=True):
        field = row[0] * x + row[1] * y
        for amount, length in ((4.0, 60.0), (1.5, 28.0)):
            field = field + rng.uniform(0.0, amount) * smooth(rng, (1, size, size), spacing, length)
        moved.append((field + shift).astype(np.float32))
    return moved[0], moved[1]


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _borders(
    measured: _Measured, run: NDArray[np.int_], rows: FloatArray, columns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Distances inside endocardium and epicardium at places [S, h, w] of the frames."""
    place = run, rows - measured.corner[0], columns - measured.corner[1]
    return _sampled(measured.endo, *place), _sampled(measured.epi, *place)


def _sampled(
    maps: FloatArray, run: NDArray[np.int_], rows: FloatArray, columns: FloatArray
) -> FloatArray:
    """Linear interpolation of slices ``run`` of ``maps`` at places [S, h, w]."""
    out = np.empty(rows.shape, np.float32)
    for k, index in enumerate(run):
        map_coordinates(maps[index], (rows[k], columns[k]), out[k], order=1, mode="nearest")
    return out


def _outside(rng: np.random.Generator, scene: _Scene) -> FloatArray:
    """Everything around the LV: the cine's tissue under random tone curves."""
    look = scene.look
    tissue = scene.tissue
    blur = rng.uniform(0.0, 1.0) - 0.3
    if blur > 0:  # LGE is coarser than cine
        tissue = gaussian_filter(tissue, (0, blur, blur))
    fat = look.fat if rng.random() < 0.75 else rng.uniform(-0.2, 0.6)
    near = _tone(rng, tissue, look.rv_blood, fat)
    far = _tone(rng, tissue, rng.uniform(0.2, 1.4), rng.uniform(-0.2, 1.8))
    away = np.clip((scene.radius - rng.uniform(60.0, 90.0)) / 25.0, 0, 1)
    image = near + away * np.clip(0.5 + scene.smooth(rng, 50.0), 0, 1) * (far - near)
    # Fat beside one side of the wall, but only where the cine is dark: not where RV blood is.
    side = np.cos(np.deg2rad(scene.angle - np.float32(rng.uniform(0, 360))))
    width = rng.uniform(-7.0, 2.0) + 3.0 * side + 1.5 * scene.smooth(rng, 35.0)
    dark = np.clip((0.7 - tissue) * 4.0, 0, 1)
    image += dark * scene.edge(width + scene.epi) * (look.fat - image)
    return image


def _tone(rng: np.random.Generator, tissue: FloatArray, blood: float, fat: float) -> FloatArray:
    """LGE signal by cine signal: air, muscle and organs, blood, fat."""
    places = np.array([-0.8, -0.35, 0.0, 0.35, 0.85, 1.15, 1.6, 2.4])
    air, muscle = rng.uniform(-0.5, 0.05), rng.uniform(-0.15, 0.45)
    signals = [
        air, air + rng.uniform(-0.1, 0.3), muscle, muscle + rng.uniform(-0.2, 0.6),
        blood - 0.03, blood + 0.03, fat, fat + rng.uniform(-0.2, 0.4),
    ]  # fmt: skip
    return np.interp(tissue, places, signals).astype(np.float32)


def _wall(
    rng: np.random.Generator,
    scene: _Scene,
    maps: tuple[ScarMap, ScarMap],
    muscle: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Signal of the wall [S, h, w], and occupancy [2, S, h, w] of scar and mimic in it."""
    look = scene.look
    texture = scene.smooth(rng, 12.0)
    wall = look.texture * texture
    wall += rng.uniform(0.0, 0.35) * np.clip(scene.tissue, -0.4, 0.4)
    occupancy = np.zeros((2, *wall.shape), np.float32)
    where = np.nonzero(muscle)
    thickness = np.maximum(scene.epi[where] - scene.endo[where], 1.0)
    depth = np.clip(-scene.endo[where] / thickness, -0.2, 1.2)
    heart = scene.angle[where], scene.levels[where[0]], depth
    amplitude = look.scar * (1 + 0.5 * texture[where] * look.texture)
    amplitude *= np.clip(1 + look.scar_patches * scene.smooth(rng, 5.0)[where], 0.2, 2.0)
    for index, scar_map in enumerate(maps):
        margin = scene.edge(scar_map.margin(*heart) * thickness, look.scar_border_mm)
        core = scene.edge(scar_map.core_margin(*heart) * thickness)
        wall[where] += margin * (amplitude * (1 - 0.85 * core) - wall[where])
        occupancy[index][where] = margin
    return wall, occupancy


def _blood(rng: np.random.Generator, scene: _Scene) -> FloatArray:
    """Signal of the cavity: papillary muscles and trabeculae are as dark as the cine shows them."""
    look = scene.look
    # The cine's own partial volume at the endocardium is no muscle: it would move the border in.
    tissue = scene.tissue / np.clip(scene.endo / CINE_BLUR_MM + 0.5, 0.35, 1)
    low = rng.uniform(0.0, 0.45)  # the higher, the larger the muscles come out
    strand = 1 - np.clip((tissue - low) / rng.uniform(0.25, 0.45), 0, 1)
    rim = np.clip(1.0 - scene.endo / RIM_MM, 0, 1)
    fine = scene.smooth(rng, 5.0)
    blood = 1.0 + 0.6 * look.blood_streaks * scene.smooth(rng, 9.0)
    blood += look.slow_flow * rim * np.clip(fine, 0, 1)
    blood -= look.trabeculae * rim * np.clip(-fine, 0, 1) * blood
    return blood - rng.uniform(0.6, 1.0) * strand * (blood - 0.05)


def _labels(
    inside: FloatArray, cavity: FloatArray, bright: FloatArray
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels, and where viable myocardium was painted as a mimic."""
    labels = np.full(inside.shape, UNKNOWN_OUTSIDE, np.uint8)
    muscle = inside > 0.5
    labels[muscle] = Label.VIABLE_MYOCARDIUM
    labels[muscle & (bright[0] > 0.5)] = Label.SCAR
    labels[cavity > 0.5] = Label.LV_CAVITY
    return labels, (labels == Label.VIABLE_MYOCARDIUM) & (bright[1] > 0.5)


def _centres(labels: NDArray[np.uint8], spacing_mm: float) -> NDArray[np.float64]:
    """[S, 2] centroid of the LV as (column, row) offset in mm from the image centre."""
    offsets = (np.arange(labels.shape[-1]) + 0.5 - labels.shape[-1] / 2) * spacing_mm
    heart = labels != UNKNOWN_OUTSIDE
    count = np.maximum(heart.sum(axis=(1, 2)), 1)
    columns, rows = heart.sum(axis=1) @ offsets / count, heart.sum(axis=2) @ offsets / count
    return np.stack([columns, rows], axis=1)
