"""Any ECG file by its content: real ones of every format, misnamed, damaged and hostile ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from ecgdatakit import FileParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

import scarseg_infer
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import MAX_ECG_BYTES
from scarseg_runtime.contract import BEAT_R_INDEX, LEADS
from scarseg_runtime.errors import EcgError
from scarseg_runtime.preprocess import mean_beat

PYDICOM = "waveform_ecg.dcm"
# File: source, rate, leads in it, when it was recorded.
REAL = {
    "ptb-s0010/s0010_re.hea": ("wfdb", 1000.0, 15, None),
    "ptbxl-00001/00001_lr.dat": ("wfdb", 100.0, 12, None),
    "philips/1_03_inferior_mi.xml": ("philips-xml", 500.0, 12, datetime(2011, 12, 1, 7, 27, 34)),
    "philips/1_04_demo.xml": ("philips-xml", 500.0, 12, datetime(2010, 1, 19, 15, 19, 22)),
    "philips/1_04_01.xml": ("philips-xml", 500.0, 12, datetime(2020, 5, 18, 15, 48, 11)),
    "muse/guangxi_teaching_sinus_rhythm.xml": (
        "muse-xml", 500.0, 8, datetime(2024, 1, 1, 10, 35, 17),
    ),
    "muse/guangxi_teaching_sinus_rhythm.dcm": ("dicom", 500.0, 12, datetime(2024, 1, 1)),
    PYDICOM: ("dicom", 1000.0, 12, datetime(2013, 1, 25, 10, 59, 19)),
}  # fmt: skip


def find(shared_data: Path, name: str) -> Path:
    return Path(get_testdata_file(name)) if name == PYDICOM else shared_data / "ecg" / name


@pytest.mark.parametrize("name", REAL)
def test_real_ecgs_are_read_in_millivolts_and_make_a_mean_beat(
    shared_data: Path, name: str
) -> None:
    source, rate_hz, leads, recorded = REAL[name]
    record = read_ecg(find(shared_data, name))
    assert (record.source, record.rate_hz, record.recorded) == (source, rate_hz, recorded)
    assert record.signals_mv.shape[1] == len(record.lead_names) == leads
    assert 9.9 <= len(record.signals_mv) / rate_hz <= 38.4
    assert (record.patient_id is None) == (source == "wfdb")
    assert record.patient_id is None or record.patient_id not in repr(record)
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names)
    assert set(beat.derived_leads) == (set(LEADS[2:6]) if leads == 8 else set())
    assert 40 <= beat.heart_rate_bpm <= 100
    largest_mv = np.abs(beat.beat_mv[:, BEAT_R_INDEX - 50 : BEAT_R_INDEX + 50]).max()
    assert 0.3 < largest_mv < 5.0


def test_muse_xml_and_its_dicom_conversion_agree_sample_by_sample(shared_data: Path) -> None:
    stem = shared_data / "ecg/muse/guangxi_teaching_sinus_rhythm"
    xml, dicom = read_ecg(stem.with_suffix(".xml")), read_ecg(stem.with_suffix(".dcm"))
    columns = [dicom.lead_names.index(name) for name in xml.lead_names]
    np.testing.assert_allclose(dicom.signals_mv[:, columns], xml.signals_mv, rtol=0, atol=1e-9)
    # The conversion is not ours, and pydicom's own arithmetic says the same.
    group = pydicom.dcmread(stem.with_suffix(".dcm")).waveform_array(0) / 1000.0
    np.testing.assert_allclose(group, dicom.signals_mv, rtol=0, atol=1e-12)
    # The conversion replaced the time of day by 0:00, which counts as a mere date.
    assert (dicom.date_only, xml.date_only) == (True, False)


@pytest.mark.parametrize("name", [name for name in REAL if REAL[name][0] in ("dicom", "wfdb")])
def test_a_library_of_other_authors_reads_the_same(shared_data: Path, name: str) -> None:
    path = find(shared_data, name)
    record = read_ecg(path)
    other = FileParser().parse(path.with_suffix(".hea") if record.source == "wfdb" else path)
    assert tuple(lead.label for lead in other.leads[:12]) == LEADS
    for i, lead in enumerate(other.leads):
        assert (lead.units, lead.sampling_rate) == ("mV", record.rate_hz)
        np.testing.assert_allclose(record.signals_mv[:, i], lead.samples, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in REAL if "philips" in name])
def test_philips_scale_agrees_with_the_devices_own_measurements(
    shared_data: Path, name: str
) -> None:
    path = shared_data / "ecg" / name
    content = path.read_bytes()
    text = content.decode("utf-16" if content.startswith(b"\xff\xfe") else "utf-8")
    pattern = r'<leadmeasurement leadname="(\w+)".*?<qrsppk>(\d+)</qrsppk>'
    measured = {lead: int(uv) for lead, uv in re.findall(pattern, text, re.S)}
    record = read_ecg(path)
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names).beat_mv
    found = 1000.0 * np.ptp(beat[:, BEAT_R_INDEX - 40 : BEAT_R_INDEX + 50], axis=1)
    ratio = found / [measured[lead] for lead in LEADS]
    # One lead may differ much: where the ST segment is higher than R, theirs ends before it.
    assert np.sort(np.abs(ratio - 1.0))[-2] < 0.06
    assert abs(np.median(ratio) - 1.0) < 0.03
    limb_mv = record.signals_mv[:, 1] - record.signals_mv[:, 0] - record.signals_mv[:, 2]
    assert np.abs(limb_mv).max() < 0.02  # Einthoven, to some steps of 5 µV
    assert record.warnings == ()


FORMATS: dict[str, tuple[str, Callable[[ModuleType], bytes]]] = {
    "edf": ("edf", lambda f: f.edf(f.counts())),
    "hl7-aecg": ("xml", lambda f: f.aecg(f.counts())),
    "scp-ecg": ("scp", lambda f: f.scp(f.counts())),
    "muse-xml": ("xml", lambda f: f.muse(f.counts())),
    "philips-xml": ("xml", lambda f: f.philips(f.counts(), pulse_mv=1.0)),
    "dicom": ("dcm", lambda f: f.dicom_bytes(f.dicom(f.multiplex_group(f.counts())))),
}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("suffix", ["as usual", "", ".dat", ".hea", ".txt"])
def test_content_decides_whatever_the_name(
    tmp_path: Path, ecg_factory: ModuleType, source: str, suffix: str
) -> None:
    usual, make = FORMATS[source]
    path = tmp_path / ("ecg" + (f".{usual}" if suffix == "as usual" else suffix))
    path.write_bytes(make(ecg_factory))
    record = scarseg_infer.read_ecg(str(path))
    assert record.source == source
    assert record.recorded is not None
    assert record.recorded.replace(microsecond=0) == ecg_factory.RECORDED
    assert (record.date_only, record.warnings) == (False, ())
    assert record.patient_id == ecg_factory.PATIENT_ID
    assert record.rate_hz == ecg_factory.RATE_HZ
    columns = [LEADS.index(name) for name in record.lead_names]
    assert columns == ([0, 1, *range(6, 12)] if source == "muse-xml" else list(range(12)))
    truth = ecg_factory.counts()[:, columns] * ecg_factory.STEP_MV
    np.testing.assert_allclose(record.signals_mv, truth, rtol=0, atol=1e-9)
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names)
    assert abs(beat.heart_rate_bpm - 75.0) < 0.5


def test_what_is_no_ecg_is_refused(tmp_path: Path, ecg_factory: ModuleType) -> None:
    path = tmp_path / "DOE_JANE.bin"
    contents = {
        b"": "not a WFDB record, nor in another format",
        b"%PDF-1.7 ...": "a PDF, a picture of an ECG",
        b"\x89PNG\r\n\x1a\n": "a picture of an ECG",
        b"PK\3\4": "unpack it",
        b"ISHNE1.0": "ISHNE format",
        b"MATLAB 5.0 MAT-file": "WFDB header",
        b"<html><body>Doe, Jane</body></html>": "not an ECG that can be read",
        b"<ecg": "damaged XML",
        Path(get_testdata_file("MR_small.dcm")).read_bytes(): "not an ECG waveform",
    }
    for content, why in contents.items():
        path.write_bytes(content)
        with pytest.raises(EcgError, match=why) as caught:
            read_ecg(path)
        assert "jane" not in str(caught.value).casefold()
    for missing, why in ((tmp_path / "none.xml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(EcgError, match=why):
            read_ecg(missing)


@pytest.mark.parametrize("source", FORMATS)
def test_a_file_too_large_for_a_resting_ecg_is_refused_unread(
    tmp_path: Path, ecg_factory: ModuleType, source: str
) -> None:
    path = tmp_path / "ecg"
    path.write_bytes(FORMATS[source][1](ecg_factory))
    with path.open("ab") as file:
        file.truncate(MAX_ECG_BYTES + 1)
    with pytest.raises(EcgError, match="larger than 10 MB"):
        read_ecg(path)


ONE_LINE = re.compile(r"[^\n]{10,300}")


def expect_record_or_error(path: Path) -> None:
    try:
        record = read_ecg(path)
    except EcgError as error:
        assert ONE_LINE.fullmatch(str(error))
        assert "SECRET" not in str(error)
    else:
        assert record.signals_mv.shape[1] == len(record.lead_names)
        assert np.isfinite(record.rate_hz)
        assert record.rate_hz > 0.0
        assert "SECRET" not in repr(record)


@pytest.mark.parametrize("source", FORMATS)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("error")
def test_damage_anywhere_gives_a_record_or_one_ecg_error(
    tmp_path_factory: pytest.TempPathFactory,
    ecg_factory: ModuleType,
    source: str,
    data: st.DataObject,
) -> None:
    content = bytearray(FORMATS[source][1](ecg_factory))
    # Most damage should hit the header, not the samples behind it.
    places = st.integers(0, len(content) - 1) | st.integers(0, 4000) | st.integers(-800, -1)
    for place in data.draw(st.lists(places, min_size=1, max_size=6)):
        content[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'0919 -<>"&\0'))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content)) | st.integers(0, 4000)) :]
    path = tmp_path_factory.mktemp("fuzz") / "ecg"
    path.write_bytes(content)
    expect_record_or_error(path)


@pytest.mark.parametrize("name", [name for name in REAL if REAL[name][0] != "wfdb"])
@given(keep=st.floats(0.0, 1.0), seed=st.integers(0, 2**32))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("error")
def test_real_files_cut_short_or_garbled_give_a_record_or_one_ecg_error(
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    keep: float,
    seed: int,
) -> None:
    content = np.frombuffer(find(shared_data, name).read_bytes(), np.uint8).copy()
    generator = np.random.default_rng(seed)
    if seed % 2:
        content = content[: int(keep * len(content))]
    else:
        places = generator.integers(0, len(content), 1 + int(20 * keep))
        content[places] = generator.integers(32, 127, len(places))
    path = tmp_path_factory.mktemp("fuzz") / "ecg"
    path.write_bytes(content.tobytes())
    expect_record_or_error(path)
