"""DICOM ECG waveform objects: units, leads, groups, dates."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ImplicitVRLittleEndian, RespiratoryWaveformStorage

from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.ecg.dicom import LEADS_BY_CODE, read_ecg_dicom
from scarseg_infer.ecg.read import read_ecg
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError


def test_lead_codes_are_those_of_the_standard() -> None:
    """Against pydicom's copy of CID 3001, by the names of its concepts."""
    names = {
        "aVR": "AvrAugmentedVoltageRight",
        "aVL": "AvlAugmentedVoltageLeft",
        "aVF": "AvfAugmentedVoltageFoot",
    }
    for lead in LEADS:
        code = getattr(codes.cid3001, names.get(lead, f"Lead{lead}"))
        assert LEADS_BY_CODE[code.scheme_designator, code.value] == lead
        assert re.search(rf"\b{lead}\b", code.meaning)
    assert len(LEADS_BY_CODE) == 24


@pytest.mark.parametrize("scheme", ["MDC", "SCPECG", "99LOCAL", None])
def test_leads_are_known_by_code_or_else_by_name(ecg_factory: ModuleType, scheme: str) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    for lead, channel in zip(LEADS, group.ChannelDefinitionSequence, strict=True):
        source = channel.ChannelSourceSequence[0]
        if scheme == "SCPECG":
            source.CodeValue = source.CodeValue.replace("2:", "5.6.3-9-")
        if scheme in ("MDC", "SCPECG"):
            source.CodingSchemeDesignator, source.CodeMeaning = scheme, "Lead V1"  # a wrong text
        elif scheme:
            source.CodingSchemeDesignator, source.CodeMeaning = scheme, f"Lead {lead} (Einthoven)"
        else:
            del channel.ChannelSourceSequence
            channel.ChannelLabel = lead.upper()
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    assert record.lead_names == LEADS
    truth = ecg_factory.counts() * ecg_factory.STEP_MV
    np.testing.assert_allclose(record.signals_mv, truth, rtol=0, atol=1e-9)


def test_a_lead_that_sounds_like_a_standard_one_is_not_taken_for_it(
    ecg_factory: ModuleType,
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    other = group.ChannelDefinitionSequence[6].ChannelSourceSequence[0]
    other.CodeValue, other.CodeMeaning = "2:33", "Derived Lead V1"
    other = group.ChannelDefinitionSequence[7].ChannelSourceSequence[0]
    other.CodingSchemeDesignator, other.CodeMeaning = "99LOCAL", "Lead V2R"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    assert record.lead_names[6:9] == ("Derived Lead V1", "Lead V2R", "V3")


@pytest.mark.parametrize(
    "name",
    [
        "V4 R", "V4 (right)", "V4, right-sided", "V4 posterior", "V4 (V7)", "V4/V4R", "V4 inverted",
        "Lead -V4", "ECG_-V4",
    ],
)  # fmt: skip
def test_a_lead_from_elsewhere_on_the_chest_is_not_taken_for_a_standard_one(
    ecg_factory: ModuleType, name: str
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    source = group.ChannelDefinitionSequence[9].ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeMeaning = "99LOCAL", name
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    assert "V4" not in record.lead_names


@pytest.mark.parametrize("name", ["aVR, augmented voltage, right", "Lead aVR", "aVR (uV)"])
def test_what_the_standard_calls_a_lead_is_known(ecg_factory: ModuleType, name: str) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    source = group.ChannelDefinitionSequence[3].ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeMeaning = "99LOCAL", name
    assert read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group))).lead_names == LEADS


def test_a_label_that_contradicts_the_code_of_its_lead_is_refused(ecg_factory: ModuleType) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    group.ChannelDefinitionSequence[6].ChannelLabel = "V1"
    assert read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group))).lead_names == LEADS
    group.ChannelDefinitionSequence[6].ChannelLabel = "V2"
    with pytest.raises(EcgError, match="names of two leads"):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))


def test_zero_is_no_padding_and_a_missing_unit_is_named(ecg_factory: ModuleType) -> None:
    counts = ecg_factory.counts()
    group = ecg_factory.multiplex_group(counts)
    group.WaveformPaddingValue = b"\0\0"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    np.testing.assert_allclose(record.signals_mv, counts * ecg_factory.STEP_MV, atol=1e-9)
    del group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence
    with pytest.raises(EcgError, match="lead I of the ECG is in no unit of voltage"):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1.0), ("mV", 1.0), ("V", 1e3 * 1.0), ("nV", 1e-6)]
)
def test_units_baseline_and_correction_become_millivolts(
    ecg_factory: ModuleType, unit: str, factor: float
) -> None:
    counts = ecg_factory.counts() // 2  # in volts, below what is refused
    group = ecg_factory.multiplex_group(counts, unit=unit)
    channel = group.ChannelDefinitionSequence[3]
    step = float(channel.ChannelSensitivity)
    channel.ChannelSensitivityCorrectionFactor = "0.5"
    channel.ChannelBaseline = "0.25"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    per_unit = {"uV": 1e-3, "mV": 1.0, "V": 1e3, "nV": 1e-6}[unit]
    expected = (counts[:, 3] * step * 0.5 + 0.25) * per_unit
    np.testing.assert_allclose(record.signals_mv[:, 3], expected, rtol=1e-12)
    np.testing.assert_allclose(
        record.signals_mv[:, 0], counts[:, 0] * ecg_factory.STEP_MV * factor, atol=1e-12
    )


@pytest.mark.parametrize("unit", ["mm[Hg]", "%", None])
def test_a_lead_without_a_unit_of_voltage_is_refused(
    ecg_factory: ModuleType, unit: str | None
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts(), unit=unit or "uV")
    if unit is None:
        del group.ChannelDefinitionSequence[0].ChannelSensitivity
    with pytest.raises(EcgError, match="lead I of the ECG is in no unit of voltage"):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))


def test_the_rhythm_is_taken_not_the_median_beat(ecg_factory: ModuleType) -> None:
    counts = ecg_factory.counts()
    rhythm = ecg_factory.multiplex_group(counts)
    beat = ecg_factory.multiplex_group(counts[:600], label="MEDIAN BEAT")
    strip = ecg_factory.multiplex_group(np.vstack([counts, counts])[:, :1], LEADS[:1])
    for groups in ((rhythm, beat, strip), (strip, beat, rhythm), (beat, rhythm)):
        record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(*groups)))
        assert (record.lead_names, len(record.signals_mv)) == (LEADS, 5000)
    with pytest.raises(EcgError, match="holds no recording"):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(beat)))


def test_groups_of_the_same_seconds_are_put_together_others_not(ecg_factory: ModuleType) -> None:
    counts = ecg_factory.counts()
    parts = [
        ecg_factory.multiplex_group(counts[:, i : i + 3], LEADS[i : i + 3]) for i in (0, 3, 6, 9)
    ]
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(*parts)))
    assert record.lead_names == LEADS
    np.testing.assert_allclose(record.signals_mv, counts * ecg_factory.STEP_MV, atol=1e-9)
    for i, part in enumerate(parts):
        part.MultiplexGroupTimeOffset = 10_000 * i  # one after another, as strips are
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(*parts)))
    assert record.lead_names == LEADS[:3]


SKEWS = {
    "samples": lambda channel, k: setattr(channel, "ChannelSampleSkew", str(k)),
    "seconds": lambda channel, k: setattr(channel, "ChannelTimeSkew", f"{k / 500:g}"),
    "both": lambda channel, k: (
        setattr(channel, "ChannelTimeSkew", f"{k / 500:g}"),
        setattr(channel, "ChannelSampleSkew", str(k)),
    ),
    "offset": lambda channel, k: setattr(channel, "ChannelOffset", f"{k / 500:g}"),
    "skew and offset": lambda channel, k: (
        setattr(channel, "ChannelSampleSkew", str(k - 3)),
        setattr(channel, "ChannelOffset", "0.006"),
    ),
}


@pytest.mark.parametrize("how", SKEWS)
@pytest.mark.parametrize("first", [5, -30])
def test_channels_sampled_later_are_moved(how: str, first: int, ecg_factory: ModuleType) -> None:
    """V1–V6 begin 5 to 30 samples after the limb leads, or before them."""
    counts = ecg_factory.counts()
    delays = [0] * 6 + [first + 5 * k for k in range(6)]
    late, early = max(delays), min(delays)
    n = len(counts) - late + early
    # The stored sample j of a channel is the one of instant j + delay.
    stored = np.stack(
        [counts[d - early : len(counts) - late + d, i] for i, d in enumerate(delays)], axis=1
    )
    group = ecg_factory.multiplex_group(stored)
    for channel, delay in zip(group.ChannelDefinitionSequence, delays, strict=True):
        if delay:
            SKEWS[how](channel, delay)
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    truth = counts[late - early : n] * ecg_factory.STEP_MV
    np.testing.assert_allclose(record.signals_mv, truth, atol=1e-9)


def test_a_part_of_a_sample_is_interpolated(ecg_factory: ModuleType) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    group.ChannelDefinitionSequence[3].ChannelTimeSkew = "0.0005"  # a quarter of a sample
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    plain = ecg_factory.counts() * ecg_factory.STEP_MV
    np.testing.assert_allclose(record.signals_mv[:, 0], plain[1:, 0], atol=1e-9)
    between = 0.25 * plain[:-1, 3] + 0.75 * plain[1:, 3]
    np.testing.assert_allclose(record.signals_mv[:, 3], between, atol=1e-9)


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"ChannelSampleSkew": "5", "ChannelTimeSkew": "0.05"}, "two different"),
        ({"ChannelSampleSkew": "4000"}, "same time"),
        ({"ChannelTimeSkew": "2.5e9"}, "same time"),
    ],
)
def test_skews_that_cannot_be_served_are_refused(
    elements: dict[str, str], why: str, ecg_factory: ModuleType
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    for keyword, value in elements.items():
        setattr(group.ChannelDefinitionSequence[7], keyword, value)
    with pytest.raises(EcgError, match=why):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))


def test_padding_becomes_nan(ecg_factory: ModuleType) -> None:
    counts = ecg_factory.counts()
    counts[40:50, 2] = -32768
    group = ecg_factory.multiplex_group(counts)
    group.WaveformPaddingValue = b"\x00\x80"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    invalid = np.argwhere(np.isnan(record.signals_mv))
    assert invalid.tolist() == [[k, 2] for k in range(40, 50)]


CET = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("written", "recorded", "date_only", "doubt"),
    [
        ("20240228104512.5", datetime(2024, 2, 28, 10, 45, 12, 500000), False, False),
        ("202402281045", datetime(2024, 2, 28, 10, 45), False, False),
        ("20240228233000+0100", datetime(2024, 2, 28, 23, 30, tzinfo=CET), False, False),
        ("20240228256000", datetime(2024, 2, 28), True, False),
        ("20240228104", datetime(2024, 2, 28), True, False),
        ("202402", None, False, True),
        ("2024021", None, False, True),
        ("20240228", datetime(2024, 2, 28), True, False),
        ("20240228000000", datetime(2024, 2, 28), True, False),
        ("20240000", None, False, True),
        ("19000101000000", None, False, True),
        ("", None, False, False),
    ],
)
def test_only_the_acquisition_says_when(
    ecg_factory: ModuleType, written: str, recorded: datetime | None, date_only: bool, doubt: bool
) -> None:
    """The study's own date, 1 March, may be that of an import."""
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group, recorded=written)))
    assert (record.recorded, record.date_only) == (recorded, date_only)
    no_clock = written in ("20240228256000", "20240228104")
    assert ["not a date" in warning for warning in record.warnings] == [True] * doubt + (
        [False] * no_clock
    )
    assert any("time of day is not a time" in warning for warning in record.warnings) == no_clock
    assert record.patient_id == ecg_factory.PATIENT_ID


def test_acquisition_date_and_time_do_as_well(ecg_factory: ModuleType) -> None:
    dataset = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()), recorded="")
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240228", "104512"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(dataset))
    assert (record.recorded, record.date_only) == (ecg_factory.RECORDED, False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("WaveformSequence"),
        lambda d: setattr(d, "WaveformSequence", []),
        lambda d: d.WaveformSequence[0].pop("WaveformData"),
        lambda d: d.WaveformSequence[0].pop("ChannelDefinitionSequence"),
        lambda d: d.WaveformSequence[0].ChannelDefinitionSequence.pop(),
        lambda d: d.WaveformSequence[0].pop("SamplingFrequency"),
        lambda d: setattr(d.WaveformSequence[0], "SamplingFrequency", "-500"),
        lambda d: setattr(d.WaveformSequence[0], "NumberOfWaveformSamples", 2**31),
        lambda d: setattr(d.WaveformSequence[0], "NumberOfWaveformChannels", 0),
        lambda d: setattr(d.WaveformSequence[0], "WaveformSampleInterpretation", "MB"),
        lambda d: setattr(d.WaveformSequence[0], "WaveformBitsAllocated", 12),
        lambda d: setattr(d, "SOPClassUID", RespiratoryWaveformStorage),
    ],
)
def test_objects_that_contradict_themselves_are_refused(ecg_factory: ModuleType, spoil) -> None:  # type: ignore[no-untyped-def]
    dataset = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    spoil(dataset)
    with pytest.raises(EcgError):
        read_ecg_dicom(ecg_factory.dicom_bytes(dataset))


def test_a_file_without_preamble_is_recognised(ecg_factory: ModuleType, tmp_path) -> None:  # type: ignore[no-untyped-def]
    dataset = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, dataset)
    path = tmp_path / "IM0001"
    path.write_bytes(stream.getvalue())
    assert read_ecg(path).lead_names == LEADS


def test_implicit_vr_is_read_alike(ecg_factory: ModuleType) -> None:
    dataset = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    explicit = read_ecg_dicom(ecg_factory.dicom_bytes(dataset))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    stream = BytesIO()
    dataset.save_as(stream, implicit_vr=True, little_endian=True, enforce_file_format=True)
    np.testing.assert_array_equal(read_ecg_dicom(stream.getvalue()).signals_mv, explicit.signals_mv)


def test_an_image_is_no_ecg() -> None:
    with open(get_testdata_file("CT_small.dcm"), "rb") as file, pytest.raises(EcgError):  # noqa: PTH123
        read_ecg_dicom(file.read())


def test_the_demo_has_one_that_checkers_accept(
    verify_dicom: Callable[[Path], dict[str, Any]],
) -> None:
    """The same ECG as the demo's WFDB record, of the same patient as the demo's images."""
    record, found = read_ecg(DEMO_ECG), read_ecg(DEMO_ECG.with_suffix(".dcm"))
    assert (found.lead_names, found.rate_hz) == (record.lead_names, record.rate_hz)
    assert np.allclose(found.signals_mv, record.signals_mv, rtol=0, atol=1e-9)
    assert (found.recorded, found.source) == (record.recorded, "dicom")
    assert found.warnings == ()
    checked = verify_dicom(DEMO_ECG.with_suffix(".dcm"))
    image = dcmread(next(DEMO_STUDY.iterdir()))
    assert checked["00100020"]["Value"] == [image.PatientID]
    assert checked["0020000D"]["Value"] != [image.StudyInstanceUID]


@pytest.mark.parametrize("stored", [10, 12, 14])
def test_bits_above_those_that_are_stored_are_no_value(
    stored: int, ecg_factory: ModuleType
) -> None:
    """Not extended with their sign, or with something else above them."""
    counts = ecg_factory.counts()
    truth = counts * ecg_factory.STEP_MV
    cut = (counts.astype(int) & ((1 << stored) - 1)).astype(np.uint16)
    for words in (cut, cut | 0x8000, counts):
        group = ecg_factory.multiplex_group(words)
        for channel in group.ChannelDefinitionSequence:
            channel.WaveformBitsStored = stored
        record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
        np.testing.assert_allclose(record.signals_mv, truth, atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda g: setattr(g, "WaveformSampleInterpretation", "MB"), "not linear"),
        (lambda g: setattr(g, "WaveformSampleInterpretation", "AB"), "not linear"),
        (lambda g: setattr(g.ChannelDefinitionSequence[1], "ChannelSensitivity", "0"), "is zero"),
        (lambda g: setattr(g.ChannelDefinitionSequence[1], "WaveformBitsStored", 1), "1 of 16"),
    ],
)
def test_samples_that_are_no_line_of_voltages_are_refused(
    spoil: Callable[[Any], None], why: str, ecg_factory: ModuleType
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    if why == "not linear":
        group = ecg_factory.multiplex_group(ecg_factory.counts().astype(np.int8))
        group.WaveformBitsAllocated = 8
    spoil(group)
    with pytest.raises(EcgError, match=why):
        read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))


def test_a_group_that_began_later_is_moved(ecg_factory: ModuleType) -> None:
    """200 ms after the limb leads; a shorter one ends earlier."""
    counts = ecg_factory.counts()
    limb = ecg_factory.multiplex_group(counts[:, :6], LEADS[:6])
    chest = ecg_factory.multiplex_group(counts[100:, 6:], LEADS[6:])
    chest.MultiplexGroupTimeOffset = "200"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(limb, chest)))
    assert record.lead_names == LEADS
    np.testing.assert_allclose(record.signals_mv, counts[100:] * ecg_factory.STEP_MV, atol=1e-9)


def test_two_dates_of_one_recording(ecg_factory: ModuleType) -> None:
    dataset = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20200101", "104512"
    record = read_ecg_dicom(ecg_factory.dicom_bytes(dataset))
    assert record.recorded is None
    assert any("two different dates" in warning for warning in record.warnings)


@pytest.mark.parametrize(
    ("keyword", "of_channel"),
    [("SamplingFrequency", False), ("MultiplexGroupTimeOffset", False),
     ("ChannelTimeSkew", True), ("ChannelBaseline", True), ("ChannelSensitivity", True)],
)  # fmt: skip
def test_a_number_with_a_decimal_comma_is_never_left_out(
    ecg_factory: ModuleType, keyword: str, of_channel: bool
) -> None:
    """An offset that does not count moves a group of leads in time, without a word."""
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    setattr(group.ChannelDefinitionSequence[0] if of_channel else group, keyword, "12.375")
    data = ecg_factory.dicom_bytes(ecg_factory.dicom(group))
    assert b"12.375" in data
    with pytest.raises(EcgError, match=f"{keyword} that is no number"):
        read_ecg_dicom(data.replace(b"12.375", b"12,375"))
