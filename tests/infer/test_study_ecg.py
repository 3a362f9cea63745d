"""The ECG in the study folder: found, and the newest of several."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from scarseg_infer.ecg.dicom import read_ecg_dicom
from scarseg_infer.ecg.in_study import EcgSearch
from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.study.read import _opened, read_study, study_stack


def read_study_ecg(path: Path) -> tuple[EcgRecord | None, tuple[str, ...]]:
    """Find an ECG among the files alone: some of these are no study that can be read."""
    search = EcgSearch()
    with _opened(path) as files:
        for index in range(len(files)):
            search.look(files.read(index) or b"")
    return search.found()


@pytest.fixture
def study(tmp_path: Path, dicom_factory: ModuleType) -> Path:
    """A readable MRI study in subfolders, with a file beside it that is not DICOM."""
    folder = tmp_path / "study"
    dicom_factory.write(folder / "mri", dicom_factory.series())
    (folder / "notes.txt").write_text("no ECG: 1.2.840.10008.5.1.4.1.1.9.1.1 is only named here")
    return folder


def add(study: Path, name: str, dataset: FileDataset, factory: ModuleType) -> None:
    (study / "ecg").mkdir(exist_ok=True)
    (study / "ecg" / name).write_bytes(factory.dicom_bytes(dataset))


def ecg(factory: ModuleType, recorded: str, leads: int = 12) -> FileDataset:
    group = factory.multiplex_group(factory.counts()[:, :leads], factory.LEADS[:leads])
    return factory.dicom(group, recorded=recorded)  # type: ignore[no-any-return]


def zipped(study: Path) -> Path:
    archive = study.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(study.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(study))
    return archive


def test_without_an_ecg_there_is_none(study: Path) -> None:
    assert read_study_ecg(study) == (None, ())


def test_it_is_found_while_the_study_is_read(study: Path, ecg_factory: ModuleType) -> None:
    add(study, "a", ecg(ecg_factory, "20240228104512"), ecg_factory)
    for path in (study, zipped(study)):
        search = EcgSearch()
        stack = study_stack(path, None, "PSIR", lambda _: None, search.look)
        record, _ = search.found()
        assert record is not None and record.recorded == ecg_factory.RECORDED
        assert len(stack.pixels) == 6


def test_an_ecg_in_the_folder_or_the_zip_is_found(study: Path, ecg_factory: ModuleType) -> None:
    add(study, "a", ecg(ecg_factory, "20240228104512"), ecg_factory)
    for path in (study, zipped(study)):
        record, warnings = read_study_ecg(path)
        assert record is not None
        assert warnings == ()
        assert record.recorded == ecg_factory.RECORDED
        truth = read_ecg_dicom((study / "ecg/a").read_bytes())
        np.testing.assert_array_equal(record.signals_mv, truth.signals_mv)
        assert read_study(path).pixels.shape[0] == 6  # the MRI beside it is read as before


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_the_newest_of_several_wins_whatever_its_name(
    study: Path, ecg_factory: ModuleType, order: str
) -> None:
    for name, recorded in zip(order, ("20200101120000", "20240228104512", ""), strict=True):
        add(study, name, ecg(ecg_factory, recorded), ecg_factory)
    record, warnings = read_study_ecg(study)
    assert record is not None
    assert record.recorded == ecg_factory.RECORDED
    assert warnings == ("The study holds 3 ECGs: the newest by date was used.",)


def test_useless_ecgs_are_passed_over_with_a_warning(study: Path, ecg_factory: ModuleType) -> None:
    add(study, "a", ecg(ecg_factory, "20250101120000", leads=3), ecg_factory)
    assert read_study_ecg(study)[0] is None
    content = ecg_factory.dicom_bytes(ecg(ecg_factory, "20250101120000"))
    (study / "ecg" / "b").write_bytes(content[: len(content) // 2])
    add(study, "c", ecg(ecg_factory, ""), ecg_factory)
    record, warnings = read_study_ecg(study)
    assert record is not None
    assert record.recorded is None
    assert warnings == (
        "2 ECGs were found in the study and left out: not readable, or without the leads needed.",
    )
    add(study, "d", ecg(ecg_factory, ""), ecg_factory)
    assert "the first of them" in read_study_ecg(study)[1][1]
