"""The quality report of an ECG: what invalidates it must be seen, and healthy ones left alone."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from scarseg_export.twin.cohort import sample_case
from scarseg_export.twin.write import rhythm_strip
from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, LEADS
from scarseg_runtime.ecg.conduction import bundle_pattern, qrs_extent
from scarseg_runtime.ecg.pacing import find_spikes
from scarseg_runtime.ecg.quality import EcgQuality, assess
from scarseg_runtime.preprocess import MeanBeat, mean_beat
from scarseg_runtime.taff import decide

Array = NDArray[np.float64]
STATED_WITHIN_MS = 15.0
TIME_MS = (np.arange(BEAT_SAMPLES) - BEAT_R_INDEX) * 2.0


@dataclass(frozen=True)
class Record:
    signals: Array
    rate_hz: float
    names: Sequence[str]

    def assessed(self) -> EcgQuality:
        beat = mean_beat(self.signals, self.rate_hz, self.names)
        return assess(self.signals, self.rate_hz, self.names, beat)


def from_dicom(path: Path) -> Record:
    dataset = pydicom.dcmread(path)
    channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
    names = [c.ChannelSourceSequence[0].CodeMeaning.removeprefix("Lead ") for c in channels]
    unit = channels[0].ChannelSensitivityUnitsSequence[0].CodeValue
    scale = {"uV": 1e-3, "mV": 1.0}[unit]
    rate = float(dataset.WaveformSequence[0].SamplingFrequency)
    names = [name.split(",")[0].split(" ")[0] for name in names]
    return Record(dataset.waveform_array(0) * scale, rate, names)


def from_wfdb(path: Path) -> Record:
    record = wfdb.rdrecord(str(path))
    return Record(record.p_signal, record.fs, record.sig_name)


def from_xml(path: Path) -> Record:
    """I, II and the chest leads: this reader leaves the other limb leads of Philips files as
    they are stored, as differences from what I and II predict."""
    kit = pytest.importorskip("ecgdatakit", reason="needs the extra that reads ECG formats")
    leads = {lead.label: lead for lead in kit.FileParser().parse(path).leads}
    names = ["I", "II", *LEADS[6:]]
    signals = np.stack([np.asarray(leads[name].samples, float) for name in names], axis=1)
    return Record(signals, leads["I"].sampling_rate, names)


def pydicom_sample() -> Record:
    """A normal 12-lead ECG at 1000 Hz that pydicom brings along."""
    return from_dicom(Path(str(get_testdata_file("waveform_ecg.dcm"))))


# Real records


@pytest.mark.parametrize(
    ("name", "stated_ms"),
    [
        ("muse/guangxi_teaching_sinus_rhythm.xml", 74),
        ("philips/1_03_inferior_mi.xml", 115),
        ("philips/1_04_01.xml", 92),
        ("philips/1_04_demo.xml", 72),
    ],
)
def test_qrs_lasts_as_long_as_the_recorder_states(
    name: str, stated_ms: float, shared_data: Path
) -> None:
    quality = from_xml(shared_data / "ecg" / name).assessed()
    assert quality.qrs_ms == pytest.approx(stated_ms, abs=STATED_WITHIN_MS)
    assert quality.findings == () and quality.warnings == ()
    assert quality.pattern == "none" and quality.pacing == "not seen"


def test_normal_records_have_nothing_to_report(shared_data: Path) -> None:
    for record in (
        from_dicom(shared_data / "ecg" / "muse" / "guangxi_teaching_sinus_rhythm.dcm"),
        from_wfdb(shared_data / "ecg" / "ptbxl-00001" / "00001_lr"),
        pydicom_sample(),
    ):
        quality = record.assessed()
        assert quality.findings == () and quality.warnings == ()
        assert quality.qrs_ms is not None and 65 < quality.qrs_ms < 110
        assert all(lead.noise_uv is not None and lead.noise_uv < 40 for lead in quality.leads)
        assert quality.pacing == ("cannot tell" if record.rate_hz < 500 else "not seen")


def test_right_bundle_branch_block_of_a_real_patient(shared_data: Path) -> None:
    """rsR' in V1, wide S in I and V6: seen on the tracing, the record's header is silent."""
    quality = from_wfdb(shared_data / "ecg" / "ptb-s0010" / "s0010_re").assessed()
    assert quality.pattern == "RBBB"
    assert len(quality.findings) == 1
    assert "right bundle branch block" in quality.findings[0]


def test_findings_take_the_weight(shared_data: Path) -> None:
    quality = from_wfdb(shared_data / "ecg" / "ptb-s0010" / "s0010_re").assessed()
    decision = decide(3.0, ecg_given=True, findings=quality.findings)
    assert not decision.valid and "bundle branch block" in decision.reason


# Simulated patients


def test_healthy_conduction_of_the_twin_is_left_alone_and_left_block_is_not() -> None:
    seen, flagged = {"normal": 0, "LBBB": 0}, []
    for seed in range(70_000, 70_060):
        case = sample_case(seed)
        quality = Record(rhythm_strip(case, stale=False), 500.0, LEADS).assessed()
        if case.conduction.bundle == "normal":
            flagged += [seed] * bool(quality.findings or quality.warnings)
        if case.conduction.bundle == "LBBB":
            assert quality.pattern in ("LBBB", "nonspecific") and quality.findings, seed
            assert quality.pacing == "not seen", seed
        seen[case.conduction.bundle] = seen.get(case.conduction.bundle, 0) + 1
    assert seen["normal"] > 40 and seen["LBBB"] > 0
    assert len(flagged) <= 2  # a large scar slows the wave until QRS is wide


# Exchanged electrodes


def exchanged(record: Record, **moved: str) -> Record:
    """Swap electrodes: what the recorder would have written (RA="LA": the right-arm cable on the
    left arm), by Einthoven's arithmetic. The right leg is near the left one."""
    known = [name.casefold() for name in record.names]
    one, two = (record.signals[:, known.index(lead)] for lead in ("i", "ii"))
    body = {"RA": -two, "LA": one - two, "LL": 0 * one, "RL": 0.05 * one}
    ra, la, ll = (body[moved.get(cable, cable)] for cable in ("RA", "LA", "LL"))
    centre = (body["RA"] + body["LA"] + body["LL"]) / 3
    limb = [la - ra, ll - ra, ll - la]
    limb += [1.5 * (cable - (ra + la + ll) / 3) for cable in (ra, la, ll)]
    chest = [
        record.signals[:, known.index(lead.casefold())] + centre - (ra + la + ll) / 3
        for lead in LEADS[6:]
    ]
    return Record(np.stack(limb + chest, axis=1), record.rate_hz, LEADS)


@pytest.mark.parametrize(
    ("moved", "named"),
    [
        ({}, None),
        ({"RA": "LA", "LA": "RA"}, "right arm and left arm"),
        ({"RA": "LL", "LL": "RA"}, "right arm and left leg"),
        ({"RA": "RL"}, "right arm and right leg"),
        ({"LA": "RL"}, "left arm and right leg"),
        ({"LA": "LL", "LL": "LA"}, None),  # has no reliable sign
    ],
)
def test_exchanged_limb_electrodes(
    moved: dict[str, str], named: str | None, shared_data: Path
) -> None:
    muse = shared_data / "ecg" / "muse" / "guangxi_teaching_sinus_rhythm.dcm"
    ptbxl = shared_data / "ecg" / "ptbxl-00001" / "00001_lr"
    for record in (from_dicom(muse), from_wfdb(ptbxl)):
        if named and "right leg" in named and record.rate_hz == 100:
            continue  # its lead I is so low that the flat lead is refused before
        quality = exchanged(record, **moved).assessed()
        assert quality.exchanged_electrodes == named
        assert any("exchanged" in text for text in quality.findings) == (named is not None)


def test_an_inverted_qrs_with_an_upright_p_is_no_exchange() -> None:
    """A lateral infarct turns QRS of lead I, not the P wave."""
    record = pydicom_sample()
    beat = mean_beat(record.signals, record.rate_hz, record.names)
    values = beat.beat_mv.copy()
    qrs = slice(BEAT_R_INDEX - 30, BEAT_R_INDEX + 150)
    values[LEADS.index("I"), qrs] *= -1
    turned = replace(beat, beat_mv=values)
    assert assess(record.signals, 1000.0, record.names, turned).exchanged_electrodes is None


# Conduction and pacing


def test_a_slowed_heart_has_left_bundle_branch_block() -> None:
    """A normal ECG played 1.8 times slower: QRS of 133 ms, rS in V1 and R in I and V6."""
    record = pydicom_sample()
    usual = record.assessed()
    slow = replace(record, rate_hz=record.rate_hz / 1.8)
    quality = slow.assessed()
    assert usual.qrs_ms is not None and quality.qrs_ms is not None
    assert quality.qrs_ms == pytest.approx(
        1.8 * usual.qrs_ms, abs=12
    )  # the filter widens both alike
    assert quality.pattern == "LBBB"
    assert len(quality.findings) == 1 and "left bundle branch block" in quality.findings[0]


def drawn(waves: dict[str, Sequence[tuple[float, float, float]]]) -> NDArray[np.float32]:
    """[12, 512] beat of cosine bumps (centre ms, half width ms, mV); the other leads are I."""
    beat = np.zeros((12, BEAT_SAMPLES))
    for row, lead in enumerate(LEADS):
        for centre, half, height in waves.get(lead, waves["I"]):
            phase = np.clip((TIME_MS - centre) / half, -1, 1)
            beat[row] += height * (0.5 + 0.5 * np.cos(np.pi * phase))
    return beat.astype(np.float32)


BROAD_R = [(-30.0, 40.0, 0.8), (10.0, 60.0, 1.0)]
RIGHT = {
    "I": [(-30.0, 30.0, 1.0), (30.0, 40.0, -0.5)],
    "V1": [(-40.0, 20.0, 0.2), (-10.0, 25.0, -0.5), (40.0, 35.0, 0.8)],
}


@pytest.mark.parametrize(
    ("waves", "pattern"),
    [
        ({"I": BROAD_R, "V1": [(0.0, 70.0, -1.5)]}, "LBBB"),
        # A q in V6 speaks against it, a septal scar for one.
        (
            {"I": BROAD_R, "V1": [(0.0, 70.0, -1.5)], "V6": [(-60.0, 20.0, -0.3), *BROAD_R]},
            "nonspecific",
        ),
        (RIGHT, "RBBB"),
        ({**RIGHT, "V1": [(0.0, 70.0, 1.0)]}, "RBBB"),  # a pure R that peaks late
        ({**RIGHT, "V6": BROAD_R}, "nonspecific"),  # no S in V6
        ({"I": [(0.0, 40.0, 1.0)], "V1": [(0.0, 40.0, -1.5)]}, "none"),  # narrow
    ],
)
def test_patterns_as_drawn(
    waves: dict[str, Sequence[tuple[float, float, float]]], pattern: str
) -> None:
    beat = drawn(waves)
    qrs = qrs_extent(beat)
    assert qrs is not None
    assert bundle_pattern(beat, qrs) == pattern


def test_extent_of_a_drawn_qrs_is_that_of_its_bump() -> None:
    for half in (30.0, 45.0, 60.0, 75.0):
        qrs = qrs_extent(drawn({"I": [(0.0, half, 1.0)]}))
        assert qrs is not None
        # The cosine leaves and meets zero without slope: some of its ends is below the bar.
        assert 0.9 * 2 * half <= qrs.duration_ms <= 2 * half + 4
    assert qrs_extent(np.zeros((12, BEAT_SAMPLES))) is None


def with_spikes(record: Record, every_s: float, first_s: float, mv: float = 2.0) -> Record:
    """Pulses of 0.5 ms as a recorder with a 150 Hz low-pass writes them."""
    fine, count = 8, len(record.signals)
    pulses = np.zeros(count * fine)
    for start_s in np.arange(first_s, count / record.rate_hz - 0.1, every_s):
        start = int(start_s * record.rate_hz * fine)
        pulses[start : start + max(1, round(0.0005 * record.rate_hz * fine))] = mv
    frequency = np.fft.rfftfreq(pulses.size, 1 / (record.rate_hz * fine))
    low = np.fft.irfft(np.fft.rfft(pulses) / (1 + (frequency / 150) ** 4), pulses.size)
    one, two = 0.7, 1.0  # Einthoven's law holds for spikes too
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    height = np.array([*limb, -0.6, -0.4, 0.3, 0.5, 0.7, 0.8])
    return replace(record, signals=record.signals + low[::fine, None] * height)


def train(slower: float) -> Record:
    """The mean beat of a normal record, repeated every 1024 ms, with QRS so much wider."""
    record = pydicom_sample()
    beat = mean_beat(record.signals, record.rate_hz / slower, record.names).beat_mv
    return Record(np.tile(beat.T.astype(float), (10, 1)), 500.0, LEADS)


def spiked_before_r(record: Record, lag_ms: float) -> Record:
    return with_spikes(record, BEAT_SAMPLES / 500, (BEAT_R_INDEX - lag_ms / 2) / 500)


def test_spikes_before_a_wide_qrs_are_ventricular_pacing() -> None:
    wide, narrow = train(slower=1.8), train(slower=1.0)
    assert wide.assessed().pacing == "not seen"
    spikes = find_spikes(spiked_before_r(wide, 80).signals, 500.0)
    assert spikes is not None
    expected = BEAT_R_INDEX - 40 + BEAT_SAMPLES * np.arange(10)
    assert len(spikes) == 10 and np.abs(spikes - expected).max() <= 2
    quality = spiked_before_r(wide, 80).assessed()
    assert quality.pacing == "ventricular"
    assert quality.findings == ("the ventricles are paced",)
    assert spiked_before_r(narrow, 60).assessed().findings == ()


def test_spikes_before_p_are_atrial_pacing_and_only_a_warning() -> None:
    quality = spiked_before_r(train(slower=1.0), 210).assessed()
    assert quality.pacing == "atrial"
    assert quality.findings == () and quality.warnings == ("The atria are paced.",)


def test_below_500_hz_nothing_is_said_about_pacing(shared_data: Path) -> None:
    record = from_wfdb(shared_data / "ecg" / "ptbxl-00001" / "00001_lr")
    assert with_spikes(record, 0.9, 0.3).assessed().pacing == "cannot tell"


@given(st.integers(0, 1000), st.floats(0.001, 1.0))
@settings(max_examples=25)
def test_noise_is_no_spike(seed: int, sd_mv: float) -> None:
    noise = np.random.default_rng(seed).normal(0, sd_mv, (5000, 12))
    spikes = find_spikes(noise, 500.0)
    assert spikes is not None and spikes.size == 0


# Leads


@pytest.mark.parametrize("sd_uv", [40.0, 120.0])
def test_noise_is_measured_outside_qrs(sd_uv: float) -> None:
    record = pydicom_sample()
    rng = np.random.default_rng(1)
    independent = rng.normal(0, sd_uv / 1000, (len(record.signals), 8))
    one, two = independent[:, 0], independent[:, 1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    noise = np.column_stack([*limb, independent[:, 2:]])
    noisy = replace(record, signals=record.signals + noise)
    quality = noisy.assessed()
    share = math.sqrt((150 - 20) / 500)  # of white noise up to half of 1000 Hz
    for lead in quality.leads[6:]:
        assert lead.noise_uv == pytest.approx(sd_uv * share, rel=0.15)
    assert not quality.findings


def test_most_leads_noisy_takes_the_weight_and_one_warns() -> None:
    record = pydicom_sample()
    beat = mean_beat(record.signals, record.rate_hz, record.names)
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.4, record.signals.shape)
    bad = assess(record.signals + noise, 1000.0, record.names, beat)
    assert any("12 of 12 leads" in text for text in bad.findings)
    noise[:, 1:] = 0
    one = assess(record.signals + noise, 1000.0, record.names, beat)
    assert one.findings == ()
    assert one.warnings == ("ECG lead noisier than 100 µV: I.",)


def test_flat_clipped_missing_and_invalid_leads_are_named() -> None:
    record = pydicom_sample()
    beat = mean_beat(record.signals, record.rate_hz, record.names)
    signals = record.signals.copy()
    v1, v2, v3 = (LEADS.index(lead) for lead in ("V1", "V2", "V3"))
    signals[:, v1] = 0.3
    signals[:, v2] = np.clip(signals[:, v2], -0.3, 0.3)
    signals[2000:2600, v3] = np.nan
    names = [name if name != "III" else "X" for name in record.names]
    quality = assess(signals, 1000.0, names, beat)
    state = {lead.lead: lead for lead in quality.leads}
    assert state["V1"].flat and not state["V2"].flat
    assert state["V2"].clipped and not state["V1"].clipped
    assert state["V3"].invalid_share == pytest.approx(0.06)
    assert not state["III"].present and state["III"].noise_uv is None
    assert quality.findings == ()
    told = " ".join(quality.warnings)
    assert "flat: V1" in told and "clipped: V2" in told and "valid samples: V3" in told
    untouched = record.assessed().leads
    assert state["V3"].noise_uv == pytest.approx(untouched[v3].noise_uv, rel=0.3)


def test_a_fast_heart_takes_the_weight() -> None:
    record = pydicom_sample()
    beat = mean_beat(record.signals, record.rate_hz, record.names)
    for rate, found in ((149.0, False), (150.0, True)):
        fast = replace(beat, heart_rate_bpm=rate)
        quality = assess(record.signals, record.rate_hz, record.names, fast)
        assert bool(quality.findings) == found


# Anything


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(0, 1500), st.integers(0, 4)),
        elements=st.one_of(st.floats(-3, 3), st.floats(allow_infinity=False)),
        fill=st.floats(-1, 1),
    ),
    st.sampled_from([50.0, 100.0, 257.0, 500.0, 1000.0]),
    st.lists(st.sampled_from([*LEADS, "vx", "", "avr "]), min_size=4, max_size=4),
    arrays.arrays(
        np.float32, (12, BEAT_SAMPLES), elements=st.floats(-5, 5, width=32), fill=st.just(0.0)
    ),
)
@settings(max_examples=60)
def test_nothing_in_a_record_raises(
    signals: Array, rate_hz: float, names: list[str], beat_mv: NDArray[np.float32]
) -> None:
    beat = MeanBeat(beat_mv, 70.0, 9, ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quality = assess(signals, rate_hz, names[: signals.shape[1]], beat)
    assert len(quality.leads) == 12
    assert json.loads(json.dumps(asdict(quality), allow_nan=False))["heart_rate_bpm"] == 70.0
    assert all(text and not text.endswith(".") for text in quality.findings)
    assert all(text.endswith(".") for text in quality.warnings)
