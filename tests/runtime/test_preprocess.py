"""Slice levels, and the mean beat: what it must not depend on, and what it must refuse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb
import wfdb.processing
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, LEADS
from scarseg_runtime.ecg.beats import find_qrs
from scarseg_runtime.ecg.signal import complete_leads
from scarseg_runtime.errors import EcgError, StudyError
from scarseg_runtime.preprocess import (
    TAPER_AFTER_RR,
    TAPER_BEFORE_RR,
    MeanBeat,
    bandpass_resample,
    mean_beat,
    order_slices,
    qrs_centre,
    slice_levels,
    taper_window,
    zero_baseline,
)

Array = NDArray[np.float64]
REAL = ("ecg/ptb-s0010/s0010_re", "ecg/ptbxl-00001/00001_lr")
MINIMAL = ("I", "II", *LEADS[6:])
TIME_MS = (np.arange(BEAT_SAMPLES) - BEAT_R_INDEX) * 2.0


class Record:
    """A real record as read by wfdb itself."""

    def __init__(self, path: Path) -> None:
        record = wfdb.rdrecord(str(path))
        self.signals: Array = record.p_signal
        self.rate_hz: float = record.fs
        self.names: list[str] = record.sig_name

    def leads(self, names: Sequence[str]) -> Array:
        known = [name.casefold() for name in self.names]
        return self.signals[:, [known.index(name.casefold()) for name in names]]


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest, shared_data: Path) -> Record:
    return Record(shared_data / request.param)


def difference(one: MeanBeat, other: MeanBeat) -> float:
    """RMS difference relative to the RMS of the beat."""
    error = one.beat_mv.astype(float) - other.beat_mv
    return float(np.sqrt(np.mean(error**2) / np.mean(np.square(other.beat_mv, dtype=float))))


def bump(time_ms: Array, centre_ms: float, width_ms: float) -> Array:
    return np.exp(-0.5 * ((time_ms - centre_ms) / width_ms) ** 2)


def one_beat(time_ms: Array, t_wave: float = 0.3) -> Array:
    """[n, 8] a beat with P, Q, R, S and T around 0 ms, different in each of I, II, V1–V6."""
    rng = np.random.default_rng(5)
    waves = [(-160, 22, 0.12), (-28, 9, -0.2), (0, 10, 1.0), (26, 10, -0.4), (280, 45, t_wave)]
    return sum(
        bump(time_ms, centre, width)[:, None] * (height * rng.uniform(0.3, 1.2, size=8))
        for centre, width, height in waves
    )


def train(rr_ms: Sequence[float] | Array, **kwargs: float) -> Array:
    """[n, 8] beats at 500 Hz, the first R at 300 ms, then at these intervals."""
    times_ms = 300.0 + np.concatenate([[0.0], np.cumsum(rr_ms)])
    clock_ms = np.arange(0.0, times_ms[-1] + 700.0, 2.0)
    return sum(one_beat(clock_ms - at_ms, **kwargs) for at_ms in times_ms)


# Slices


def test_order_and_levels_follow_position() -> None:
    positions = np.array([30.0, 0.0, 10.0])
    order = order_slices(positions)
    assert order.tolist() == [1, 2, 0]
    np.testing.assert_allclose(slice_levels(positions[order]), [0.0, 1 / 3, 1.0])  # gap at 20 mm
    assert slice_levels(positions[order]).dtype == np.float32


def test_a_single_slice_is_mid_ventricular() -> None:
    assert slice_levels([123.0]).tolist() == [0.5]


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=30),
    st.floats(-1000, 1000),
    st.sampled_from([1.0, -1.0, 0.1]),
)
def test_levels_ignore_origin_direction_and_unit(
    steps: list[int], origin: float, scale: float
) -> None:
    positions = np.concatenate([[0.0], np.cumsum(steps)])
    levels = slice_levels(origin + scale * positions)
    np.testing.assert_allclose(levels, positions / positions[-1], atol=1e-6)


@pytest.mark.parametrize("positions", [[0.0, 2.0, 1.0], [0.0, 0.0], [0.0, np.nan], [1.0, 1.0, 2.0]])
def test_positions_out_of_order_are_refused(positions: list[float]) -> None:
    with pytest.raises(StudyError, match="not in order"):
        slice_levels(positions)


# Pieces shared with the digital twin


@given(st.floats(250.0, 2500.0))
def test_taper_keeps_this_beat_and_nothing_of_its_neighbours(rr_ms: float) -> None:
    window = taper_window(rr_ms)
    outside = (-TAPER_BEFORE_RR * rr_ms > TIME_MS) | (TAPER_AFTER_RR * rr_ms < TIME_MS)
    assert np.all(window[outside] == 0.0)
    assert window[BEAT_R_INDEX] == 1.0
    assert window.min() >= 0.0
    assert window.max() <= 1.0
    assert np.abs(np.diff(window)).max() < 0.06  # no step


def test_taper_leaves_slow_rhythms_alone() -> None:
    assert np.all(taper_window(1300.0) == 1.0)


def test_zero_baseline_removes_any_offset() -> None:
    beat = np.random.default_rng(0).normal(size=(12, BEAT_SAMPLES))
    offset = np.arange(12.0)[:, None]
    np.testing.assert_allclose(zero_baseline(beat + offset), zero_baseline(beat))
    level = np.median(zero_baseline(beat)[:, BEAT_R_INDEX - 45 : BEAT_R_INDEX - 29], axis=1)
    np.testing.assert_allclose(level, 0.0, atol=1e-12)


def test_centre_does_not_depend_on_lead_sign_or_where_one_starts() -> None:
    beat, _ = complete_leads(bandpass_resample(train([900] * 3), 500.0), MINIMAL)
    centre = qrs_centre(beat, 600)
    assert abs(centre - 600) < 5
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=12)
    assert abs(qrs_centre(beat * signs, 615) - centre) < 0.05


# QRS detection


def test_detection_agrees_with_wfdbs_detector(real: Record) -> None:
    filtered = bandpass_resample(real.leads(LEADS), real.rate_hz)
    peaks = find_qrs(filtered)
    for lead in ("II", "V1", "V5"):
        other = wfdb.processing.xqrs_detect(filtered[:, LEADS.index(lead)], fs=500, verbose=False)
        assert len(other) == len(peaks)
        assert np.abs(np.sort(other) - peaks).max() <= 30  # 60 ms: xqrs marks other deflections


@pytest.mark.parametrize("rate_bpm", [30, 45, 75, 120, 180, 220])
def test_every_beat_is_found_once_at_any_rate(rate_bpm: int) -> None:
    rr_ms = 60000.0 / rate_bpm
    filtered = bandpass_resample(train([rr_ms] * 20), 500.0)
    truth = (300.0 + rr_ms * np.arange(21)) / 2.0
    peaks = find_qrs(filtered)
    assert len(peaks) == 21
    assert np.abs(peaks - truth).max() < 10


@pytest.mark.parametrize("t_wave", [-2.0, 1.0, 2.0])
def test_t_waves_taller_than_r_are_not_beats(t_wave: float) -> None:
    filtered = bandpass_resample(train([850] * 10, t_wave=t_wave), 500.0)
    assert np.ptp(filtered) > np.ptp(bandpass_resample(train([850] * 10), 500.0)) or t_wave < 2
    assert len(find_qrs(filtered)) == 11


def test_irregular_rhythm_is_followed() -> None:
    rr_ms = np.random.default_rng(3).uniform(450, 1300, size=25)
    peaks = find_qrs(bandpass_resample(train(rr_ms), 500.0))
    np.testing.assert_allclose(np.diff(peaks) * 2.0, rr_ms, atol=12)


# The mean beat of real records


def test_real_beat_is_sharp_at_r_and_quiet_before_it(real: Record) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names)
    assert beat.beat_mv.shape == (12, BEAT_SAMPLES)
    assert beat.beat_mv.dtype == np.float32
    assert 50 < beat.heart_rate_bpm < 100
    assert beat.derived_leads == ()
    assert beat.warnings == ()
    assert abs(qrs_centre(beat.beat_mv.T.astype(float), BEAT_R_INDEX) - BEAT_R_INDEX) < 0.1
    energy = np.sum(np.square(beat.beat_mv, dtype=float), axis=0)
    qrs = np.abs(TIME_MS) < 70
    t_wave = (TIME_MS > 180) & (TIME_MS < 380)
    pr_segment = (TIME_MS > -90) & (TIME_MS < -60)
    assert energy[qrs].max() > 5 * energy[t_wave].max()
    assert energy[t_wave].max() > 100 * energy[pr_segment].mean()
    assert np.all(beat.beat_mv[:, [0, -1]] == 0.0)  # tapered


def test_morphology_of_the_real_infarct_is_kept(shared_data: Path) -> None:
    """Infero-lateral infarct: Q waves and negative T in III and aVF, tall R in V2."""
    record = Record(shared_data / REAL[0])
    beat = mean_beat(record.signals, record.rate_hz, record.names)
    assert 45 <= beat.beats_averaged <= 52
    waves = dict(zip(LEADS, beat.beat_mv, strict=True))
    qrs, t_wave = np.abs(TIME_MS) < 60, (TIME_MS > 200) & (TIME_MS < 350)
    for lead in ("III", "aVF"):
        assert waves[lead][qrs].min() < -0.3
        assert waves[lead][t_wave].mean() < -0.1
    assert waves["V2"][qrs].max() > 1.0


def test_amplitude_in_millivolts_is_that_of_the_record(shared_data: Path) -> None:
    """Against single beats of the lightly filtered record, found by hand: V2's R wave."""
    record = Record(shared_data / REAL[0])
    lead = record.leads(["V2"])[:, 0]
    lead = lead - signal.medfilt(lead, 601)
    peaks, _ = signal.find_peaks(lead, height=0.8, distance=400)
    expected = np.median(lead[peaks])
    found = mean_beat(record.signals, record.rate_hz, record.names).beat_mv[LEADS.index("V2")].max()
    assert found == pytest.approx(expected, rel=0.08)  # 40 Hz takes some of a sharp R


def test_limb_laws_hold_in_the_beat(real: Record) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names).beat_mv
    np.testing.assert_allclose(beat[2], beat[1] - beat[0], atol=0.005)
    np.testing.assert_allclose(beat[3], -(beat[0] + beat[1]) / 2, atol=0.005)


@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_gain_scales_the_beat(real: Record, gain: float) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names)
    scaled = mean_beat(real.signals * gain, real.rate_hz, real.names)
    np.testing.assert_allclose(scaled.beat_mv, beat.beat_mv * gain, atol=1e-5)


@pytest.mark.parametrize("rate_hz", [100, 250, 360, 500, 1000])
def test_sampling_rate_does_not_matter(real: Record, rate_hz: int) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names)
    resampled = signal.resample_poly(real.signals, rate_hz, real.rate_hz, padtype="line")
    assert difference(mean_beat(resampled, rate_hz, real.names), beat) < 0.01


def test_order_case_and_extra_leads_do_not_matter(real: Record) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names)
    order = np.random.default_rng(0).permutation(len(real.names))
    names = [real.names[i].upper() for i in order]
    np.testing.assert_array_equal(
        mean_beat(real.signals[:, order], real.rate_hz, names).beat_mv, beat.beat_mv
    )
    noise = np.random.default_rng(1).normal(size=(len(real.signals), 1)) * 1e3
    with_noise = np.concatenate([real.leads(LEADS), noise], axis=1)
    np.testing.assert_array_equal(
        mean_beat(with_noise, real.rate_hz, [*LEADS, "vz"]).beat_mv, beat.beat_mv
    )


@pytest.mark.parametrize("limb", [("I", "II"), ("aVL", "aVF"), ("III", "aVR"), ("I", "II", "aVF")])
def test_limb_leads_that_follow_from_others_do_not_matter(
    real: Record, limb: tuple[str, ...]
) -> None:
    names = (*limb, *LEADS[6:])
    beat = mean_beat(real.leads(names), real.rate_hz, names)
    assert difference(beat, mean_beat(real.signals, real.rate_hz, real.names)) < 0.01
    assert beat.derived_leads == tuple(lead for lead in LEADS[:6] if lead not in limb)


def test_baseline_wander_does_not_matter(real: Record) -> None:
    signals = real.leads(MINIMAL)
    time_s = np.arange(len(signals)) / real.rate_hz
    breath = np.sin(2 * np.pi * 0.25 * time_s)[:, None] * np.linspace(-1.0, 1.0, 8)
    beat = mean_beat(signals, real.rate_hz, MINIMAL)
    assert difference(mean_beat(signals + breath + 3.0, real.rate_hz, MINIMAL), beat) < 0.02


def test_where_the_recording_starts_does_not_matter(real: Record) -> None:
    beat = mean_beat(real.signals, real.rate_hz, real.names)
    for shift_s in (0.033, 0.137):
        later = real.signals[int(shift_s * real.rate_hz) :]
        assert difference(mean_beat(later, real.rate_hz, real.names), beat) < 0.01


def test_some_muscle_noise_averages_out(shared_data: Path) -> None:
    record = Record(shared_data / REAL[0])
    signals = record.leads(MINIMAL)
    noise = np.random.default_rng(0).normal(size=signals.shape) * 0.1
    beat = mean_beat(signals, record.rate_hz, MINIMAL)
    noisy = mean_beat(signals + noise, record.rate_hz, MINIMAL)
    assert noisy.beats_averaged == beat.beats_averaged
    assert difference(noisy, beat) < 0.04


# The mean beat of constructed records: the truth is known


def test_the_beat_that_was_put_in_comes_out() -> None:
    beat = mean_beat(train([1250.0] * 9), 500.0, MINIMAL)
    alone = np.concatenate([np.zeros((2000, 8)), one_beat(TIME_MS), np.zeros((2000, 8))])
    truth = bandpass_resample(complete_leads(alone, MINIMAL)[0], 500.0)
    centre = qrs_centre(truth, 2000 + BEAT_R_INDEX)
    grid = np.arange(len(truth))
    at = np.arange(BEAT_SAMPLES) - BEAT_R_INDEX + centre
    truth = zero_baseline(np.stack([np.interp(at, grid, lead) for lead in truth.T]))
    near = np.abs(TIME_MS) < 400  # farther out the high-pass has neighbours to work on
    assert np.abs(beat.beat_mv - truth)[:, near].max() < 0.02 * np.ptp(truth)
    assert beat.heart_rate_bpm == pytest.approx(48.0, abs=0.2)
    assert beat.derived_leads == LEADS[2:6]


def test_a_fast_rhythm_shows_no_neighbours_and_warns() -> None:
    beat = mean_beat(train([380.0] * 20), 500.0, MINIMAL)
    assert beat.heart_rate_bpm == pytest.approx(158, abs=1)
    outside = (TIME_MS < -TAPER_BEFORE_RR * 380) | (TIME_MS > TAPER_AFTER_RR * 380)
    assert np.all(beat.beat_mv[:, outside] == 0.0)
    assert ["Heart rate 158/min" in warning for warning in beat.warnings] == [True]


def add_extrasystoles(signals: Array, at: Sequence[int]) -> Array:
    """Put a wide beat of the opposite sign 450 ms after R at each sample of ``at``."""
    clock = np.arange(len(signals))
    for start in at:
        wide = bump((clock - start) * 2.0, 450.0, 35.0) - bump((clock - start) * 2.0, 620.0, 60.0)
        signals = signals - 1.8 * wide[:, None] * np.linspace(0.5, 1.0, 8)
    return signals


def test_extrasystoles_and_the_beats_beside_them_are_left_out() -> None:
    plain = train([1000.0] * 15)  # 14 beats lie whole in the record
    starts = [(300 + 1000 * beat) // 2 for beat in (3, 8, 12)]
    beat = mean_beat(add_extrasystoles(plain, starts), 500.0, MINIMAL)
    assert beat.beats_averaged == 14 - 3 - 3
    assert beat.warnings == ("Only 8 of 17 heart beats in the ECG are alike and undisturbed.",)
    assert difference(beat, mean_beat(plain, 500.0, MINIMAL)) < 0.02


def test_a_bigeminus_yields_its_conducted_beat() -> None:
    plain = train([1400.0] * 12)
    starts = [(300 + 1400 * beat) // 2 for beat in range(13)]
    both = add_extrasystoles(plain, starts)
    beat = mean_beat(both, 500.0, MINIMAL)
    qrs = np.abs(TIME_MS) < 60
    truth = mean_beat(plain, 500.0, MINIMAL).beat_mv
    assert np.corrcoef(beat.beat_mv[:, qrs].ravel(), truth[:, qrs].ravel())[0, 1] > 0.99
    assert ["holds part of them" in warning for warning in beat.warnings] == [True]


def test_atrial_fibrillation_still_gives_a_beat() -> None:
    rr_ms = np.random.default_rng(8).uniform(400, 1200, size=14)
    beat = mean_beat(train(rr_ms), 500.0, MINIMAL)
    steady = mean_beat(train([800.0] * 14), 500.0, MINIMAL)
    qrs = np.abs(TIME_MS) < 60
    np.testing.assert_allclose(beat.beat_mv[:, qrs], steady.beat_mv[:, qrs], atol=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_has_no_mean_beat(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(5000, 8)) * 0.3
    with pytest.raises(EcgError, match="heart beats"):
        mean_beat(noise, 500.0, MINIMAL)


def test_two_beats_are_not_enough() -> None:
    with pytest.raises(EcgError, match="only 2 heart beats") as caught:
        mean_beat(train([4000.0]), 500.0, MINIMAL)
    assert caught.value.exit_code == 4


def test_three_leads_are_refused_with_the_missing_ones(real: Record) -> None:
    with pytest.raises(EcgError, match="lacks V1, V2, V3, V4, V5, V6"):
        mean_beat(real.leads(["I", "II", "III"]), real.rate_hz, ["I", "II", "III"])


def test_swapped_leads_are_refused(real: Record) -> None:
    names = ["I", "aVL", "III", "aVR", "II", "aVF", *LEADS[6:]]
    with pytest.raises(EcgError, match="exchanged or mislabelled"):
        mean_beat(real.leads(LEADS), real.rate_hz, names)


def test_names_and_columns_must_match() -> None:
    with pytest.raises(EcgError, match=r"shape \(5000, 11\) for 12 lead names"):
        mean_beat(np.zeros((5000, 11)), 500.0, LEADS)
    with pytest.raises(EcgError, match="shape"):
        mean_beat(np.zeros(5000), 500.0, ["I"])
