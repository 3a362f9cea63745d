"""The PDF report: what its pages say, and that its DICOM object is filed with the study."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest

from scarseg_infer.cli import main
from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.pdf import write_pdf, write_plain_pdf
from scarseg_infer.write.folder import write_all
from scarseg_infer.write.report.drawing import headline
from scarseg_infer.write.report.pdf import report_pdf
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.errors import OutputError, StudyError


@pytest.fixture
def result(
    make_result: Callable[..., ScarResult], dicom_factory: ModuleType, tmp_path: Path
) -> ScarResult:
    datasets = dicom_factory.series(
        dicom_factory.noise(6, 56, 64), PatientBirthDate="19500101", AccessionNumber="ACC-77"
    )
    dicom_factory.write(tmp_path / "study", datasets)
    return make_result(read_study(tmp_path / "study"))


def pages(pdf: bytes) -> list[str]:
    """Text of each page in drawing order, from its content stream."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            content = zlib.decompressobj().decompress(stream)
        except zlib.error:  # a picture
            continue
        shown = re.findall(rb"\(((?:\\.|[^()\\])*)\) Tj", content)
        if shown:
            words = re.sub(" +", " ", b" ".join(shown).decode("latin-1"))
            words = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words)
            found.append(re.sub(r"\\([()\\])", r"\1", words))
    return found


@pytest.mark.parametrize("only", [["pdf"], ["json", "dicom-pdf"], ["all"]])
def test_without_its_package_one_line_names_the_extra_and_nothing_is_written(
    result: ScarResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(OutputError, match=r"reportlab.*not installed.*\[pdf\]") as caught:
        write_all(result, tmp_path / "out", overwrite=False, only=only)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    written = write_all(result, tmp_path / "out", overwrite=False)
    assert written.keys() >= {"page", "seg", "json"}


def test_without_its_package_the_command_ends_before_it_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab", None)
    arguments = [str(tmp_path / "no such study"), "-o", str(tmp_path / "out"), "--only", "all"]
    assert main(arguments) == 6
    assert "[pdf]" in capsys.readouterr().err


def test_first_page_begins_with_purpose_and_warnings(result: ScarResult) -> None:
    warnings = ("First thing to beware of.", "Second: 1 < 2 & so on.")
    first, second = pages(report_pdf(replace(result, warnings=warnings)))
    order = [RESEARCH_USE, headline(result), "2 warnings", *warnings, "Image alone", "1 fully used"]
    # The foot of the page is drawn before what stands on it.
    first = first[first.index("Page 1") :]
    places = [first.index(words) for words in order]
    assert places == sorted(places)
    for page in (first, second):
        assert RESEARCH_USE in page
    assert "warning" not in " ".join(pages(report_pdf(replace(result, warnings=()))))


def test_fused_beside_image_only(result: ScarResult) -> None:
    first = pages(report_pdf(result))[0]
    for whole in (result.quantities, result.image_only_quantities):
        assert f"{whole.scar_ml:.1f} mL" in first
        assert f"{whole.scar_g:.1f} g" in first
        assert f"{whole.scar_percent_of_lv_mass:.1f} %" in first
        assert f"{whole.myocardium_g:.0f} g" in first
    assert "Image and ECG" in first
    assert f"{result.ecg.weight:.2f}" in first and result.ecg.reason in first


def test_every_segment_and_the_model(result: ScarResult) -> None:
    second = pages(report_pdf(result))[1]
    for segment in result.quantities.segments:
        row = f"{segment.number} {segment.name} {segment.territory} {segment.myocardium_ml:.1f} mL"
        assert row in second
        assert f"{100 * segment.burden:.0f} %" in second
    assert "toy 1.2.3" in second and "cpu fp32" in second and "Simulated." in second


def test_both_pictures_are_in_it(result: ScarResult) -> None:
    pdf = report_pdf(result)
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert pdf.count(b"/Subtype /Image") == 2


def test_no_ecg_and_nothing_found(
    make_result: Callable[..., ScarResult], make_stack: Callable
) -> None:
    first, second = pages(report_pdf(make_result(make_stack(), lv=False, ecg=False)))
    assert "No left ventricle found" in first and "Image and ECG" not in first
    assert second.count("not imaged") == 17


def test_more_warnings_than_a_page_holds(result: ScarResult) -> None:
    warnings = tuple(f"Warning number {n}. " + "Many words. " * 20 for n in range(40))
    found = pages(report_pdf(replace(result, warnings=warnings)))
    assert len(found) > 3
    assert all(f"Warning number {n}." in " ".join(found) for n in range(40))


def test_letters_that_the_font_lacks(result: ScarResult) -> None:
    report = report_pdf(replace(result, warnings=("Δt ≤ τ, 日本, Müßig",)))
    assert "Müßig" in pages(report)[0]


def test_nothing_of_the_patient_is_in_the_pdf(
    result: ScarResult, dicom_factory: ModuleType
) -> None:
    pdf = report_pdf(result)
    said = " ".join(pages(pdf)).encode() + pdf
    image = result.stack.datasets[0]
    secrets = [*dicom_factory.PATIENT_NAME.split("^")[:1], dicom_factory.PATIENT_ID, "ACC-77",
               "19500101", image.StudyInstanceUID]  # fmt: skip
    for secret in secrets:
        assert secret.encode() not in said


def test_dicom_object(
    result: ScarResult, tmp_path: Path, verify_dicom: Callable[[Path], dict[str, Any]]
) -> None:
    write_pdf(result, tmp_path / "report.dcm")
    verify_dicom(tmp_path / "report.dcm")
    found, image = pydicom.dcmread(tmp_path / "report.dcm"), result.stack.datasets[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "PatientBirthDate",
                    "AccessionNumber", "StudyDate"):  # fmt: skip
        assert found[keyword].value == image[keyword].value
    assert found.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert "research use" in found.SeriesDescription
    pdf = found.EncapsulatedDocument[: found.EncapsulatedDocumentLength]
    assert pdf.rstrip().endswith(b"%%EOF")
    assert headline(result) in pages(pdf)[0]
    assert [item.ReferencedSOPInstanceUID for item in found.SourceInstanceSequence] == [
        dataset.SOPInstanceUID for dataset in result.stack.datasets
    ]


def test_dcmtk_takes_the_same_pdf_out(
    result: ScarResult, tmp_path: Path, dicom_tool: Callable[..., str]
) -> None:
    write_pdf(result, tmp_path / "report.dcm")
    dicom_tool("dcm2pdf", tmp_path / "report.dcm", tmp_path / "out.pdf")
    assert headline(result) in pages((tmp_path / "out.pdf").read_bytes())[0]


def test_study_that_is_not_dicom(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    result = make_result(make_stack())
    write_plain_pdf(result, tmp_path / "report.pdf")
    assert headline(result) in pages((tmp_path / "report.pdf").read_bytes())[0]
    with pytest.raises(StudyError, match="no DICOM images"):
        write_pdf(result, tmp_path / "report.dcm")
    assert not (tmp_path / "report.dcm").exists()


def test_reportlab_is_left_as_it_was(result: ScarResult) -> None:
    from reportlab import rl_config

    before = rl_config.useA85
    report_pdf(result)
    assert rl_config.useA85 == before
