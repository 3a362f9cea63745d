"""Dates as devices write them: an odd time or zone does not cost a good day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import pytest

from scarseg_infer.ecg.read import read_ecg

DAY = datetime(2024, 2, 28)
MOMENT = datetime(2024, 2, 28, 10, 45, 12)
ZONE = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("written", "expected", "doubtful"),
    [
        ("20240228104512+01", MOMENT.replace(tzinfo=ZONE), False),
        ("20240228104512.000+01:00", MOMENT.replace(tzinfo=ZONE), False),
        ("20240228104512Z", MOMENT.replace(tzinfo=UTC), False),
        ("20240228104512 UTC", DAY, True),
        ("20240228104512+1", DAY, True),
        ("202402281045x", DAY, True),
        ("2024022", None, True),
    ],
)
def test_an_odd_zone_of_an_aecg_does_not_cost_its_day(
    ecg_factory: ModuleType,
    tmp_path: Path,
    written: str,
    expected: datetime | None,
    doubtful: bool,
) -> None:
    path = tmp_path / "ecg.xml"
    path.write_bytes(ecg_factory.aecg(ecg_factory.counts(), low=written, head=""))
    record = read_ecg(path)
    assert record.recorded == expected
    assert record.date_only is (expected == DAY)
    assert bool(record.warnings) is doubtful


def test_edf_dates_that_differ_whatever_the_case(ecg_factory: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ecg.edf"
    for word in ("Startdate", "startdate", "STARTDATE"):
        path.write_bytes(
            ecg_factory.edf(ecg_factory.counts(), recording=f"{word} 01-MAR-2024 X X X")
        )
        record = read_ecg(path)
        assert record.recorded is None
        assert "two different dates" in record.warnings[0]


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2024-02-28T10:45:12", "", MOMENT),
        ("2024-02-28 10:45:12", "", MOMENT),
        ("20240228 104512", "", MOMENT),
        ("2024-02-28T10:45:12+01:00", "", MOMENT.replace(tzinfo=ZONE)),
        ("20240228104512", "+01:00", MOMENT.replace(tzinfo=ZONE)),
        ("20240228-1200", "", DAY),
        ("2024-02", "", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_dicom_dates_in_the_words_of_iso_8601_are_read(
    ecg_factory: ModuleType, tmp_path: Path, written: str, zone: str, expected: datetime | None
) -> None:
    group = ecg_factory.multiplex_group(ecg_factory.counts())
    ecg = ecg_factory.dicom(group, recorded=written)
    ecg.TimezoneOffsetFromUTC = zone
    path = tmp_path / "ecg.dcm"
    path.write_bytes(ecg_factory.dicom_bytes(ecg))
    record = read_ecg(path)
    assert record.recorded == expected
    assert bool(record.warnings) is (expected is None)
