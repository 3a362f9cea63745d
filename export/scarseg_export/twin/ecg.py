"""Twelve-lead beats of simulated hearts: activation, dipoles, electrodes, leads.

The same :class:`~scarseg_export.twin.scar.ScarMap` that is painted into the image makes nodes
electrically silent here. Steps: confocal (prolate spheroidal) node mesh → eikonal activation
times by relaxation → source strength of every node as seen from each electrode (flux over the
faces between neighbours) → de- and repolarisation as convolutions in time → leads.

Conduction speeds after Li et al. 2023 (see the project's clinical facts): fibre 0.065,
transmural 0.051, endocardial 0.10–0.15, Purkinje 0.2 cm/ms; scar × 0.1, border zone × 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.anatomy import Anatomy
from scarseg_export.twin.scar import ScarMap
from scarseg_export.twin.torso import ANTERIOR, ELECTRODES_MM, LATERAL, LONG_AXIS
from scarseg_runtime.contract import BEAT_SAMPLES, ECG_RATE_HZ
from scarseg_runtime.ecg.beats import centre_beat
from scarseg_runtime.ecg.signal import band_gain
from scarseg_runtime.preprocess import taper_window, zero_baseline

Array = NDArray[np.float64]

LEVELS, ANGLES, LAYERS = 10, 24, 3
_SHAPE = (LEVELS, ANGLES, LAYERS)
STEP_MS = 1000.0 / ECG_RATE_HZ
ONSET_MS = 340.0
"""Time of first activation within the simulated window."""

_ETA = np.deg2rad(np.linspace(104.0, 8.0, LEVELS))
_PHI = np.deg2rad(np.arange(ANGLES) * (360.0 / ANGLES))
_DEPTH = np.array([0.0, 0.5, 1.0])

_P_WAVE_MV = np.array([0.06, 0.12, 0.06, -0.09, 0.0, 0.09, 0.03, 0.05, 0.05, 0.05, 0.05, 0.05])

_BRODY = 0.12
"""Share of tangential dipoles that is seen from outside, relative to radial ones.

The well-conducting blood in the cavity strengthens radial and weakens tangential dipoles (the
Brody effect); without it a wave running from apex to base turns the chest leads negative.
"""

_GAIN_MV = 16.0
"""Scales dipole flux (mm² · mm / mm³) to mV; puts the median largest QRS near 1.5 mV."""


@dataclass(frozen=True, slots=True)
class Conduction:
    """Electrical traits of one patient that have nothing to do with scar."""

    bundle: str
    """``normal``, ``LBBB`` or ``RBBB``."""
    speed: Array
    """[LEVELS, ANGLES, LAYERS] relative conduction speed."""
    seeds_ms: Array
    """Start times of septal, anterior, inferior and right-septal breakthrough."""
    duration_ms: Array
    """[LEVELS, ANGLES, LAYERS] action potential duration."""
    rotation: Array
    """[3, 3] deviation of the heart from its usual axes."""
    electrode_shift_mm: Array
    chest_scale: float
    """Distance of the electrodes relative to a usual chest."""
    gain: float
    rv_strength: float
    pr_ms: float
    rr_ms: float


def sample_conduction(rng: np.random.Generator) -> Conduction:
    """Draw the electrical nuisances of one patient."""
    bundle = str(rng.choice(["normal", "LBBB", "RBBB"], p=(0.86, 0.06, 0.08)))
    depth_term = 35.0 * (1 - _DEPTH)[None, None, :]
    base_term = 12.0 * np.linspace(1, 0, LEVELS)[:, None, None]
    return Conduction(
        bundle=bundle,
        # Without speed and chest varying as a whole, voltage and QRS duration would give away
        # the size of the heart; in patients they hardly do.
        speed=np.exp(rng.normal(0.0, 0.12) + 0.15 * _patchy(rng)),
        chest_scale=float(np.exp(rng.normal(0.0, 0.10))),
        seeds_ms=np.array([0.0, rng.uniform(0, 8), rng.uniform(2, 12), rng.uniform(3, 10)]),
        duration_ms=rng.uniform(245, 285) + depth_term + base_term + 6 * _patchy(rng),
        rotation=_small_rotation(rng, 13.0),
        electrode_shift_mm=rng.normal(0.0, 12.0, ELECTRODES_MM.shape),
        gain=float(np.exp(rng.normal(0.0, 0.30))),
        rv_strength=float(np.exp(rng.normal(0.0, 0.35))),
        pr_ms=rng.uniform(110, 190),
        rr_ms=rng.uniform(600, 1150),
    )


def simulate_beats(
    anatomies: list[Anatomy], scars: list[ScarMap], traits: list[Conduction]
) -> NDArray[np.float32]:
    """R-aligned mean beats of several patients at once.

    Returns:
        [patients, 12, 512] float32, mV at 500 Hz, band-passed, tapered and zeroed at the PR
        segment as the runtime does with real records.
    """
    raw = simulate_raw(anatomies, scars, traits)
    return finish_beats(raw, np.array([trait.rr_ms for trait in traits]))


def simulate_raw(anatomies: list[Anatomy], scars: list[ScarMap], traits: list[Conduction]) -> Array:
    """[patients, 12, 512] beats in mV as a noiseless recorder would see them, unfiltered."""
    mesh = [_mesh(a, t) for a, t in zip(anatomies, traits, strict=True)]
    position = np.stack([m[0] for m in mesh])
    frame = np.stack([m[1] for m in mesh])
    viable, slow = _tissue(scars, [m[2] for m in mesh])
    speed = np.stack([t.speed for t in traits]) * slow
    start = np.stack([_breakthrough(t) for t in traits])
    times = _activation(position, speed, start, traits)
    electrodes = np.stack([t.chest_scale * ELECTRODES_MM + t.electrode_shift_mm for t in traits])
    weights = _source_weights(position, frame, viable, electrodes)
    duration = np.stack([t.duration_ms for t in traits])
    duration = duration - 0.25 * (times - times.mean(axis=(1, 2, 3), keepdims=True))
    potentials = _wave(times, weights, 2.0) - _wave(times + duration, weights, 42.0)
    potentials *= _GAIN_MV
    potentials += _right_ventricle(traits, electrodes)
    leads = _leads(potentials) * np.array([t.gain for t in traits])[:, None, None]
    return leads + _p_waves(traits)


def finish_beats(raw: Array, rr_ms: Array) -> NDArray[np.float32]:
    """Filter, align, taper and zero raw beats exactly as the runtime prepares real ones."""
    frequencies = np.fft.rfftfreq(BEAT_SAMPLES, 1.0 / ECG_RATE_HZ)
    filtered = np.fft.irfft(np.fft.rfft(raw, axis=-1) * band_gain(frequencies), BEAT_SAMPLES)
    near = BEAT_SAMPLES + round((ONSET_MS + 40.0) / STEP_MS)
    beats = []
    for beat, rr in zip(filtered, rr_ms, strict=True):
        centred = centre_beat(np.tile(beat, (1, 3)), near)
        beats.append(zero_baseline(centred) * taper_window(float(rr)))
    return np.asarray(beats, dtype=np.float32)


def _mesh(anatomy: Anatomy, trait: Conduction) -> tuple[Array, Array, tuple[Array, Array, Array]]:
    """Node positions [.., 3] in mm, face areas × directions [.., 3, 3], heart coordinates."""
    long_mm = anatomy.length_mm / (1.0 - np.cos(_ETA[0]))
    epi = min(anatomy.epi_radius_mm, 0.85 * long_mm)
    focus = np.sqrt(long_mm**2 - epi**2)
    xi_range = np.arcsinh(np.array([max(epi - anatomy.wall_mm, 8.0), epi]) / focus)
    xi = xi_range[0] + _DEPTH * (xi_range[1] - xi_range[0])
    eta, phi, xi = np.meshgrid(_ETA, _PHI, xi, indexing="ij")
    radius = focus * np.sinh(xi) * np.sin(eta)
    along = focus * np.cosh(xi) * np.cos(eta)
    display = np.deg2rad(anatomy.insertion_deg) + phi
    axes = np.stack([LATERAL, ANTERIOR, LONG_AXIS]) @ trait.rotation.T
    local = np.stack([radius * np.cos(display), radius * np.sin(display), along - along.mean()], -1)
    # Scale factors of the coordinates give each face's area.
    h = focus * np.sqrt(np.sinh(xi) ** 2 + np.sin(eta) ** 2)
    d_eta, d_phi, d_xi = abs(_ETA[1] - _ETA[0]), _PHI[1], (xi_range[1] - xi_range[0]) / 2
    ring = focus * np.sinh(xi) * np.sin(eta) * d_phi
    areas = np.stack([ring * h * d_xi, h * d_eta * h * d_xi, ring * h * d_eta], -1)
    base = focus * np.cosh(xi_range[1]) * np.cos(_ETA[0])
    level = (along - base) / (focus * np.cosh(xi_range[1]) - base)
    angle = np.broadcast_to(np.rad2deg(phi), _SHAPE)
    depth = np.broadcast_to(_DEPTH, _SHAPE)
    return local @ axes, areas, (angle, np.clip(level, 0, 1), depth)


def _tissue(
    scars: list[ScarMap], coordinates: list[tuple[Array, Array, Array]]
) -> tuple[Array, Array]:
    """Viable fraction and relative speed of every node."""
    margins = np.stack(
        [
            scar.margin(*(c.astype(np.float32) for c in where))
            for scar, where in zip(scars, coordinates, strict=True)
        ]
    ).astype(np.float64)
    scar_fraction = np.clip(margins / 0.3 + 0.5, 0.0, 1.0)
    border = np.clip(margins / 0.2 + 1.0, 0.0, 1.0)
    return 1.0 - scar_fraction, np.where(scar_fraction > 0, 1 - 0.9 * scar_fraction, 1) * (
        1 - 0.5 * border * (1 - scar_fraction)
    )


def _breakthrough(trait: Conduction) -> Array:
    """Start times of nodes: inf but for the Purkinje breakthrough sites."""
    start = np.full(_SHAPE, np.inf)
    septal, anterior, inferior, right = trait.seeds_ms
    if trait.bundle != "LBBB":
        for angle, level, time in ((60, 5, septal), (330, 4, anterior), (190, 5, inferior)):
            start[level, round(angle / 15) % ANGLES, 0] = time
    if trait.bundle == "LBBB":
        right = 0.0
    if trait.bundle != "RBBB":
        start[3:8, 1:8, LAYERS - 1] = right
    return start


def _activation(position: Array, speed: Array, start: Array, traits: list[Conduction]) -> Array:
    """Eikonal arrival times in ms, by relaxation over neighbours until nothing changes."""
    base = np.array([2.4, 0.6, 0.55])[None, None, None, :] * np.ones((len(traits), 1, 1, 1))
    for patient, trait in enumerate(traits):
        if trait.bundle == "LBBB":  # without the left bundle the Purkinje net is entered late
            base[patient, ..., 0] = 1.0
    surface, across = speed * base, speed * 0.42
    hops = [
        (shift, _hop_ms(position, across if shift[2] else surface, shift))
        for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (0, 1, 1))
    ]
    times = start.copy()
    for _ in range(120):
        before = times
        for shift, cost in hops:
            there = _shifted(times, shift) + cost
            times = np.minimum(times, there)
            back = tuple(-s for s in shift)
            times = np.minimum(times, _shifted(times + cost, back))
        if np.array_equal(before, times):
            break
    return times


def _hop_ms(position: Array, speed: Array, shift: tuple[int, int, int]) -> Array:
    """Travel time between each node and its neighbour at ``shift`` (inf off the mesh)."""
    distance = np.linalg.norm(_shifted(position, shift, fill=np.nan) - position, axis=-1)
    pace = 0.5 / speed + 0.5 / _shifted(speed, shift, fill=np.nan)
    return np.nan_to_num(distance * pace, nan=np.inf)


def _shifted(values: Array, shift: tuple[int, ...], fill: float = np.inf) -> Array:
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


def _source_weights(position: Array, area: Array, viable: Array, electrodes: Array) -> Array:
    """[patients, electrodes, nodes] potential at an electrode per unit depolarisation of a node.

    Current crosses only the faces between neighbours, along the line that joins them, and no
    face of silent tissue: an uncoupled scar must not look like an injury current.
    """
    patients = position.shape[0]
    weights = np.zeros((patients, electrodes.shape[1], *_SHAPE))
    for axis, shift in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        neighbour = _shifted(position, shift, fill=np.nan)
        step = neighbour - position
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        middle = position + step / 2
        both = viable * _shifted(viable, shift, fill=0.0)
        face = (0.5 * (area + _shifted(area, shift, fill=np.nan)))[..., axis] * both
        flux = step / length * face[..., None] * (_BRODY if shift[2] == 0 else 1.0)
        away = electrodes[:, :, None, None, None, :] - middle[:, None]
        seen = (away * flux[:, None]).sum(-1)
        lead_field = np.nan_to_num(seen / np.linalg.norm(away, axis=-1) ** 3)
        weights += lead_field
        weights -= _moved_to_neighbour(lead_field, shift)
    return weights.reshape(patients, electrodes.shape[1], -1)


def _moved_to_neighbour(values: Array, shift: tuple[int, int, int]) -> Array:
    """Each value placed on its neighbour at ``shift`` (values off the mesh are zero)."""
    return np.roll(values, shift, axis=(2, 3, 4))


def _wave(times: Array, weights: Array, width_ms: float) -> Array:
    """[patients, electrodes, 512] sum over nodes of a smooth unit step at each node's time."""
    patients, electrodes, nodes = weights.shape
    position = (ONSET_MS + np.nan_to_num(times, posinf=400.0).reshape(patients, nodes)) / STEP_MS
    position = np.clip(position, 0, BEAT_SAMPLES - 2.001)
    low = position.astype(np.int64)
    part = position - low
    flat = low + (np.arange(patients) * BEAT_SAMPLES)[:, None]
    steps = np.empty((patients, electrodes, BEAT_SAMPLES))
    for electrode in range(electrodes):
        w = weights[:, electrode]
        counts = np.bincount(flat.ravel(), (w * (1 - part)).ravel(), patients * BEAT_SAMPLES)
        counts += np.bincount(flat.ravel() + 1, (w * part).ravel(), patients * BEAT_SAMPLES)
        steps[:, electrode] = counts.reshape(patients, BEAT_SAMPLES)
    frequencies = np.fft.rfftfreq(BEAT_SAMPLES, STEP_MS)
    smooth = np.exp(-2.0 * (np.pi * frequencies * width_ms) ** 2)
    return np.cumsum(np.fft.irfft(np.fft.rfft(steps, axis=-1) * smooth, BEAT_SAMPLES), axis=-1)


def _right_ventricle(traits: list[Conduction], electrodes: Array) -> Array:
    """Potentials of the RV free wall, lumped into one dipole with its own time course."""
    place = -45.0 * LATERAL
    direction = np.array([-0.75, -0.6, 0.1])
    away = electrodes - place
    seen = (away @ direction) / np.linalg.norm(away, axis=-1) ** 3
    time = np.arange(BEAT_SAMPLES) * STEP_MS - ONSET_MS
    centre = {"normal": 34.0, "LBBB": 16.0, "RBBB": 98.0}
    width = {"normal": 11.0, "LBBB": 11.0, "RBBB": 19.0}
    course = np.stack(
        [
            t.rv_strength * np.exp(-0.5 * ((time - centre[t.bundle]) / width[t.bundle]) ** 2)
            for t in traits
        ]
    )
    return 2600.0 * seen[:, :, None] * course[:, None, :]


def _leads(potentials: Array) -> Array:
    """[patients, 12, n] standard leads from nine electrodes."""
    ra, la, ll = potentials[:, 0], potentials[:, 1], potentials[:, 2]
    wilson = (ra + la + ll) / 3.0
    limb = [la - ra, ll - ra, ll - la]
    augmented = [1.5 * (electrode - wilson) for electrode in (ra, la, ll)]
    chest = [potentials[:, electrode] - wilson for electrode in range(3, 9)]
    return np.stack(limb + augmented + chest, axis=1)


def _p_waves(traits: list[Conduction]) -> Array:
    time = np.arange(BEAT_SAMPLES) * STEP_MS - ONSET_MS
    waves = [np.exp(-0.5 * ((time + t.pr_ms - 45.0) / 20.0) ** 2) * t.gain for t in traits]
    return np.stack(waves)[:, None, :] * _P_WAVE_MV[None, :, None]


def _patchy(rng: np.random.Generator) -> Array:
    """Smooth regional variation over the mesh, about unit standard deviation."""
    level = np.linspace(0, np.pi, LEVELS)[:, None, None]
    angle = _PHI[None, :, None]
    field = np.zeros(_SHAPE)
    for order in (1, 2):
        phase = rng.uniform(0, 2 * np.pi, 2)
        field += rng.normal() * np.cos(order * angle + phase[0]) * np.cos(level + phase[1])
    return field


def _small_rotation(rng: np.random.Generator, degrees: float) -> Array:
    """Random rotation matrix with a normally distributed angle about each axis."""
    x, y, z = np.deg2rad(rng.normal(0.0, degrees, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
