"""Node meshes of simulated ventricles: places, faces, tissue, and when each node is activated.

The left ventricle is meshed in confocal (prolate spheroidal) coordinates, so that faces stand
across the lines that join their nodes; the free wall of the right one is a bowl beside it, of
two layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scarseg_export.twin.anatomy import Anatomy
from scarseg_export.twin.conduction import (
    ANGLES,
    DEPTH,
    LAYERS,
    LEVELS,
    PHI,
    SHAPE,
    Array,
    Conduction,
    Physics,
)
from scarseg_export.twin.scar import ScarMap
from scarseg_export.twin.torso import ANTERIOR, LATERAL, LONG_AXIS

ETA = np.deg2rad(np.linspace(104.0, 8.0, LEVELS))
RV_LEVELS, RV_ANGLES = 6, 7
RV_SHAPE = (RV_LEVELS, RV_ANGLES)
RV_WALL_MM = 4.0


@dataclass(frozen=True, slots=True)
class Mesh:
    """Nodes of one heart in the patient's frame, mm."""

    place: Array
    """[LEVELS, ANGLES, LAYERS, 3] of the left ventricle."""
    area: Array
    """[LEVELS, ANGLES, LAYERS, 3] of the faces across each direction of the mesh, mm²."""
    angle_deg: Array
    level: Array
    depth: Array
    """Heart coordinates of every node: see :mod:`scarseg_export.twin.anatomy`."""
    right_place: Array
    """[RV_LEVELS, RV_ANGLES, 3] of the right ventricle's free wall."""
    right_flux: Array
    """[RV_LEVELS, RV_ANGLES, 3] area of each patch along its outward normal, mm²."""


def mesh_of(anatomy: Anatomy, trait: Conduction) -> Mesh:
    """Both ventricles of one patient, turned as the heart lies in the chest."""
    long_mm = anatomy.length_mm / (1.0 - np.cos(ETA[0]))
    epi = min(anatomy.epi_radius_mm, 0.85 * long_mm)
    focus = np.sqrt(long_mm**2 - epi**2)
    xi_range = np.arcsinh(np.array([max(epi - anatomy.wall_mm, 8.0), epi]) / focus)
    xi = xi_range[0] + DEPTH * (xi_range[1] - xi_range[0])
    eta, phi, xi = np.meshgrid(ETA, PHI, xi, indexing="ij")
    radius = focus * np.sinh(xi) * np.sin(eta)
    along = focus * np.cosh(xi) * np.cos(eta)
    centre = along.mean()
    display = np.deg2rad(anatomy.insertion_deg) + phi
    axes = np.stack([LATERAL, ANTERIOR, LONG_AXIS]) @ trait.rotation.T
    local = np.stack([radius * np.cos(display), radius * np.sin(display), along - centre], -1)
    # Scale factors of the coordinates give each face's area.
    h = focus * np.sqrt(np.sinh(xi) ** 2 + np.sin(eta) ** 2)
    d_eta, d_phi, d_xi = abs(ETA[1] - ETA[0]), PHI[1], (xi_range[1] - xi_range[0]) / 2
    ring = focus * np.sinh(xi) * np.sin(eta) * d_phi
    areas = np.stack([ring * h * d_xi, h * d_eta * h * d_xi, ring * h * d_eta], -1)
    base = focus * np.cosh(xi_range[1]) * np.cos(ETA[0])
    apex = focus * np.cosh(xi_range[1])
    right = _right_wall(anatomy, base - centre, apex - base)
    return Mesh(
        place=local @ axes,
        area=areas,
        angle_deg=np.broadcast_to(np.rad2deg(phi), SHAPE),
        level=np.clip((along - base) / (apex - base), 0, 1),
        depth=np.broadcast_to(DEPTH, SHAPE),
        right_place=right[0] @ axes,
        right_flux=right[1] @ axes,
    )


def _right_wall(anatomy: Anatomy, base_mm: float, length_mm: float) -> tuple[Array, Array]:
    """Places and outward face vectors of the right free wall, between the two insertions."""
    across = (np.arange(RV_ANGLES) + 0.5) / RV_ANGLES * anatomy.septum_deg
    level = (np.arange(RV_LEVELS) + 0.5) / RV_LEVELS * anatomy.rv_end
    angle, levels = np.meshgrid(across, level)
    radius = anatomy.rv_outer_radius(angle.astype(np.float32), levels.astype(np.float32))
    display = np.deg2rad(anatomy.insertion_deg + angle)
    outward = np.stack([np.cos(display), np.sin(display), np.zeros(RV_SHAPE)], -1)
    place = outward * radius[..., None].astype(np.float64)
    place[..., 2] = base_mm + levels * length_mm
    face = np.cross(np.gradient(place, axis=1), np.gradient(place, axis=0))
    return place, face * np.sign((face * outward).sum(-1, keepdims=True))


def tissue(scars: list[ScarMap], mesh: list[Mesh]) -> tuple[Array, Array, Array]:
    """Viable fraction, relative speed, and nearness of scar (0 to 1) of every node."""
    margins = np.stack(
        [
            scar.margin(*(c.astype(np.float32) for c in (m.angle_deg, m.level, m.depth)))
            for scar, m in zip(scars, mesh, strict=True)
        ]
    ).astype(np.float64)
    scar_fraction = np.clip(margins / 0.3 + 0.5, 0.0, 1.0)
    border = np.clip(margins / 0.2 + 1.0, 0.0, 1.0)
    speed = np.where(scar_fraction > 0, 1 - 0.9 * scar_fraction, 1) * (
        1 - 0.5 * border * (1 - scar_fraction)
    )
    return 1.0 - scar_fraction, speed, _nearness(scar_fraction)


def _nearness(scar_fraction: Array) -> Array:
    """Scar of the whole wall, blurred over some 25 mm along and around it."""
    wall = scar_fraction.mean(axis=3, keepdims=True)
    for _ in range(2):
        wall = (np.roll(wall, 1, 2) + 2 * wall + np.roll(wall, -1, 2)) / 4
        padded = np.concatenate([wall[:, :1], wall, wall[:, -1:]], axis=1)
        wall = (padded[:, :-2] + 2 * wall + padded[:, 2:]) / 4
    return np.broadcast_to(np.clip(1.6 * wall, 0.0, 1.0), scar_fraction.shape)


def activation(mesh: list[Mesh], slow: Array, traits: list[Conduction], usual: Physics) -> Array:
    """[patients, LEVELS, ANGLES, LAYERS] eikonal arrival times in ms, by relaxation over
    neighbours until nothing changes."""
    place = np.stack([m.place for m in mesh])
    towards_base = np.linspace(1, 0, LEVELS)[:, None] ** 2
    base = np.empty((len(traits), *SHAPE))
    base[..., 0] = usual.endocardium_mm_ms * (1.0 - usual.base_slowing * towards_base)
    base[..., 1:] = usual.wall_mm_ms
    for patient, trait in enumerate(traits):
        if trait.bundle == "LBBB":  # without the left bundle the Purkinje net is entered late
            base[patient, ..., 0] = 1.0
    speed = np.stack([t.speed for t in traits]) * slow
    surface, across = speed * base, speed * usual.across_mm_ms
    hops = [
        (shift, _hop_ms(place, across if shift[2] else surface, shift))
        for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (0, 1, 1))
    ]
    times = np.stack([_breakthrough(t) for t in traits])
    for _ in range(120):
        before = times
        for shift, cost in hops:
            there = shifted(times, shift) + cost
            times = np.minimum(times, there)
            back = tuple(-s for s in shift)
            times = np.minimum(times, shifted(times + cost, back))
        if np.array_equal(before, times):
            break
    return times


def right_activation(mesh: list[Mesh], traits: list[Conduction], usual: Physics) -> Array:
    """[patients, RV_LEVELS, RV_ANGLES] when the inside of the right free wall is activated.

    The right bundle ends at the anterior papillary muscle, low in the free wall; without it the
    wave arrives through the septum and is slow.
    """
    times = []
    for m, trait in zip(mesh, traits, strict=True):
        entry = m.right_place[RV_LEVELS * 2 // 3, RV_ANGLES // 3]
        away = np.linalg.norm(m.right_place - entry, axis=-1)
        start, speed = {
            "normal": (trait.rv_start_ms, usual.right_mm_ms),
            "LBBB": (0.0, usual.right_mm_ms),
            "RBBB": (60.0, 0.5 * usual.right_mm_ms),
        }[trait.bundle]
        times.append(max(start, 0.0) + away / speed)
    return np.stack(times)


def _breakthrough(trait: Conduction) -> Array:
    """Start times of nodes: inf but for the Purkinje breakthrough sites (after Durrer 1970)."""
    start = np.full(SHAPE, np.inf)
    septal, anterior, inferior, lateral, right = trait.seeds_ms
    if trait.bundle != "LBBB":
        sites = ((60, 5, septal), (330, 4, anterior), (165, 5, inferior), (240, 6, lateral))
        for angle, level, time in sites:
            start[level, round(angle / 15) % ANGLES, 0] = time
    if trait.bundle == "LBBB":
        right = 0.0
    if trait.bundle != "RBBB":
        start[3:8, 1:8, LAYERS - 1] = right
    return start


def _hop_ms(place: Array, speed: Array, shift: tuple[int, int, int]) -> Array:
    """Travel time between each node and its neighbour at ``shift`` (inf off the mesh)."""
    distance = np.linalg.norm(shifted(place, shift, fill=np.nan) - place, axis=-1)
    pace = 0.5 / speed + 0.5 / shifted(speed, shift, fill=np.nan)
    return np.nan_to_num(distance * pace, nan=np.inf)


def shifted(values: Array, shift: tuple[int, ...], fill: float = np.inf) -> Array:
    """values at node + shift; periodic in angle, ``fill`` off the mesh in level and depth."""
    result = np.roll(values, -shift[1], axis=2)
    for axis, amount in ((1, shift[0]), (3, shift[2])):
        if not amount:
            continue
        result = np.roll(result, -amount, axis=axis)
        edge = [slice(None)] * result.ndim
        edge[axis] = slice(-amount, None) if amount > 0 else slice(None, -amount)
        result[tuple(edge)] = fill
    return result
