"""Reading WFDB records: real ones, ones written by hand, damaged and hostile ones."""

from __future__ import annotations

import socket
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scarseg_infer.ecg.date import comment_date
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_infer.ecg.wfdb.read import read_wfdb
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

REAL = ("ecg/ptb-s0010/s0010_re", "ecg/ptbxl-00001/00001_lr")
SAMPLES = np.arange(24, dtype="<i2").reshape(12, 2) * 100 - 700  # two leads, twelve samples


def write_record(
    folder: Path,
    record_line: str = "rec 2 500 12",
    signals: tuple[str, ...] = ("rec.dat 16 1000/mV", "rec.dat 16 1000/mV"),
    data: bytes = SAMPLES.tobytes(),
    comments: tuple[str, ...] = ("# age: 50",),
) -> Path:
    """A record as text and bytes; its signals have neither names nor checksums by default."""
    (folder / "rec.hea").write_text("\n".join([record_line, *signals, *comments]))
    (folder / "rec.dat").write_bytes(data)
    return folder / "rec"


def read(folder: Path, record_line: str = "rec 2 500 12", **kwargs: object) -> EcgRecord:
    return read_wfdb(write_record(folder, record_line, **kwargs))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_real_record_equals_wfdbs_own_reading(shared_data: Path, name: str, suffix: str) -> None:
    truth = wfdb.rdrecord(str(shared_data / name))
    record = read_wfdb(str(shared_data / name) + suffix)
    np.testing.assert_array_equal(record.signals_mv, truth.p_signal)
    assert record.lead_names == tuple(truth.sig_name)
    assert record.rate_hz == truth.fs
    assert record.recorded is None  # PTB's date stands in a comment only, as 01/10/1990
    doubts = ["either way round" in warning for warning in record.warnings]
    assert doubts == ([True] if "ptb-" in name else [])
    assert record.source == "wfdb"


@pytest.mark.parametrize("fmt", ["80", "212", "16", "24", "32"])
def test_every_storage_format_survives_a_round_trip(tmp_path: Path, fmt: str) -> None:
    truth = np.random.default_rng(3).normal(size=(1000, 3))
    wfdb.wrsamp(
        "rec", 500, ["mV"] * 3, ["I", "II", "V1"], truth, fmt=[fmt] * 3, write_dir=str(tmp_path)
    )
    record = read_wfdb(tmp_path / "rec.hea")
    step = np.ptp(truth) / 2 ** {"80": 7, "212": 11, "16": 15, "24": 23, "32": 31}[fmt]
    assert np.abs(record.signals_mv - truth).max() < step
    assert record.warnings == ()


@pytest.mark.parametrize(
    ("unit", "factor", "encoding"),
    [
        ("mV", 1.0, "ascii"),
        ("uV", 1e-3, "ascii"),
        ("µV", 1e-3, "utf-8"),
        ("µV", 1e-3, "latin-1"),
        ("μV", 1e-3, "utf-8"),  # the Greek letter, not the micro sign
        ("V", 1e3, "ascii"),
        ("nV", 1e-6, "utf-8-sig"),
    ],
)
def test_units_become_millivolts(tmp_path: Path, unit: str, factor: float, encoding: str) -> None:
    write_record(tmp_path)
    header = f"rec 2 500 12\nrec.dat 16 2000(-5)/{unit} 16 0 0 0 0 I\nrec.dat 16 20/mV\n"
    (tmp_path / "rec.hea").write_bytes(header.encode(encoding))
    signals = read_wfdb(tmp_path / "rec").signals_mv
    np.testing.assert_allclose(signals[:, 0], (SAMPLES[:, 0] + 5) / 2000 * factor)
    np.testing.assert_allclose(signals[:, 1], SAMPLES[:, 1] / 20)


def test_a_lead_that_is_no_voltage_is_refused_and_another_signal_left_out(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="lead v2 of the ECG is not in volts"):
        read(tmp_path, signals=("rec.dat 16 1/mmHg 16 0 0 0 0 v2", "rec.dat 16 1/mV"))
    record = read(tmp_path, signals=("rec.dat 16 1/mmHg 16 0 0 0 0 ABP", "rec.dat 16 1/mV"))
    assert record.signals_mv.shape == (12, 1)


def test_a_trigger_beyond_a_volt_refuses_no_lead(tmp_path: Path) -> None:
    samples = np.zeros((1000, 13), "<i2")
    samples[:, :12] = 100
    samples[::500, 12] = 5000
    signals = tuple(f"rec.dat 16 200/mV 16 0 0 0 0 {lead}" for lead in LEADS)
    trigger = "rec.dat 16 1/mV 16 0 0 0 0 TRIG"
    record = read(tmp_path, "rec 13 500 1000", signals=(*signals, trigger), data=samples.tobytes())
    assert record.lead_names == (*LEADS, "TRIG")
    assert (record.signals_mv[:, :12] == 0.5).all() and record.signals_mv.max() == 5000.0


@pytest.mark.parametrize("name", ["V3", "v3", "AVF"])
def test_a_lead_beyond_a_volt_is_refused_whatever_its_case(tmp_path: Path, name: str) -> None:
    with pytest.raises(EcgError, match="beyond 1000 mV"):
        read(tmp_path, signals=("rec.dat 16 9/mV", f"rec.dat 16 0.1/mV 16 0 0 0 0 {name}"))


def test_invalid_samples_become_nan(tmp_path: Path) -> None:
    samples = SAMPLES.copy()
    samples[3, 1] = -32768
    signals = read(tmp_path, data=samples.tobytes()).signals_mv
    assert np.argwhere(np.isnan(signals)).tolist() == [[3, 1]]


@pytest.mark.parametrize(
    ("gain", "warns"), [("", True), ("0", True), ("0.0/mV", True), ("2", False)]
)
def test_an_uncalibrated_lead_is_read_with_a_warning(
    tmp_path: Path, gain: str, warns: bool
) -> None:
    record = read(tmp_path, signals=(f"rec.dat 16 {gain}", "rec.dat 16 5/mV"))
    assert record.signals_mv[0, 0] == SAMPLES[0, 0] / (200.0 if warns else 2.0)
    assert any("no gain" in warning for warning in record.warnings) == warns


@pytest.mark.parametrize(
    ("line", "recorded", "date_only"),
    [
        ("rec 2 500 12 13:45:10 01/10/1990", datetime(1990, 10, 1, 13, 45, 10), False),
        (
            "rec 2 500/1000(5) 12 1:02:03.25 29/02/2020",
            datetime(2020, 2, 29, 1, 2, 3, 250000),
            False,
        ),
        ("rec 2 500 12 45:10 01/10/1990", datetime(1990, 10, 1, 0, 45, 10), False),
        ("rec 2 500 12 00:00:00 01/10/1990", datetime(1990, 10, 1), True),
        ("rec 2 500 12 01/10/1990", datetime(1990, 10, 1), True),
        ("rec 2 500 12 13:45:10", None, False),
        ("rec 2 500 12", None, False),
        ("rec 2 500", None, False),
    ],
)
def test_date_and_time(
    tmp_path: Path, line: str, recorded: datetime | None, date_only: bool
) -> None:
    record = read(tmp_path, line)
    assert (record.recorded, record.date_only) == (recorded, date_only)
    assert record.warnings == ()
    np.testing.assert_array_equal(record.signals_mv, SAMPLES / 1000.0)


@pytest.mark.parametrize(
    "day",
    ["01/01/1900", "00/00/0000", "99/99/2020", "29/02/2021", "10/13/1990", "1/1/90", "//", "a/b/c"],
)
def test_a_date_that_is_no_date_is_unknown_and_said_so(tmp_path: Path, day: str) -> None:
    record = read(tmp_path, f"rec 2 500 12 10:00:00 {day}")
    assert record.recorded is None
    assert ["date is not a date" in warning for warning in record.warnings] == [True]
    np.testing.assert_array_equal(record.signals_mv, SAMPLES / 1000.0)


@pytest.mark.parametrize("clock", ["24:00:00", "99:99:99", "10:60:00", "abc", "1:2:3:4", "-1:0:0"])
def test_a_time_that_is_no_time_leaves_the_date(tmp_path: Path, clock: str) -> None:
    record = read(tmp_path, f"rec 2 500 12 {clock} 01/10/1990")
    assert (record.recorded, record.date_only) == (datetime(1990, 10, 1), True)
    assert ["time of day is not a time" in warning for warning in record.warnings] == [True]


@pytest.mark.parametrize(
    ("comment", "recorded", "date_only"),
    [
        ("# ECG date: 1990-10-29", datetime(1990, 10, 29), True),
        ("#date: 1990-01-02", datetime(1990, 1, 2), True),  # ISO has one order only
        ("# Recording date = 29/10/1990", datetime(1990, 10, 29), True),
        ("# recording_date: 10/29/1990", datetime(1990, 10, 29), True),
        ("# ECG date: 29.10.1990", datetime(1990, 10, 29), True),
        ("# ECG date: 10-10-1990", datetime(1990, 10, 10), True),
        ("# Date/Time: 1990-10-29T13:45:10.5", datetime(1990, 10, 29, 13, 45, 10, 500000), False),
        ("# ECG date: 29-Oct-1990 7:05", datetime(1990, 10, 29, 7, 5), False),
        ("# ECG date: October 9, 1990", datetime(1990, 10, 9), True),
        ("# ECG date: 29/10/1990 7:05", datetime(1990, 10, 29, 7, 5), False),
        ("# ECG date: 29/10/1990 00:00:00", datetime(1990, 10, 29), True),
        ("# Date of recording: 29.10.1990", datetime(1990, 10, 29), True),
        ("# Test date: 1990-10-29", datetime(1990, 10, 29), True),
    ],
)
def test_a_date_in_a_comment_counts_where_it_can_be_read_in_one_way(
    tmp_path: Path, comment: str, recorded: datetime, date_only: bool
) -> None:
    record = read(tmp_path, comments=("# age: 50", comment))
    assert (record.recorded, record.date_only, record.warnings) == (recorded, date_only, ())


@pytest.mark.parametrize(
    ("comments", "why"),
    [
        (("# ECG date: 01/10/1990",), "either way round"),
        (("# ECG date: 12.11.1990",), "either way round"),
        (("# ECG date: 29/10/90",), "holds none"),
        (("# ECG date: 1990-10-29 to 1991-11-30",), "holds none"),
        (("# ECG date: 1990-9-8",), "holds none"),
        (("# ECG date: 1990-10",), "holds none"),
        (("# ECG date: Oct 1990",), "holds none"),
        (("# ECG date: 29/1/1990",), "holds none"),
        (("# ECG date: 31/31/1990",), "holds none"),
        (("# ECG date: 1900-01-01",), "holds none"),
        (("# ECG date: 1990",), "holds none"),
        (("# ECG date: 1990-10-29", "# Acquisition date: 1990-10-30"), "several dates"),
        (("# Infarction date: 1990-10-29",), None),
        (("# Date of birth: 1930-10-29",), None),
        (("# Update: 1990-10-29",), None),
        (("# ECG date: n/a",), None),
        (("# ECG date:",), None),
    ],
)
def test_a_date_in_a_comment_is_never_guessed(
    tmp_path: Path, comments: tuple[str, ...], why: str | None
) -> None:
    record = read(tmp_path, comments=comments)
    assert record.recorded is None
    assert [why in warning for warning in record.warnings] == ([True] if why else [])


def test_the_date_of_the_header_wins_over_that_of_a_comment(tmp_path: Path) -> None:
    comments = ("# ECG date: 01/10/1990", "# ECG date: 1980-01-01")
    for line, recorded in (
        ("rec 2 500 12 10:00:00 29/02/2020", datetime(2020, 2, 29, 10)),
        ("rec 2 500 12 10:00:00 99/99/2020", None),
    ):
        assert read(tmp_path, line, comments=comments).recorded == recorded


@pytest.mark.parametrize("clock", ["25:00:00", "7 o'clock", "10:45 PM", "?"])
def test_a_bad_time_in_a_comment_leaves_its_date(tmp_path: Path, clock: str) -> None:
    record = read(tmp_path, comments=(f"# ECG date: 29/10/1990 {clock}",))
    assert (record.recorded, record.date_only) == (datetime(1990, 10, 29), True)
    assert ["time of day is not a time" in warning for warning in record.warnings] == [True]


@pytest.mark.parametrize(
    ("written", "recorded", "date_only"),
    [
        ("05-May-2020 09:49:17", datetime(2020, 5, 5, 9, 49, 17), False),
        ("09:49:17 5-MAY-2020", datetime(2020, 5, 5, 9, 49, 17), False),
        ("05 May 2020", datetime(2020, 5, 5), True),
        ("2020-05-06", datetime(2020, 5, 6), True),
        ("2020-05-06T09:49", datetime(2020, 5, 6, 9, 49), False),
        ("09:49:17 2020-05-06", datetime(2020, 5, 6, 9, 49, 17), False),
        ("20200506 09:49:17", datetime(2020, 5, 6, 9, 49, 17), False),
        ("29.05.2020", datetime(2020, 5, 29), True),
    ],
)
def test_a_date_that_means_one_day_counts_however_it_is_written(
    tmp_path: Path, written: str, recorded: datetime, date_only: bool
) -> None:
    record = read(tmp_path, f"rec 2 500 12 {written}")
    assert (record.recorded, record.date_only, record.warnings) == (recorded, date_only, ())


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("05.06.2020", "either way round"),
        ("09:49:17 05-06-2020", "either way round"),
        ("05/2020", "not a date"),
        ("2020-05", "not a date"),
        ("May-2020", "not a date"),
        ("202005", "not a date"),
        ("2020-5-6", "not a date"),
        ("1/2/2020", "not a date"),
        ("05-May-20", "not a date"),
    ],
)
def test_a_date_that_means_none_or_two_days_is_unknown(
    tmp_path: Path, written: str, why: str
) -> None:
    record = read(tmp_path, f"rec 2 500 12 {written}")
    assert record.recorded is None
    assert [why in warning for warning in record.warnings] == [True]


@pytest.mark.parametrize("name", ["data/rec", "records/00000/00001", "a/16"])
def test_a_folder_in_the_name_of_a_record_is_no_segment(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, f"{name} 2 500 12").signals_mv, SAMPLES / 1000.0)


@pytest.mark.parametrize("name", ["rec/2", "data/rec/2"])
def test_segments_are_named_as_such(tmp_path: Path, name: str) -> None:
    with pytest.raises(EcgError, match="multi-segment"):
        read(tmp_path, f"{name} 12 500 5000", signals=("a 2500", "b 2500"))


@given(day=st.dates(min_value=date(1901, 1, 1)), us=st.booleans(), mark=st.sampled_from("/.-"))
def test_numbers_are_read_as_a_date_only_if_that_is_the_date(
    day: date, us: bool, mark: str
) -> None:
    order = (day.month, day.day) if us else (day.day, day.month)
    text = mark.join((*(f"{part:02}" for part in order), f"{day.year:04}"))
    recorded, _, warnings = comment_date([f"# ECG date: {text}"])
    assert recorded is None or recorded.date() == day
    assert (recorded is None) == (day.month != day.day and day.day <= 12) == bool(warnings)


def test_dat_without_header_says_to_put_the_header_beside_it(tmp_path: Path) -> None:
    stem = write_record(tmp_path)
    (tmp_path / "rec.hea").unlink()
    for path in (stem, stem.with_suffix(".dat"), stem.with_suffix(".hea")):
        with pytest.raises(EcgError, match=r"no header.*\.hea file of the same name") as caught:
            read_wfdb(path)
        assert caught.value.exit_code == 4


def test_missing_things_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="does not exist"):
        read_wfdb(tmp_path / "none.hea")
    for folder in ("", tmp_path):
        with pytest.raises(EcgError, match=r"is a folder.*Give the file in it"):
            read_wfdb(folder)
    (tmp_path / "ecg.xml").write_text("<ecg/>")
    with pytest.raises(EcgError, match="not a WFDB record"):
        read_wfdb(tmp_path / "ecg.xml")
    write_record(tmp_path)
    (tmp_path / "rec.dat").unlink()
    with pytest.raises(EcgError, match="data file 1 of 1 of the ECG record is missing"):
        read_wfdb(tmp_path / "rec.hea")


def test_truncated_data_is_refused(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / REAL[1]
    (tmp_path / "00001_lr.hea").write_bytes(source.with_suffix(".hea").read_bytes())
    data = source.with_suffix(".dat").read_bytes()
    for size in (0, 1000, len(data) - 1):
        (tmp_path / "00001_lr.dat").write_bytes(data[:size])
        with pytest.raises(EcgError, match=f"cut short: {size} of {len(data)} bytes"):
            read_wfdb(tmp_path / "00001_lr")


def test_damaged_data_is_noticed_by_its_checksum(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / REAL[1]
    (tmp_path / "00001_lr.hea").write_bytes(source.with_suffix(".hea").read_bytes())
    data = bytearray(source.with_suffix(".dat").read_bytes())
    data[5000] ^= 4
    (tmp_path / "00001_lr.dat").write_bytes(data)
    assert "checksum" in read_wfdb(tmp_path / "00001_lr").warnings[0]


@pytest.mark.parametrize(
    "name", ["../secret.dat", "/etc/passwd", r"..\secret.dat", "C:x.dat", "..", "."]
)
def test_a_header_cannot_reach_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.dat").write_bytes(SAMPLES.tobytes())
    folder = tmp_path / "inner"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "rec.dat").write_bytes(SAMPLES.tobytes())
    with pytest.raises(EcgError, match="outside its own folder"):
        read(folder, signals=(f"{name} 16 1000/mV", f"{name} 16 1000/mV"))


@pytest.mark.parametrize(
    "name",
    ["100/rec.dat", "./rec.dat", r"dir\rec.dat", "/data/x/rec.dat", r"C:\x\rec.dat", "../rec.dat"],
)
def test_folders_in_the_name_of_a_data_file_are_those_of_another_place(
    tmp_path: Path, name: str
) -> None:
    found = read(tmp_path, signals=(f"{name} 16 1000/mV", f"{name} 16 1000/mV"))
    np.testing.assert_array_equal(found.signals_mv, SAMPLES / 1000.0)


def test_a_data_file_below_the_header_goes_before_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "rec.dat").write_bytes((2 * SAMPLES).tobytes())
    found = read(tmp_path, signals=("sub/rec.dat 16 1000/mV", "sub/rec.dat 16 1000/mV"))
    np.testing.assert_array_equal(found.signals_mv, 2 * SAMPLES / 1000.0)
    (tmp_path / "sub" / "rec.dat").unlink()
    outside = tmp_path.parent / f"{tmp_path.name}-outside.dat"
    outside.write_bytes(SAMPLES.tobytes())
    (tmp_path / "sub" / "rec.dat").symlink_to(outside)
    with pytest.raises(EcgError, match="outside of its folder"):
        read_wfdb(tmp_path / "rec.hea")


@pytest.mark.parametrize("name", ["rec/2", "a/b/2", "rec/0"])
def test_a_number_behind_a_folder_is_no_segment_where_lines_describe_signals(
    tmp_path: Path, name: str
) -> None:
    assert read(tmp_path, f"{name} 2 500 12").signals_mv.shape == (12, 2)


@pytest.mark.parametrize(
    ("comment", "known"), [("2020-01-01", False), ("2024-02-28", True), ("2024-02-29", True)]
)
def test_a_comment_that_contradicts_the_base_date(
    tmp_path: Path, comment: str, known: bool
) -> None:
    line = "rec 2 500 12 10:45:12 28/02/2024"
    found = read(tmp_path, line, comments=(f"# ECG date: {comment}",))
    assert (found.recorded is not None) == known
    assert any("different dates" in warning for warning in found.warnings) != known


def test_no_address_is_ever_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for path in (
        "https://physionet.org/files/ptb/1.0.0/s0010_re",
        "s3://bucket/rec.hea",
        "gs://a/b",
    ):
        with pytest.raises(EcgError, match="does not exist"):
            read_wfdb(path)
    chained = tmp_path / "a::https:" / "physionet.org"
    chained.mkdir(parents=True)
    assert read(chained).signals_mv.shape == (12, 2)


def test_odd_file_names_are_no_obstacle(tmp_path: Path) -> None:
    write_record(tmp_path, signals=("Müller.1.dat 16 1000/mV", "Müller.1.dat 16 1000/mV"))
    (tmp_path / "rec.dat").rename(tmp_path / "Müller.1.dat")
    (tmp_path / "rec.hea").rename(tmp_path / "Müller 1.v2.hea")
    for name in ("Müller 1.v2.hea", "Müller 1.v2"):
        np.testing.assert_array_equal(read_wfdb(tmp_path / name).signals_mv, SAMPLES / 1000.0)


@pytest.mark.parametrize(
    "line",
    [
        "", "rec", "rec two 500 12", "rec 3 500 12", "rec 1 500 12", "rec 0 500 12", "rec 2",
        "rec 2 0 12", "rec 2 1e3 12", "rec 2 500 many", "rec 2 -500 12",
        f"rec {'9' * 5000} 500 12", f"rec 2 {'9' * 400} 12", f"rec 2 500 {'9' * 400}",
    ],
)  # fmt: skip
def test_headers_that_do_not_parse_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(EcgError):
        read(tmp_path, line)


@pytest.mark.parametrize(
    "signal",
    ["rec.dat", "rec.dat x", "rec.dat 516 1000/mV", "rec.dat 999 1000", "rec.dat 16x0 1000",
     "rec.dat 16:999999999999 1000", "rec.dat 16+999999999999 1000", "rec.dat 16x0:3 1000",
     "rec\0.dat 16 1000", f"rec.dat 212 200({'9' * 22})", f"rec.dat 212 200 16 {'9' * 22}",
     f"rec.dat 212 200({'9' * 30})", f"rec.dat 16 {'9' * 5000}x",
     f"rec.dat 16 0.{'0' * 304}1/mV 16 0 0 0 0 I",
     "rec.dat 16 1e-300/mV 16 0 0 0 0 I", "rec.dat 16 1e-305/mV 16 0 0 0 0 I"],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_signal_lines_that_cannot_be_served_are_refused(tmp_path: Path, signal: str) -> None:
    with pytest.raises(EcgError) as caught:
        read(tmp_path, signals=(signal, signal))
    assert len(str(caught.value)) < 200


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format_", ["16:5000000000", "16:300000000", "16x4000000:90000"])
def test_leads_shifted_by_a_huge_rate_take_no_memory(tmp_path: Path, format_: str) -> None:
    signals = (f"rec.dat {format_} 1000/mV",) * 2
    for rate in ("99999", "99999999999999"):
        with pytest.raises(EcgError):
            read(tmp_path, f"rec 2 {rate}", signals=signals, data=bytes(10 << 20))


@pytest.mark.parametrize("length", [245, 251, 252, 255, 256, 5000])
@pytest.mark.parametrize("suffix", ["", ".dat", ".hea"])
def test_a_name_that_is_too_long_is_an_ecg_that_is_not_there(length: int, suffix: str) -> None:
    for read_one in (read_ecg, read_wfdb):
        with pytest.raises(EcgError):
            read_one("n" * (length - len(suffix)) + suffix)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_data_file_is_an_ordinary_file_of_the_headers_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "inner"
    outside.mkdir()
    folder.mkdir()
    path = write_record(folder)
    data = (folder / "rec.dat").rename(outside / "secret.dat")
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    for target, said in (
        (data, "is a link to a file outside of its folder. Copy the file itself"),
        (Path("/dev/zero"), "is a link to a file outside of its folder"),
        (Path("..", "outside", "secret.dat"), "is a link to a file outside of its folder"),
        (folder, "no ordinary file"), (folder / "rec.dat", "cannot be read"),
    ):  # fmt: skip
        (folder / "rec.dat").symlink_to(target)
        with pytest.raises(EcgError, match=said):
            read_wfdb(path)
        (folder / "rec.dat").unlink()
    data.rename(folder / "real")
    (folder / "rec.dat").symlink_to("real")
    for place in (folder, linked):
        np.testing.assert_array_equal(read_wfdb(place / "rec").signals_mv, SAMPLES / 1000.0)


def test_a_long_recording_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_record(tmp_path, "rec 2 5000 9999999")
    with (tmp_path / "rec.dat").open("wb") as file:
        file.truncate(4 * 9999999)  # sparse
    with pytest.raises(EcgError, match=f"more than {MAX_ECG_BYTES >> 20} MB"):
        read_wfdb(tmp_path / "rec")
    with pytest.raises(EcgError, match="longer than 60 minutes"):
        read(tmp_path, "rec 2 500 9999999")


def test_messages_name_neither_file_nor_patient(tmp_path: Path) -> None:
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    lines = ("DOE_JANE.dat 16 1000/mV", "DOE_JANE.dat 16 1000/mV")
    (folder / "DOE_JANE.hea").write_text("\n".join(["DOE_JANE 2 500 12", *lines]))
    for data in (None, b"", SAMPLES.tobytes()[:7]):
        if data is not None:
            (folder / "DOE_JANE.dat").write_bytes(data)
        with pytest.raises(EcgError) as caught:
            read_wfdb(folder / "DOE_JANE.hea")
        assert "DOE" not in str(caught.value)


FIELD = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12),
    st.sampled_from(
        ["rec.dat", "16", "212", "16x2:3+4", "1000(0)/mV", "0", "-1", "500", "12", "I"]
    ),
    st.integers(-(10**12), 10**12).map(str),
)


@given(lines=st.lists(st.lists(FIELD, max_size=10).map(" ".join), max_size=4), data=st.binary())
@settings(max_examples=300)
@pytest.mark.filterwarnings("error")
def test_any_header_and_data_give_a_record_or_one_ecg_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "rec.hea").write_text("\n".join(lines), encoding="utf-8")
    (folder / "rec.dat").write_bytes(data)
    expect_record_or_error(folder / "rec")


MUTATION = st.tuples(st.integers(0, 13), st.integers(0, 8), FIELD)


@given(mutations=st.lists(MUTATION, min_size=1, max_size=3))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("error")
def test_a_real_header_with_fields_replaced_gives_a_record_or_one_ecg_error(
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    mutations: list[tuple[int, int, str]],
) -> None:
    source = shared_data / REAL[1]
    rows = [line.split() for line in source.with_suffix(".hea").read_text().splitlines()[:13]]
    for row, column, value in mutations:
        fields = rows[row % len(rows)]
        fields[column % len(fields)] = value
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "rec.hea").write_text("\n".join(map(" ".join, rows)), encoding="utf-8")
    (folder / "00001_lr.dat").write_bytes(source.with_suffix(".dat").read_bytes())
    expect_record_or_error(folder / "rec")


def expect_record_or_error(path: Path) -> None:
    try:
        record = read_wfdb(path)
    except EcgError as error:
        assert "\n" not in str(error)
    else:
        assert record.signals_mv.ndim == 2
        assert record.signals_mv.shape[1] == len(record.lead_names)
        assert record.rate_hz > 0.0


def test_data_and_header_of_a_system_that_does_not_tell_capitals_apart(tmp_path: Path) -> None:
    plain = read(tmp_path)
    folder = tmp_path / "odd"
    folder.mkdir()
    write_record(folder, signals=("REC.DAT 16 1000/mV", "REC.DAT 16 1000/mV"))
    np.testing.assert_array_equal(read_wfdb(folder / "rec.hea").signals_mv, plain.signals_mv)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_headers_that_an_editor_saved(tmp_path: Path, encoding: str, end: str) -> None:
    plain = read(tmp_path)
    header = tmp_path / "rec.hea"
    header.write_bytes(header.read_text().replace("\n", end).encode(encoding))
    np.testing.assert_array_equal(read_wfdb(header).signals_mv, plain.signals_mv)


def test_a_record_may_be_named_by_its_matlab_file(tmp_path: Path) -> None:
    """As PhysioNet's challenges keep them: 24 bytes of MATLAB, then format 16."""
    counts = np.arange(2 * 6000, dtype="<i2").reshape(-1, 2) % 500
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(24) + counts.tobytes())
    lines = ["a 2 500 6000", *(f"a.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in ("I", "II"))]
    (tmp_path / "a.hea").write_text("\n".join([*lines, ""]))
    record = read_ecg(tmp_path / "a.mat")
    assert np.array_equal(record.signals_mv, counts / 1000)
