"""Electrical traits of simulated patients, and the constants that all of them share.

``USUAL`` was fitted to mean and spread of the plain normal records of PTB-XL, folds 1 to 8, and to
the mean change that anterior and inferior infarcts make (``bench/fit_twin_ecg.py``); no beat of
theirs is kept. Gain, ``border_ms``, ``dulling`` and ``BETWEEN`` were then set by hand: the fit puts
all T changes of infarcts on the whole heart, and none of them over the scar. Starting values and
conduction speeds after Li et al. 2023 (see the project's clinical facts) and Durrer 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.torso import ELECTRODES_MM

Array = NDArray[np.float64]

LEVELS, ANGLES, LAYERS = 10, 24, 3
SHAPE = (LEVELS, ANGLES, LAYERS)
PHI = np.deg2rad(np.arange(ANGLES) * (360.0 / ANGLES))
DEPTH = np.array([0.0, 0.5, 1.0])
_BASE = np.linspace(1, 0, LEVELS)[:, None, None]
_ANGLE = PHI[None, :, None]
_DEEP = (1 - DEPTH)[None, None, :]


@dataclass(frozen=True, slots=True)
class Physics:
    """Constants of the forward model; directions and places in the patient's frame (LPS)."""

    gain_mv: float = 18.5
    """Scales dipole flux (mm² · mm / mm³) to mV."""
    brody: float = 0.0291
    """Share of tangential dipoles that is seen from outside, relative to radial ones.

    The well-conducting blood in the cavity strengthens radial and weakens tangential dipoles (the
    Brody effect); without it a wave running from apex to base turns the chest leads negative."""
    limb_gain: float = 0.667
    leg_gain: float = 1.15
    """Potential of the arms' and of the leg's electrode relative to that in an infinite conductor:
    the torso ends short of them, and from its end on the potential does not fall any further."""
    near_mm: float = 4.28
    """Softens the lead field of near electrodes: skin, fat and lung lie between."""
    turn_deg: tuple[float, float, float] = (12.9, -1.0, 15.0)
    """Mean turn of the electrical heart about the axes of the patient."""
    shift_mm: tuple[float, float, float] = (-15.3, -2.8, -20.6)
    """Mean place of the heart between the electrodes."""
    endocardium_mm_ms: float = 2.08
    base_slowing: float = 0.0
    """Share of the endocardial speed lost at the base, which the Purkinje net does not reach."""
    wall_mm_ms: float = 0.521
    across_mm_ms: float = 0.329
    anterior_ms: float = 6.72
    inferior_ms: float = 5.89
    lateral_ms: float = 24.5
    right_septal_ms: float = 11.6
    """Breakthrough after the left septal one."""
    plateau_ms: float = 220.0
    """Usual action potential duration at a heart rate of 70/min."""
    duration_depth_ms: float = 48.3
    duration_base_ms: float = -16.9
    duration_septum_ms: float = 3.1
    duration_anterior_ms: float = -2.92
    """Longer at endocardium, base, septum and anterior wall by so much."""
    duration_late: float = 0.573
    """Milliseconds by which a node repolarises earlier for each that it is activated later."""
    recovery_ms: float = 50.2
    """Width of the repolarisation of a node."""
    sag_ms: float = 50.2
    """Time constant of the slow sag before it: the ascending limb of T is the slower one."""
    right_gain: float = 0.175
    right_start_ms: float = 3.1
    right_mm_ms: float = 2.26
    right_duration_ms: float = 227.0
    right_depth_ms: float = 14.0
    border_ms: float = 30.0
    """Most that the action potential is longer around a scar."""
    dulling: float = 0.6
    """Share of the transmural gradient that a heart loses with a large scar."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations between patients, of logarithms where a quantity is a factor."""

    turn_deg: tuple[float, float, float] = (11.0, 15.0, 8.0)
    electrode_mm: float = 9.0
    row_mm: float = 10.0
    """All six chest electrodes together, too high or too low."""
    chest: float = 0.08
    gain: float = 0.17
    right: float = 0.3
    recovery: float = 0.2
    """Of all gradients of the action potential duration: they give T its height."""
    recovery_patch_ms: float = 5.5
    speed: float = 0.08
    speed_patch: float = 0.08


USUAL = Physics()
BETWEEN = Spread()


@dataclass(frozen=True, slots=True)
class Conduction:
    """Electrical traits of one patient that have nothing to do with scar, and the reaction of the
    muscle around a scar."""

    bundle: str
    """``normal``, ``LBBB`` or ``RBBB``."""
    speed: Array
    """[LEVELS, ANGLES, LAYERS] relative conduction speed."""
    seeds_ms: Array
    """Start times of septal, anterior, inferior, lateral and right-septal breakthrough."""
    duration_ms: Array
    """[LEVELS, ANGLES, LAYERS] action potential duration."""
    rotation: Array
    """[3, 3] turn of the heart from its usual axes."""
    electrode_shift_mm: Array
    chest_scale: float
    """Distance of the electrodes relative to a usual chest."""
    gain: float
    rv_strength: float
    rv_start_ms: float
    pr_ms: float
    rr_ms: float
    border_ms: float
    """Longer action potential of the muscle around a scar, which turns T negative over it."""
    p_shape: Array = field(default_factory=lambda: np.ones(12))
    """[12] relative height of the P wave."""


def sample_conduction(rng: np.random.Generator) -> Conduction:
    """Draw the electrical nuisances of one patient."""
    usual, between = USUAL, BETWEEN
    bundle = str(rng.choice(["normal", "LBBB", "RBBB"], p=(0.94, 0.03, 0.03)))
    rr_ms = float(rng.uniform(600, 1150))
    shift = rng.normal(0.0, between.electrode_mm, ELECTRODES_MM.shape)
    shift[3:] += rng.normal(0.0, between.row_mm, 3) * np.array([0.5, 0.5, 1.0])
    return Conduction(
        bundle=bundle,
        # Without speed and chest varying as a whole, voltage and QRS duration would give away
        # the size of the heart; in patients they hardly do.
        speed=np.exp(rng.normal(0.0, between.speed) + between.speed_patch * _patchy(rng)),
        chest_scale=float(np.exp(rng.normal(0.0, between.chest))),
        seeds_ms=_breakthrough_times(rng, usual),
        duration_ms=_durations(rng, usual, between, rr_ms),
        rotation=_turn(np.array(usual.turn_deg) + rng.normal(0.0, between.turn_deg)),
        electrode_shift_mm=shift - np.array(usual.shift_mm),
        gain=float(np.exp(rng.normal(0.0, between.gain))),
        rv_strength=float(np.exp(rng.normal(0.0, between.right))),
        rv_start_ms=usual.right_start_ms + _late(rng, 0.08, 12.0, 30.0) + float(rng.normal(0, 2)),
        pr_ms=float(rng.uniform(110, 190)),
        rr_ms=rr_ms,
        border_ms=usual.border_ms * _late(rng, 0.7, 0.2, 1.0),
        p_shape=np.exp(rng.normal(0.0, 0.35)) * (1 + 0.3 * rng.normal(size=12)),
    )


def _late(rng: np.random.Generator, chance: float, low: float, high: float) -> float:
    """Between ``low`` and ``high`` with a ``chance``, else 0; draws the same numbers either way."""
    hit, value = rng.random() < chance, rng.uniform(low, high)
    return float(value) if hit else 0.0


def _breakthrough_times(rng: np.random.Generator, usual: Physics) -> Array:
    """Fascicular delays (an axis turned by nothing but conduction) are drawn with the rest."""
    mean = np.array([usual.anterior_ms, usual.inferior_ms, usual.lateral_ms])
    times = np.maximum(mean + rng.normal(0.0, (2.0, 2.5, 4.0)), 0.0)
    times[0] += _late(rng, 0.06, 12.0, 35.0)
    times[1] += _late(rng, 0.02, 12.0, 35.0)
    right = max(usual.right_septal_ms + rng.normal(0.0, 2.0), 0.0)
    return np.array([0.0, *times, right])


def _durations(rng: np.random.Generator, usual: Physics, between: Spread, rr_ms: float) -> Array:
    height = np.exp(rng.normal(0.0, between.recovery))
    tilt = 1.0 + 0.35 * rng.normal(size=4)
    gradients = (
        tilt[0] * usual.duration_depth_ms * _DEEP
        + tilt[1] * usual.duration_base_ms * _BASE
        + tilt[2] * usual.duration_septum_ms * np.cos(_ANGLE - np.deg2rad(60.0))
        + tilt[3] * usual.duration_anterior_ms * np.cos(_ANGLE + np.deg2rad(30.0))
    )
    patch = between.recovery_patch_ms + _late(rng, 0.25, 5.0, 15.0)
    plateau = (usual.plateau_ms + rng.normal(0.0, 12.0)) * (rr_ms / 857.0) ** 0.35
    return plateau + height * gradients + patch * _patchy(rng)


def _patchy(rng: np.random.Generator) -> Array:
    """Smooth regional variation over the mesh, about unit standard deviation."""
    level = np.linspace(0, np.pi, LEVELS)[:, None, None]
    field = np.zeros(SHAPE)
    for order in (1, 2):
        phase = rng.uniform(0, 2 * np.pi, 2)
        field += rng.normal() * np.cos(order * _ANGLE + phase[0]) * np.cos(level + phase[1])
    return field


def _turn(degrees: Array) -> Array:
    """Rotation matrix of turns about the three axes, one after another."""
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
