"""Leads by name, derivation, Einthoven's law, refusals, and the filter against scipy's."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from scarseg_runtime.contract import LEADS
from scarseg_runtime.ecg.signal import (
    BAND_HZ,
    band_gain,
    bandpass_resample,
    check_amplitude,
    check_limb_leads,
    check_recording,
    complete_leads,
    pick_leads,
)
from scarseg_runtime.errors import EcgError

REAL = ("ecg/ptb-s0010/s0010_re", "ecg/ptbxl-00001/00001_lr")
LIMB, CHEST = LEADS[:6], LEADS[6:]
Array = NDArray[np.float64]


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Array, float]:
    """[n, 12] mV of a real record in contract order, and its rate."""
    record = wfdb.rdrecord(str(shared_data / request.param))
    names = [name.casefold() for name in record.sig_name]
    return record.p_signal[:, [names.index(lead.casefold()) for lead in LEADS]], record.fs


def twelve_from_two(one: Array, two: Array) -> dict[str, Array]:
    """The six limb leads from I and II, written out as in the textbooks."""
    return {
        "I": one,
        "II": two,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }


# Filter and resampling


def test_filter_equals_scipys_forward_backward_butterworth() -> None:
    noise = np.cumsum(np.random.default_rng(0).normal(size=(10000, 2)), axis=0)
    high = signal.butter(2, BAND_HZ[0], "high", fs=500, output="sos")
    # Analogue and digital low-pass differ (frequency warping) where 40 Hz nears Nyquist's
    # limit, so scipy's is run at 8 kHz.
    low = signal.butter(4, BAND_HZ[1], fs=8000, output="sos")
    fine = signal.resample_poly(noise, 16, 1, axis=0, padtype="line")
    truth = signal.sosfiltfilt(low, fine, axis=0)[::16]
    truth = signal.sosfiltfilt(high, truth, axis=0)
    inner = slice(2000, -2000)  # beyond the reach of the ends, which scipy continues differently
    error = np.abs(bandpass_resample(noise, 500.0) - truth)[inner].max()
    assert error < 0.005 * np.abs(truth[inner]).max()


@given(
    rate_hz=st.one_of(st.integers(100, 2000).map(float), st.floats(100.0, 2000.0)),
    frequency_hz=st.floats(1.0, 35.0),
    phase=st.floats(0.0, 6.3),
)
@settings(max_examples=60)
def test_a_sine_keeps_its_time_and_gets_the_gain(
    rate_hz: float, frequency_hz: float, phase: float
) -> None:
    source_s = np.arange(int(10 * rate_hz)) / rate_hz
    result = bandpass_resample(np.sin(2 * np.pi * frequency_hz * source_s + phase), rate_hz)
    time_s = np.arange(result.size) / 500.0
    assert source_s[-1] - 0.0021 < time_s[-1] < source_s[-1] + 1e-3
    truth = band_gain(frequency_hz) * np.sin(2 * np.pi * frequency_hz * time_s + phase)
    inner = slice(1000, -1000)
    assert np.abs(result - truth)[inner].max() < 0.02


@pytest.mark.parametrize("rate_hz", [100, 250, 1000])
def test_resampling_equals_scipys(real: tuple[Array, float], rate_hz: int) -> None:
    clean = bandpass_resample(real[0], real[1])
    source = signal.resample_poly(clean, rate_hz, 500, axis=0, padtype="line")
    direct, again = bandpass_resample(source, rate_hz), bandpass_resample(clean, 500.0)
    inner = slice(1000, min(len(direct), len(again)) - 1000)
    error = np.sqrt(np.mean((direct[inner] - again[inner]) ** 2))
    assert error < 0.01 * np.sqrt(np.mean(again[inner] ** 2))


def test_gain_is_half_at_the_corners_and_none_at_rest() -> None:
    assert band_gain(0.0) == 0.0
    np.testing.assert_allclose(band_gain(BAND_HZ), 0.5, atol=1e-5)
    assert band_gain(5.0) > 0.999
    assert band_gain(60.0) < 0.05


def test_an_offset_disappears_and_one_dimension_will_do() -> None:
    wave = np.sin(np.arange(3000) / 20.0)
    np.testing.assert_allclose(
        bandpass_resample(wave + 100.0, 360.0), bandpass_resample(wave, 360.0), atol=1e-9
    )


# Names and derivation


@given(
    order=st.permutations([*LEADS, "vx", "Resp", "II.1"]),
    case=st.sampled_from([str.lower, str.upper, str.title, str]),
)
def test_leads_are_found_by_name_in_any_order_and_case(order: list[str], case: type[str]) -> None:
    truth = {lead: float(number) for number, lead in enumerate(order)}
    signals = np.array([[truth[lead] for lead in order]])
    picked, present = pick_leads(signals, [f" {case(lead)} " for lead in order])
    assert present == LEADS
    assert picked[0].tolist() == [truth[lead] for lead in LEADS]


@pytest.mark.parametrize(
    "kept", [pair for n in (2, 3, 6) for pair in combinations(LIMB, n)], ids="-".join
)
def test_any_two_limb_leads_determine_the_rest(kept: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    leads = twelve_from_two(rng.normal(size=50), rng.normal(size=50))
    leads |= {lead: rng.normal(size=50) for lead in CHEST}
    names = (*kept, *CHEST)
    full, derived = complete_leads(*pick_leads(np.stack([leads[n] for n in names], axis=1), names))
    np.testing.assert_allclose(full, np.stack([leads[lead] for lead in LEADS], axis=1))
    assert derived == tuple(lead for lead in LIMB if lead not in kept)


def test_leads_that_are_there_stay_as_they_are(real: tuple[Array, float]) -> None:
    names = ("I", "III", "aVF", *CHEST)
    columns = [LEADS.index(name) for name in names]
    full, _ = complete_leads(*pick_leads(real[0][:, columns], names))
    np.testing.assert_array_equal(full[:, columns], real[0][:, columns])


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("I", "II", "III"), "V1, V2, V3, V4, V5, V6: it has 3 of the 12"),
        (("II", *CHEST), "I, III, aVR, aVL, aVF: it has 7 of the 12"),
        (("I", "II", *CHEST[:3], *CHEST[4:]), "V4: it has 7 of the 12"),
        (("vx", "vy", "vz"), "it has 0 of the 12"),
        ((), "it has 0 of the 12"),
    ],
)
def test_missing_leads_are_named(names: tuple[str, ...], missing: str) -> None:
    with pytest.raises(EcgError, match=missing) as caught:
        pick_leads(np.zeros((10, len(names))), names)
    assert caught.value.exit_code == 4


def test_a_lead_given_twice_is_refused() -> None:
    with pytest.raises(EcgError, match="two leads named aVR"):
        pick_leads(np.zeros((10, 13)), [*LEADS, "AVR"])


# Einthoven and Goldberger


def test_real_limb_leads_agree(real: tuple[Array, float]) -> None:
    assert check_limb_leads(bandpass_resample(*real), LEADS) == ()


@pytest.mark.parametrize("pair", list(combinations(range(6), 2)))
def test_any_exchange_among_six_limb_leads_is_refused(
    real: tuple[Array, float], pair: tuple[int, int]
) -> None:
    filtered = bandpass_resample(*real)
    filtered[:, pair] = filtered[:, pair[::-1]]
    with pytest.raises(EcgError, match="contradict each other"):
        check_limb_leads(filtered, LEADS)


@pytest.mark.parametrize("lead", range(6))
def test_any_inverted_limb_lead_is_refused(real: tuple[Array, float], lead: int) -> None:
    filtered = bandpass_resample(*real)
    filtered[:, lead] *= -1.0
    with pytest.raises(EcgError, match="contradict each other"):
        check_limb_leads(filtered, LEADS)


def test_a_small_disagreement_warns(real: tuple[Array, float]) -> None:
    filtered = bandpass_resample(*real)
    filtered[:, 0] *= 1.25  # one amplifier out of calibration
    assert "agree only within" in check_limb_leads(filtered, LEADS)[0]


def test_two_limb_leads_cannot_disagree() -> None:
    noise = np.random.default_rng(2).normal(size=(100, 8))
    assert check_limb_leads(noise, ("I", "aVL", *CHEST)) == ()


# Refusals


def test_real_records_are_accepted(real: tuple[Array, float]) -> None:
    check_recording(*real, LEADS)
    check_amplitude(bandpass_resample(*real), LEADS)


@pytest.mark.parametrize("step_mv", [0.005, 0.02, 0.05])
def test_coarse_steps_are_not_taken_for_clipping(real: tuple[Array, float], step_mv: float) -> None:
    check_recording(np.round(real[0] / step_mv) * step_mv, real[1], LEADS)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("depth", [0.5, 0.7])
def test_clipped_qrs_complexes_are_refused(shared_data: Path, sign: float, depth: float) -> None:
    record = wfdb.rdrecord(str(shared_data / REAL[0]))
    signals = bandpass_resample(record.p_signal[:, :12], record.fs)  # no wander: every beat
    lead = LEADS.index("V2")
    rail = depth * signals[:, lead].max()
    signals[:, lead] = sign * np.minimum(signals[:, lead], rail)
    with pytest.raises(EcgError, match=r"lead V2 of the ECG is clipped in \d+ places"):
        check_recording(signals, 500.0, LEADS)


def test_one_movement_that_hits_the_rail_is_tolerated(real: tuple[Array, float]) -> None:
    signals, rate_hz = real[0].copy(), real[1]
    spot = slice(int(3 * rate_hz), int(3.3 * rate_hz))
    signals[spot, 7] = signals[:, 7].max() + 5.0
    check_recording(signals, rate_hz, LEADS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_samples_are_counted_and_refused(real: tuple[Array, float], bad: float) -> None:
    signals = real[0].copy()
    signals[100:103, 4] = bad
    with pytest.raises(EcgError, match="lead aVL of the ECG has 3 invalid samples"):
        check_recording(signals, real[1], LEADS)


def test_a_lead_that_is_off_for_seconds_is_refused(real: tuple[Array, float]) -> None:
    signals, rate_hz = real[0].copy(), real[1]
    signals[: int(2.5 * rate_hz), 9] = 0.0
    with pytest.raises(EcgError, match=r"lead V4 of the ECG is flat for 2\.5 s"):
        check_recording(signals, rate_hz, LEADS)


def test_amplitudes_that_are_none_are_refused(real: tuple[Array, float]) -> None:
    filtered = bandpass_resample(*real)
    with pytest.raises(EcgError, match=r"lead I of the ECG spans .* mV"):
        check_amplitude(filtered * 1000.0, LEADS)  # microvolts taken for millivolts
    with pytest.raises(EcgError, match="lead I of the ECG is flat"):
        check_amplitude(filtered / 1000.0, LEADS)  # volts taken for millivolts
    for nonsense in (np.nan, 1e300):
        with pytest.raises(EcgError, match=r"lead I of the ECG spans .{1,10} mV"):
            check_amplitude(filtered * nonsense, LEADS)
    filtered[:, 6] *= 0.01
    with pytest.raises(EcgError, match="lead V1 of the ECG is flat"):
        check_amplitude(filtered, LEADS)


@pytest.mark.parametrize("rate_hz", [0.0, -500.0, 50.0, np.nan, np.inf])
def test_unusable_sampling_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(EcgError, match="sampled at"):
        check_recording(np.zeros((5000, 12)), rate_hz, LEADS)


@pytest.mark.parametrize("count", [0, 1, 2499])
def test_short_records_are_refused(count: int) -> None:
    with pytest.raises(EcgError, match=r"only \d\.\d s long"):
        check_recording(np.zeros((count, 12)), 500.0, LEADS)
