"""Names whose character set no header declares reach the results as they were, or as UTF-8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pydicom
import pytest

from scarseg_infer.ecg.dicom import read_ecg_dicom
from scarseg_infer.result import ScarResult
from scarseg_infer.study.dicom.charset import TEXT_VRS
from scarseg_infer.study.dicom.parse import text
from scarseg_infer.study.read import list_series, read_study
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.dicom.sr import write_sr
from scarseg_infer.write.identity import identity_of


def write_study(
    folder: Path,
    factory: ModuleType,
    name: bytes,
    declared: str | None,
    description: bytes = b"LGE",
) -> None:
    """Raw bytes as names, and what the header says of them."""
    values = {"PatientName": name, "StudyDescription": name, "SeriesDescription": description}
    letters = dict(zip(values, "NDS", strict=True))
    datasets = factory.series()
    for dataset in datasets:
        for keyword, value in values.items():
            setattr(dataset, keyword, letters[keyword] * (len(value) + len(value) % 2))
        if declared is not None:
            dataset.add_new("SpecificCharacterSet", "CS", "ISO_IR 6" + " " * 40)
    for path in factory.write(folder, datasets):
        data = path.read_bytes()
        for keyword, value in values.items():
            padded = value + b" " * (len(value) % 2)
            data = data.replace(letters[keyword].encode() * len(padded), padded)
        if declared is not None:
            data = data.replace(b"ISO_IR 6" + b" " * 40, declared.encode().ljust(48))
        path.write_bytes(data)


def raw(path: Path, keyword: str) -> bytes:
    """An element as it stands in the file."""
    return bytes(pydicom.dcmread(path).get_item(keyword).value).rstrip()


@pytest.fixture
def results(make_result: Callable[..., ScarResult], tmp_path: Path) -> Callable[[Path], list[Path]]:
    def write(study: Path) -> list[Path]:
        result = replace(make_result(read_study(study)), warnings=("10 × 5 mm at 45° – odd",))
        write_seg(result, tmp_path / "scar.dcm")
        write_sr(result, tmp_path / "sr.dcm", tmp_path / "scar.dcm")
        return [tmp_path / "scar.dcm", tmp_path / "sr.dcm"]

    return write


@pytest.mark.parametrize("declared", [None, "", "ISO_IR 6", "UTF8", "LATIN-1"])
@pytest.mark.parametrize("name", ["Mülłer^Jürgen", "山田^太郎"])
def test_utf_8_undeclared(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    name: str,
    declared: str | None,
) -> None:
    study = tmp_path / "study"
    write_study(study, dicom_factory, name.encode(), declared)
    assert any("read as UTF-8" in warning for warning in read_study(study).warnings)
    for path in results(study):
        found = pydicom.dcmread(path)
        assert found.SpecificCharacterSet == "ISO_IR 192"
        assert str(found.PatientName) == name
        assert found.StudyDescription == name


@pytest.mark.parametrize("declared", [None, "", "nonsense"])
@pytest.mark.parametrize(
    "name",
    ["Müller^Jürgen".encode("latin-1"), "Иванов".encode("cp1251"), "山田".encode("shift_jis"),
     "山田^太郎".encode("iso2022_jp")],
)  # fmt: skip
def test_bytes_of_an_unknown_set_are_kept(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    name: bytes,
    declared: str | None,
) -> None:
    study = tmp_path / "study"
    write_study(study, dicom_factory, name, declared)
    assert any("byte by byte" in warning for warning in read_study(study).warnings)
    for path in results(study):
        assert raw(path, "PatientName") == name
        assert raw(path, "StudyDescription") == name
        assert "SpecificCharacterSet" not in pydicom.dcmread(path)
        copied = ("PatientName", "StudyDescription")
        for element in pydicom.dcmread(path).iterall():
            if element.VR in TEXT_VRS and element.keyword not in copied:
                assert str(element.value).isascii()


@pytest.mark.parametrize(
    ("declared", "codec"),
    [("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8"), ("ISO_IR 144", "iso8859_5")],
)
def test_declared_sets_are_believed(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    declared: str,
    codec: str,
) -> None:
    name = "Иванов" if codec == "iso8859_5" else "Müller^Jürgen"
    study = tmp_path / "study"
    write_study(study, dicom_factory, name.encode(codec), declared)
    assert not any("character set" in warning for warning in read_study(study).warnings)
    for path in results(study):
        assert str(pydicom.dcmread(path).PatientName) == name


def test_words_in_undeclared_utf_8_are_known(tmp_path: Path, dicom_factory: ModuleType) -> None:
    write_study(tmp_path, dicom_factory, b"Test", None, "遅延造影 短軸".encode())
    (verdict,) = list_series(tmp_path)
    assert verdict.description == "遅延造影 短軸"
    assert "named or marked as late enhancement" in verdict.reason


@pytest.mark.parametrize(
    "name", [b"M\xfcller^J\xf6rg", "山田^太郎".encode("shift_jis")], ids=["Latin 1", "Shift JIS"]
)
def test_declared_as_utf_8_and_none(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    name: bytes,
) -> None:
    """Bytes that are no UTF-8 are kept, where decoding would replace them by question marks."""
    study = tmp_path / "study"
    write_study(study, dicom_factory, name, "ISO_IR 192")
    assert any("byte by byte" in warning for warning in read_study(study).warnings)
    for path in results(study):
        assert raw(path, "PatientName") == name


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("ISO 2022 IR 149", "Müller^Jörg".encode("latin-1")),
        ("ISO_IR 13", "Müller^Jörg".encode("latin-1")),
        ("ISO_IR 127", "Müller^Jörg".encode("latin-1")),
        ("ISO 2022 IR 87", "山田^太郎".encode("shift_jis")),
        ("\\ISO 2022 IR 87", "山田^太郎".encode()),
        ("ISO 2022 IR 6\\ISO 2022 IR 58", "Müller^Jörg".encode("latin-1")),
    ],
)
def test_declared_as_what_it_is_not(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    declared: str,
    name: bytes,
) -> None:
    """As with UTF-8: decoding would leave marks in place of letters, in every output."""
    study = tmp_path / "study"
    write_study(study, dicom_factory, name, declared)
    stack = read_study(study)
    assert any("byte by byte" in warning for warning in stack.warnings)
    for path in results(study):
        assert raw(path, "PatientName") == name
    who = identity_of(stack)
    assert who is not None
    assert who.name == ()  # of which FHIR and HL7 could only give a guess


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=" + "山田^太郎".encode("iso2022_jp")),
        ("GB18030", "王^小东".encode("gb18030")),
        ("ISO_IR 166", "ทด".encode("iso8859_11")),
        ("ISO 2022 IR 100", "Müller^Jörg".encode("latin-1")),
    ],
)
def test_declared_sets_of_several_bytes_are_believed(
    tmp_path: Path, dicom_factory: ModuleType, declared: str, name: bytes
) -> None:
    write_study(tmp_path, dicom_factory, name, declared)
    stack = read_study(tmp_path)
    assert not any("character set" in warning for warning in stack.warnings)
    assert str(stack.datasets[0].PatientName)[-1] not in "\ufffd?"


@pytest.mark.parametrize("declared", ["ISO_IR 100", "ISO_IR 144"])
def test_utf_8_under_another_name_is_told(
    tmp_path: Path,
    dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
    declared: str,
) -> None:
    """The archive shows the same letters for the images: results go beside them."""
    study = tmp_path / "study"
    write_study(study, dicom_factory, "Müller^Jörg".encode(), declared)
    assert any("as declared" in warning for warning in read_study(study).warnings)
    shown = str(pydicom.dcmread(next(study.iterdir())).PatientName)
    for path in results(study):
        assert str(pydicom.dcmread(path).PatientName) == shown


def test_an_ecg_names_its_patient_as_the_images_do(
    tmp_path: Path, dicom_factory: ModuleType, ecg_factory: ModuleType
) -> None:
    """Both undeclared in UTF-8: one patient."""
    ecg = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    ecg.PatientID = "X" * 8
    data = ecg_factory.dicom_bytes(ecg)
    images = dicom_factory.series(PatientID="X" * 8)
    for path in dicom_factory.write(tmp_path, images):
        path.write_bytes(path.read_bytes().replace(b"X" * 8, "MÜ-471 ".encode()))
    record = read_ecg_dicom(data.replace(b"X" * 8, "MÜ-471 ".encode()))
    assert record.patient_id == "MÜ-471"
    assert text(read_study(tmp_path).datasets[0], "PatientID") == "MÜ-471"


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        (b"Zhang^X=\x1b$)A" + "张".encode("gb2312") + b"^\x1b$)A" + "小东".encode("gb2312"),
         "\\ISO 2022 IR 58"),
    ],
)  # fmt: skip
def test_escapes_of_a_chinese_set_are_no_letters(
    name: bytes, declared: str, tmp_path: Path, dicom_factory: ModuleType,
    results: Callable[[Path], list[Path]],
) -> None:  # fmt: skip
    write_study(tmp_path / "study", dicom_factory, name, declared)
    for path in results(tmp_path / "study"):
        assert str(pydicom.dcmread(path).PatientName) == "Zhang^X=张^小东"


@pytest.mark.parametrize("declared", ["GB18030", "GBK", "ISO_IR 13"])
def test_utf_8_declared_as_a_set_of_several_bytes_is_told(
    declared: str, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    for text_, odd in (("王^小东".encode(), True), (b"ABC^D", False)):
        study = tmp_path / str(odd)
        write_study(study, dicom_factory, text_, declared)
        stack = read_study(study)
        assert any("character set" in warning for warning in stack.warnings) == odd
