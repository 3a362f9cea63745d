"""Errors that formats read by ecgdatakit can hold, and what becomes of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from scarseg_infer.ecg.dicom import read_ecg_dicom
from scarseg_infer.ecg.lead_names import standard_leads
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import EcgRecord, checked
from scarseg_infer.ecg.vendor import MAX_SCP_BYTES, read_ecg_other
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

DAY = datetime(2024, 2, 28)
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE {0} [<!ENTITY a "ha"><!ENTITY b "{1}"><!ENTITY c "{2}">'
    '<!ENTITY d "{3}"><!ENTITY e "{4}"><!ENTITY f "{5}"><!ENTITY g "{6}">]><{0}>&g;</{0}>'
)


@pytest.mark.parametrize("root", ["RestingECG", "restingecgdata", "AnnotatedECG"])
def test_an_entity_bomb_is_refused_before_a_parser_sees_it(root: str) -> None:
    bomb = LAUGHS.format(root, *(f"&{letter};" * 50 for letter in "abcdef")).encode()
    with pytest.raises(EcgError, match="its own declarations"):
        read_ecg_other(bomb)


Case = tuple[str, dict[str, object], datetime | None, bool, str]
NOT_A_DATE = "not a date"
NOT_A_TIME = "not a time"
CET = timezone(timedelta(hours=1))
DATES: dict[str, Case] = {
    "edf, midnight": ("edf", {"clock": "00.00.00"}, DAY, True, ""),
    "edf, no time": ("edf", {"clock": "", "recording": ""}, DAY, True, ""),
    "edf, unknown": (
        "edf", {"date": "01.01.85", "clock": "00.00.00", "recording": ""}, None, False, "",
    ),
    "edf, Startdate X": ("edf", {"recording": "Startdate X X X X"}, None, False, ""),
    "edf, none": ("edf", {"date": "99.99.99", "recording": ""}, None, False, NOT_A_DATE),
    "aecg, day": ("aecg", {"low": "20240228", "head": ""}, DAY, True, ""),
    "aecg, hour": ("aecg", {"low": "2024022810", "head": ""}, DAY, True, ""),
    "aecg, head": (
        "aecg", {"low": "", "head": "20240228104512"}, datetime(2024, 2, 28, 10, 45, 12), False, "",
    ),
    "aecg, zone": (
        "aecg", {"low": "20240228233000+0100"},
        datetime(2024, 2, 28, 23, 30, tzinfo=CET), False, "",
    ),
    "aecg, de-identified": ("aecg", {"low": "19000101000000"}, None, False, NOT_A_DATE),
    "aecg, bad clock": ("aecg", {"low": "20240228256000", "head": ""}, DAY, True, NOT_A_TIME),
    "aecg, bad zone": (
        "aecg", {"low": "20240228104512+9960"}, datetime(2024, 2, 28, 10, 45, 12), False, "",
    ),
    "aecg, half a clock": ("aecg", {"low": "202402281", "head": ""}, DAY, True, NOT_A_TIME),
    "aecg, month": ("aecg", {"low": "202312", "head": ""}, None, False, NOT_A_DATE),
    "aecg, year": ("aecg", {"low": "2023", "head": ""}, None, False, NOT_A_DATE),
    "aecg, half a day": ("aecg", {"low": "2023123", "head": ""}, None, False, NOT_A_DATE),
    "aecg, month, then another": ("aecg", {"low": "202312"}, None, False, NOT_A_DATE),
    "aecg, month, then a day": (
        "aecg", {"low": "202402"}, datetime(2024, 2, 28, 10, 45, 12), False, "",
    ),
    "aecg, two days": ("aecg", {"low": "20231224"}, None, False, "two different dates"),
    "aecg, none": ("aecg", {"low": "", "head": ""}, None, False, ""),
    "scp, no time": ("scp", {"clock": False}, DAY, True, ""),
    "scp, no date": ("scp", {"day": (0, 0, 0)}, None, False, ""),
    "scp, month": ("scp", {"day": (2024, 2, 0)}, None, False, NOT_A_DATE),
    "scp, year": ("scp", {"day": (2024, 0, 0)}, None, False, NOT_A_DATE),
    "edf, bad clock": ("edf", {"clock": "25.61.00"}, DAY, True, NOT_A_TIME),
    "edf, bad clock, year": (
        "edf", {"clock": "??", "date": "01.01.85"}, DAY, True, NOT_A_TIME,
    ),
    "edf, not padded": ("edf", {"date": "8.2.24", "recording": ""}, None, False, NOT_A_DATE),
    "edf, month": (
        "edf", {"date": "01.01.85", "recording": "Startdate FEB-2024 X X X"}, None, False,
        NOT_A_DATE,
    ),
    "edf, two days": ("edf", {"date": "27.02.24"}, None, False, "two different dates"),
    "muse, bad clock": ("muse", {"clock": "24:61:00"}, DAY, True, NOT_A_TIME),
    "muse, not padded": ("muse", {"day": "2-8-2024"}, None, False, NOT_A_DATE),
    "muse, month": ("muse", {"day": "202402"}, None, False, NOT_A_DATE),
    "muse, word": ("muse", {"day": "28-FEB-2024", "clock": ""}, DAY, True, ""),
    "philips, bad clock": ("philips", {"clock": "25:00:00"}, DAY, True, NOT_A_TIME),
    "philips, month": ("philips", {"day": "2024-02"}, None, False, NOT_A_DATE),
    "philips, not padded": ("philips", {"day": "2024-2-8"}, None, False, NOT_A_DATE),
    "philips, other order": ("philips", {"day": "02-03-2024"}, None, False, NOT_A_DATE),
    "scp, impossible": ("scp", {"day": (1850, 1, 1)}, None, False, NOT_A_DATE),
    "muse, no time": ("muse", {"clock": ""}, DAY, True, ""),
    "muse, none": ("muse", {"day": "", "clock": ""}, None, False, ""),
    "muse, day first": (
        "muse", {"day": "28-02-2024"}, datetime(2024, 2, 28, 10, 45, 12), False, "",
    ),
    "philips, midnight": ("philips", {"clock": "00:00:00"}, DAY, True, ""),
    "philips, no time": ("philips", {"clock": ""}, DAY, True, ""),
    "philips, none": ("philips", {"day": "", "clock": ""}, None, False, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", DATES)
def test_dates_are_read_or_unknown_but_never_guessed(name: str, ecg_factory: ModuleType) -> None:
    make, options, recorded, date_only, doubt = DATES[name]
    write = getattr(ecg_factory, make)
    record = read_ecg_other(write(ecg_factory.counts(), **options))
    assert (record.recorded, record.date_only) == (recorded, date_only)
    assert [doubt in warning for warning in record.warnings] == ([True] if doubt else [])


@pytest.mark.parametrize("tag", ["DateofBirth", "EditDate", "OverreadDate"])
def test_a_muse_file_that_writes_days_first_elsewhere_is_not_read_month_first(
    ecg_factory: ModuleType, tag: str
) -> None:
    def read(other: str, day: str) -> EcgRecord:
        data = ecg_factory.muse(ecg_factory.counts(), day=day)
        found = data.replace(b"<PatientID>", f"<{tag}>{other}</{tag}><PatientID>".encode(), 1)
        return read_ecg_other(found)

    doubtful = read("25-12-1950", "05-06-2024")
    assert doubtful.recorded is None and "either way round" in doubtful.warnings[0]
    assert read("12-25-1950", "05-06-2024").recorded == datetime(2024, 5, 6, 10, 45, 12)
    assert read("25-12-1950", "06-06-2024").recorded == datetime(2024, 6, 6, 10, 45, 12)


@pytest.mark.parametrize("make", ["edf", "aecg", "muse"])
def test_a_lead_that_is_there_twice_is_refused(ecg_factory: ModuleType, make: str) -> None:
    """The library gives the second another name, and the first was read in silence."""
    counts = ecg_factory.counts()
    if make == "edf":
        twelve = np.column_stack([counts, counts[:, 9]])
        data = ecg_factory.edf(twelve, labels=[*ecg_factory.LEADS, "V1"])
    else:
        end = "</component>" if make == "aecg" else "</LeadData>"
        text = getattr(ecg_factory, make)(counts).decode()
        name = "MDC_ECG_LEAD_V6" if make == "aecg" else "<LeadID>V6"
        last = text.index(name)
        start = text.rindex("<component>" if make == "aecg" else "<LeadData>", 0, last)
        block = text[start : text.index(end, last) + len(end)]
        data = text.replace(block, block + block.replace("V6", "V1")).encode()
    with pytest.raises(EcgError, match="two leads named V1"):
        read_ecg_other(data)


def test_a_lead_whose_first_sample_lies_later_is_refused(ecg_factory: ModuleType) -> None:
    text = ecg_factory.muse(ecg_factory.counts()).decode()
    late = "<LeadID>V1</LeadID><LeadOffsetFirstSample>40</LeadOffsetFirstSample>"
    with pytest.raises(EcgError, match="not recorded at the same time"):
        read_ecg_other(text.replace("<LeadID>V1</LeadID>", late).encode())


@pytest.mark.parametrize("make", ["edf", "aecg"])
def test_millivolts_and_microvolts_are_the_same_signal(ecg_factory: ModuleType, make: str) -> None:
    in_uv, in_mv = (
        read_ecg_other(getattr(ecg_factory, make)(ecg_factory.counts(), unit=unit))
        for unit in ("uV", "mV")
    )
    np.testing.assert_allclose(in_uv.signals_mv, in_mv.signals_mv, rtol=0, atol=1e-5)
    assert np.abs(in_mv.signals_mv).max() > 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f.edf(f.counts(), unit="mmHg"),
        lambda f: f.edf(f.counts(), unit=""),
        lambda f: f.aecg(f.counts(), unit="mmHg"),
        lambda f: f.muse(f.counts(), unit="PASCAL"),
        lambda f: f.muse(f.counts(), unit=""),
    ],
)
def test_leads_in_no_voltage_are_refused(
    make: Callable[[ModuleType], bytes], ecg_factory: ModuleType
) -> None:
    with pytest.raises(EcgError, match="lead I of the ECG is in no unit of voltage"):
        read_ecg_other(make(ecg_factory))


@pytest.mark.parametrize(
    ("make", "options"), [("scp", {"starts": (1,) * 6 + (1251,) * 6}), ("muse", {"late": 7})]
)
def test_leads_recorded_one_after_another_are_refused(
    ecg_factory: ModuleType, make: str, options: dict[str, object]
) -> None:
    with pytest.raises(EcgError, match="not recorded at the same time"):
        read_ecg_other(getattr(ecg_factory, make)(ecg_factory.counts(), **options))
    counts = ecg_factory.counts()
    later = read_ecg_other(ecg_factory.scp(counts, starts=(7,) * 12))  # all alike: no harm
    np.testing.assert_allclose(later.signals_mv, counts * ecg_factory.STEP_MV, atol=1e-9)


def test_leads_of_different_rates_are_refused(ecg_factory: ModuleType) -> None:
    """The rate of V6 alone is written as half of that of the others."""
    content = bytearray(ecg_factory.edf(ecg_factory.counts()))
    rates = 256 + 12 * (16 + 80 + 8 + 8 + 8 + 8 + 8 + 80)
    assert content[rates + 88 : rates + 96] == b"500     "
    content[rates + 88 : rates + 96] = b"250     "
    with pytest.raises(EcgError, match="differ in rate or length"):
        read_ecg_other(bytes(content))


def test_other_signals_in_an_edf_are_left_out(ecg_factory: ModuleType) -> None:
    labels = [f"ECG {name}" for name in ecg_factory.LEADS[:8]] + ["Resp", "EMG", "V5", "V6"]
    record = read_ecg_other(ecg_factory.edf(ecg_factory.counts(), labels=labels))
    # In volts and at the same rate they may stay: the ECG is picked by name later.
    assert record.lead_names[:8] == ecg_factory.LEADS[:8]
    with pytest.raises(EcgError, match="none of the 12 leads"):
        read_ecg_other(ecg_factory.edf(ecg_factory.counts(), labels=["EEG"] * 12))


def test_plain_edf_has_no_identifier_but_free_text(ecg_factory: ModuleType) -> None:
    record = read_ecg_other(ecg_factory.edf(ecg_factory.counts(), plus=False))
    assert record.patient_id is None


def test_an_edf_cut_short_is_read_with_a_warning(ecg_factory: ModuleType) -> None:
    record = read_ecg_other(ecg_factory.edf(ecg_factory.counts(), records=20))
    assert record.signals_mv.shape == (5000, 12)
    assert record.warnings == ("The ECG file is cut short: what is there was read.",)


def test_an_interrupted_edf_is_refused(ecg_factory: ModuleType) -> None:
    """EDF+D: the time of each record stands in an annotation signal (edfplus.html, 2.2)."""
    counts = ecg_factory.counts()
    for onsets, whole in ((range(10), True), ((0, 1, 2, 3, 4, 9, 10, 11, 12, 13), False)):
        marks = np.zeros((10, 500), "<i2")
        for record, onset in enumerate(onsets):
            text = f"+{onset}\x14\x14\0".encode()
            marks[record].view("u1")[: len(text)] = list(text)
        data = np.column_stack([counts, marks.reshape(-1)])
        labels = (*ecg_factory.LEADS, "EDF Annotations")
        content = ecg_factory.edf(data, labels=labels).replace(b"EDF+C", b"EDF+D")
        if whole:
            assert read_ecg_other(content).signals_mv.shape == (5000, 12)
        else:
            with pytest.raises(EcgError, match="interrupted"):
                read_ecg_other(content)


def test_24_bit_edf_is_refused(ecg_factory: ModuleType) -> None:
    content = b"\xffBIOSEMI" + ecg_factory.edf(ecg_factory.counts())[8:]
    with pytest.raises(EcgError, match="EDF file is damaged, cut short or of a variant"):
        read_ecg_other(content)


def test_a_rate_that_is_no_whole_number_is_kept(ecg_factory: ModuleType) -> None:
    record = read_ecg_other(ecg_factory.aecg(ecg_factory.counts(), increment=("3.9", "ms")))
    assert record.rate_hz == pytest.approx(1000 / 3.9)


def test_several_recordings_in_an_aecg_are_said(ecg_factory: ModuleType) -> None:
    record = read_ecg_other(ecg_factory.aecg(ecg_factory.counts(), series=2))
    assert record.warnings == ("The ECG file holds several recordings: the first was read.",)


def test_a_cut_scp_file_is_not_called_too_large(ecg_factory: ModuleType) -> None:
    with pytest.raises(EcgError, match="cut short"):
        read_ecg_other(ecg_factory.scp(ecg_factory.counts())[:-2000])


def test_scp_damage_is_noticed_by_its_checksums(ecg_factory: ModuleType) -> None:
    content = bytearray(ecg_factory.scp(ecg_factory.counts()))
    content[-100] ^= 1
    record = read_ecg_other(bytes(content))
    assert record.warnings == ("The ECG samples do not match the checksums in the file.",)
    with pytest.raises(EcgError, match="too large"):
        read_ecg_other(bytes(content) + b"\0" * MAX_SCP_BYTES)


@pytest.mark.parametrize("make", ["philips", "aecg", "edf", "scp", "dicom", "wfdb", "array"])
@pytest.mark.parametrize(("pulse_mv", "doubtful"), [(None, False), (1.0, False), (2.0, True)])
def test_a_calibration_pulse_is_cut_off_and_checked_in_every_format(
    make: str, pulse_mv: float | None, doubtful: bool, ecg_factory: ModuleType, tmp_path: Path
) -> None:
    counts = ecg_factory.counts()
    tail = np.zeros((500, 12), np.int16)
    tail[150:250] = round((pulse_mv or 0.0) / ecg_factory.STEP_MV)
    samples = counts if pulse_mv is None else np.vstack([counts, tail])
    record = as_format(ecg_factory, make, samples, tmp_path)
    assert 4900 < len(record.signals_mv) <= 5000
    truth = counts[: len(record.signals_mv)] * ecg_factory.STEP_MV
    np.testing.assert_allclose(record.signals_mv, truth, rtol=0, atol=1e-9)
    assert ["2.00 mV high" in warning for warning in record.warnings] == [True] * doubtful


@pytest.mark.parametrize("backward", [True, False])
def test_a_pulse_of_which_the_mean_of_each_lead_was_taken_away(
    backward: bool, ecg_factory: ModuleType
) -> None:
    counts = ecg_factory.counts()
    tail = np.zeros((250, 12), np.int16)
    tail[75:175] = 200
    samples = np.vstack([counts, tail] if backward else [tail, counts])
    signals = samples * ecg_factory.STEP_MV
    record = checked(EcgRecord(signals - signals.mean(axis=0), 500, LEADS))
    assert 4900 < len(record.signals_mv) <= 5000


def test_a_pulse_whose_corners_a_filter_lets_overshoot(ecg_factory: ModuleType) -> None:
    counts = ecg_factory.counts() * ecg_factory.STEP_MV
    tail = np.zeros(250)
    tail[75:175] = 1.0
    for edge in (75, 175):
        ringing = 0.12 * np.exp(-np.arange(25) / 6.0) * np.cos(np.arange(25) / 3.0)
        tail[edge : edge + 25] += ringing if edge == 75 else -ringing
    record = checked(EcgRecord(np.vstack([counts, np.repeat(tail[:, None], 12, 1)]), 500, LEADS))
    assert len(record.signals_mv) <= 5000 + 75


@pytest.mark.parametrize(
    ("what", "other", "why"),
    [
        ("durationperchannel", 'durationperchannel="5000"', "more samples"),
        ("signal", "<samplingrate>1000</samplingrate>", "two different sampling rates"),
        ("signal", "<resolution>2.5</resolution>", "two different resolutions"),
    ],
)
def test_a_philips_xml_that_contradicts_itself_is_refused(
    what: str, other: str, why: str, ecg_factory: ModuleType
) -> None:
    """The library cuts and scales the leads by one of the two, in silence."""
    text = ecg_factory.philips(ecg_factory.counts()).decode("utf-16")
    if what == "signal":
        part = f"<signalcharacteristics>{other}</signalcharacteristics><waveforms>"
        text = text.replace("<waveforms>", part)
    else:
        text = re.sub(f'{what}="[0-9]+"', other, text)
    with pytest.raises(EcgError, match=why):
        read_ecg_other(text.encode("utf-16"))


def test_a_start_is_compared_as_a_number(ecg_factory: ModuleType) -> None:
    content = ecg_factory.muse(ecg_factory.counts()).decode()
    zero = "<LeadTimeOffset>0<"
    record = read_ecg_other(content.replace(zero, "<LeadTimeOffset>0.0<", 1).encode())
    assert len(record.lead_names) == 8


@pytest.mark.parametrize("derived", ["flat", "computed", "turned"])
def test_a_pulse_in_the_recorded_leads_alone(derived: str, ecg_factory: ModuleType) -> None:
    """Converters compute III and the augmented leads, from the pulse too, or leave them at zero."""
    counts = ecg_factory.counts()
    tail = np.zeros((250, 12), np.int16)
    tail[75:175] = 200
    factors = {"flat": (0, 0, 0, 0), "computed": (0, -1, 0.5, 0.5), "turned": (1, -1, 1, 1)}
    tail[:, 2:6] = tail[:, 2:6] * np.array(factors[derived])
    noise = np.random.default_rng(1).integers(-1, 2, tail.shape)
    samples = np.vstack([counts, tail + noise.astype(np.int16)])
    record = checked(EcgRecord(samples * ecg_factory.STEP_MV, 500, LEADS))
    assert len(record.signals_mv) <= 5000 + 75
    np.testing.assert_allclose(
        record.signals_mv[:5000], counts * ecg_factory.STEP_MV, rtol=0, atol=1e-9
    )


def as_format(
    factory: ModuleType, make: str, counts: np.ndarray, folder: Path, names: Sequence[str] = LEADS
) -> EcgRecord:
    """The record as it comes out of a file of the format."""
    if make == "array":
        return checked(EcgRecord(counts * factory.STEP_MV, factory.RATE_HZ, names))
    if make == "wfdb":
        sums = counts.sum(0, dtype=np.int64) % 65536
        gain = 1 / factory.STEP_MV
        lines = [
            f"rec.dat 16 {gain:g}/mV 16 0 0 {total} 0 {lead}"
            for lead, total in zip(names, sums, strict=True)
        ]
        (folder / "rec.hea").write_text("\n".join([f"rec 12 500 {len(counts)}", *lines]))
        (folder / "rec.dat").write_bytes(counts.astype("<i2").tobytes())
        return read_ecg(folder / "rec")
    if make == "dicom":
        dataset = factory.dicom(factory.multiplex_group(counts))
        return read_ecg_dicom(factory.dicom_bytes(dataset))
    return read_ecg_other(getattr(factory, make)(counts))


@pytest.mark.parametrize("encoding", ["UTF-8", "GBK"])
def test_chinese_text_is_no_obstacle(ecg_factory: ModuleType, encoding: str) -> None:
    plain = read_ecg_other(ecg_factory.muse(ecg_factory.counts()))
    record = read_ecg_other(ecg_factory.muse(ecg_factory.counts(), encoding=encoding, note="窦性"))
    np.testing.assert_array_equal(record.signals_mv, plain.signals_mv)


def test_a_missing_library_is_named_with_its_remedy(
    ecg_factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ecgdatakit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ecgdatakit", None)  # what Python does with a missing one
    with pytest.raises(EcgError, match=r"GE MUSE XML needs .*pip install .*ecg-formats"):
        read_ecg_other(ecg_factory.muse(ecg_factory.counts()))


def test_other_work_does_not_wait_for_the_library() -> None:
    code = (
        "import sys, scarseg_infer.ecg.read, scarseg_infer.ecg.vendor; "
        "assert not {'ecgdatakit', 'pydicom', 'wfdb'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("make", ["philips", "muse"])
@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1", "windows-1252"])
def test_a_byte_order_mark_goes_before_the_declaration(
    make: str, encoding: str, ecg_factory: ModuleType
) -> None:
    """Mark that an editor puts before a file whose declaration it leaves as it was."""
    text = getattr(ecg_factory, make)(ecg_factory.counts())
    text = text.decode("utf-16" if make == "philips" else "utf-8")
    text = re.sub('encoding="[^"]*"', f'encoding="{encoding}"', text, count=1)
    record = read_ecg_other(text.encode("utf-8-sig"))
    plain = read_ecg_other(getattr(ecg_factory, make)(ecg_factory.counts()))
    np.testing.assert_array_equal(record.signals_mv, plain.signals_mv)


LEAD_NAMES = (
    "ECG {}",
    "Lead {}",
    "ecg lead {}",
    "MDC_ECG_LEAD_{}",
    "EKG_{}",
    "Ableitung {}",
    "{} (mV)",
)


@pytest.mark.parametrize("pattern", LEAD_NAMES)
@pytest.mark.parametrize("make", ["edf", "wfdb", "dicom", "array"])
def test_prefixes_of_lead_names_are_known_in_every_format(
    make: str, pattern: str, ecg_factory: ModuleType, tmp_path: Path
) -> None:
    counts, names = ecg_factory.counts(), [pattern.format(lead.upper()) for lead in LEADS]
    if make == "edf":
        record = read_ecg_other(ecg_factory.edf(counts, labels=[name[:16] for name in names]))
    elif make == "dicom":
        group = ecg_factory.multiplex_group(counts)
        for channel, name in zip(group.ChannelDefinitionSequence, names, strict=True):
            del channel.ChannelSourceSequence
            channel.ChannelLabel = name
        record = read_ecg_dicom(ecg_factory.dicom_bytes(ecg_factory.dicom(group)))
    else:
        record = as_format(ecg_factory, make, counts, tmp_path, names)
    assert record.lead_names == LEADS
    np.testing.assert_allclose(record.signals_mv, counts * ecg_factory.STEP_MV, atol=1e-9)


def test_romance_names_of_limb_leads() -> None:
    names = ("DI", "DII", "diii", "aVR", "DaVL", "D1", "V1")
    assert standard_leads(names) == ("I", "II", "III", "aVR", "DaVL", "D1", "V1")


@pytest.mark.parametrize(
    ("make", "values"),
    [
        ("aecg", {"low": "20231205101010Z", "head": "20231205101010Z"}),
        ("philips", {"day": "2023-12-05T10:10:10", "clock": ""}),
        ("philips", {"day": "2023-12-05 10:10:10", "clock": "10:10:10"}),
    ],
)
def test_what_follows_a_good_date_does_not_discard_it(
    make: str, values: dict[str, str], ecg_factory: ModuleType
) -> None:
    record = read_ecg_other(getattr(ecg_factory, make)(ecg_factory.counts(), **values))
    assert record.recorded is not None
    assert record.recorded.replace(tzinfo=None) == datetime(2023, 12, 5, 10, 10, 10)


def test_a_prefixed_name_does_not_take_that_of_another_lead() -> None:
    assert standard_leads(("I", "ECG I", "Lead II", "V1 lead", "-aVR", "vx")) == (
        "I", "ECG I", "II", "V1 lead", "-aVR", "vx",
    )  # fmt: skip


def test_leads_in_other_languages_are_known_and_computed_ones_are_not() -> None:
    names = (
        "Derivaci\u00f3n I",
        "Deriva??o aVR",
        "d\u00e9rivation V3",
        "derivIII",
        "Abl. II",
        "Derived V1",
    )
    assert standard_leads(names) == ("I", "aVR", "V3", "III", "II", "Derived V1")


@pytest.mark.parametrize(
    ("written", "spoilt"),
    [(b'value="5" unit="uV"', b'value="4,88" unit="uV"'), (b'value="5" unit="uV"', b'unit="uV"'),
     (b'value="0" unit="uV"', b'value="0,5" unit="uV"'),
     (b'value="0.002" unit="s"', b'value="0,002" unit="s"')],
    ids=["scale", "no scale", "origin", "increment"],
)  # fmt: skip
def test_a_scale_of_an_aecg_that_is_no_number(
    ecg_factory: ModuleType, written: bytes, spoilt: bytes
) -> None:
    """Taken for 1 it made voltages five times too low, without a word."""
    data = ecg_factory.aecg(ecg_factory.counts())
    assert written in data
    with pytest.raises(EcgError, match="scale, origin or increment that is no number"):
        read_ecg_other(data.replace(written, spoilt))
