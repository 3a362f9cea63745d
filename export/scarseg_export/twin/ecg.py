"""Twelve-lead beats of simulated hearts: activation, dipoles, electrodes, leads.

The same :class:`~scarseg_export.twin.scar.ScarMap` that is painted into the image makes nodes
electrically silent here. Steps: node meshes and eikonal activation times
(:mod:`scarseg_export.twin.mesh`) → source strength of every node as seen from each electrode (flux
over the faces between neighbours) → de- and repolarisation as convolutions in time → leads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin import conduction
from scarseg_export.twin.anatomy import Anatomy
from scarseg_export.twin.conduction import SHAPE, Array, Conduction, Physics, sample_conduction
from scarseg_export.twin.mesh import Mesh, activation, mesh_of, right_activation, shifted, tissue
from scarseg_export.twin.scar import ScarMap
from scarseg_export.twin.torso import ELECTRODES_MM
from scarseg_runtime.contract import BEAT_SAMPLES, ECG_RATE_HZ
from scarseg_runtime.ecg.beats import centre_beat
from scarseg_runtime.ecg.signal import band_gain
from scarseg_runtime.preprocess import taper_window, zero_baseline

__all__ = [
    "ONSET_MS",
    "STEP_MS",
    "Conduction",
    "finish_beats",
    "sample_conduction",
    "simulate_beats",
    "simulate_raw",
]

STEP_MS = 1000.0 / ECG_RATE_HZ
ONSET_MS = 340.0
"""Time of first activation within the simulated window."""

_P_WAVE_MV = np.array([0.06, 0.12, 0.06, -0.09, 0.0, 0.09, 0.03, 0.05, 0.05, 0.05, 0.05, 0.05])
_ARMS, _LEG = slice(0, 2), 2
"""Electrodes RA and LA, and LL."""
_DEPOLARISATION_MS = 2.0


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
    usual = conduction.USUAL
    mesh = [mesh_of(a, t) for a, t in zip(anatomies, traits, strict=True)]
    viable, slow, near = tissue(scars, mesh)
    times = activation(mesh, slow, traits, usual)
    electrodes = np.stack([t.chest_scale * ELECTRODES_MM + t.electrode_shift_mm for t in traits])
    duration = np.stack([t.duration_ms for t in traits])
    duration = duration - usual.duration_late * (times - times.mean(axis=(1, 2, 3), keepdims=True))
    duration += near * np.array([t.border_ms for t in traits])[:, None, None, None]
    scarred = np.minimum(4.0 * near.mean(axis=(1, 2, 3), keepdims=True), 1.0)
    across = duration - duration.mean(axis=3, keepdims=True)
    duration = duration - usual.dulling * scarred * across
    potentials = _waves(times, duration, _source_weights(mesh, viable, electrodes, usual), usual)
    potentials += _right_ventricle(mesh, traits, electrodes, usual)
    potentials[:, _ARMS] *= usual.limb_gain
    potentials[:, _LEG] *= usual.leg_gain
    leads = _leads(usual.gain_mv * potentials) * np.array([t.gain for t in traits])[:, None, None]
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


def _source_weights(mesh: list[Mesh], viable: Array, electrodes: Array, usual: Physics) -> Array:
    """[patients, electrodes, nodes] potential at an electrode per unit depolarisation of a node.

    Current crosses only the faces between neighbours, along the line that joins them, and no
    face of silent tissue: an uncoupled scar must not look like an injury current.
    """
    place, area = (np.stack([getattr(m, name) for m in mesh]) for name in ("place", "area"))
    weights = np.zeros((len(mesh), electrodes.shape[1], *SHAPE))
    for axis, shift in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        neighbour = shifted(place, shift, fill=np.nan)
        step = neighbour - place
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        middle = place + step / 2
        both = viable * shifted(viable, shift, fill=0.0)
        face = (0.5 * (area + shifted(area, shift, fill=np.nan)))[..., axis] * both
        flux = step / length * face[..., None] * (usual.brody if shift[2] == 0 else 1.0)
        lead_field = np.nan_to_num(_seen(middle, flux, electrodes, usual))
        weights += lead_field
        weights -= np.roll(lead_field, shift, axis=(2, 3, 4))  # the neighbour's side of the face
    return weights.reshape(len(mesh), electrodes.shape[1], -1)


def _seen(place: Array, flux: Array, electrodes: Array, usual: Physics) -> Array:
    """[patients, electrodes, ...] potential of dipoles ``flux`` at ``place`` [patients, ..., 3]."""
    spread = (slice(None), slice(None), *[None] * (place.ndim - 2), slice(None))
    away = electrodes[spread] - place[:, None]
    distance = np.sqrt((away**2).sum(-1) + usual.near_mm**2)
    return (away * flux[:, None]).sum(-1) / distance**3


def _right_ventricle(
    mesh: list[Mesh], traits: list[Conduction], electrodes: Array, usual: Physics
) -> Array:
    """Potentials of the right free wall: a thin sheet, activated from inside."""
    place, flux = (np.stack([getattr(m, n) for m in mesh]) for n in ("right_place", "right_flux"))
    strength = usual.right_gain * np.array([t.rv_strength for t in traits])
    sheet = _seen(place, flux * strength[:, None, None, None], electrodes, usual)
    sheet = sheet.reshape(*sheet.shape[:2], -1)
    inside = right_activation(mesh, traits, usual).reshape(len(mesh), -1)
    times = np.concatenate([inside, inside + 4.0 / usual.across_mm_ms], axis=1)
    duration = np.full_like(times, usual.right_duration_ms)
    duration[:, : inside.shape[1]] += usual.right_depth_ms
    own = np.array([t.duration_ms.mean() for t in traits]) - usual.plateau_ms
    return _waves(times, duration + own[:, None], np.concatenate([sheet, -sheet], axis=2), usual)


def _waves(times: Array, duration: Array, weights: Array, usual: Physics) -> Array:
    """[patients, electrodes, 512] of nodes that are depolarised at ``times`` for a ``duration``."""
    frequencies = np.fft.rfftfreq(BEAT_SAMPLES, STEP_MS)
    sharp = np.exp(-2.0 * (np.pi * frequencies * _DEPOLARISATION_MS) ** 2)
    soft = np.exp(-2.0 * (np.pi * frequencies * usual.recovery_ms) ** 2)
    # An exponential that runs up to the end of the action potential, with its mean at 0.
    turn = 2j * np.pi * frequencies * usual.sag_ms
    soft = soft * np.exp(-turn) / (1.0 - turn)
    steps = np.fft.rfft(_steps(times, weights)) * sharp
    steps = steps - np.fft.rfft(_steps(times + duration, weights)) * soft
    return np.cumsum(np.fft.irfft(steps, BEAT_SAMPLES), axis=-1)


def _steps(times: Array, weights: Array) -> Array:
    """[patients, electrodes, 512] sum of weights [patients, electrodes, nodes] in each sample."""
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
    return steps


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
    heights = _P_WAVE_MV * np.stack([t.p_shape for t in traits])
    one, two = heights[:, 0], heights[:, 1]  # the other limb leads follow (Einthoven)
    heights[:, 2:6] = np.stack([two - one, -(one + two) / 2, one - two / 2, two - one / 2], 1)
    return np.stack(waves)[:, None, :] * heights[:, :, None]
