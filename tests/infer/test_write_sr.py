"""DICOM SR: what highdicom, DCMTK and dicom3tools read in it is what the result says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes

from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.codes import AHA_SEGMENTS, PRIVATE_SCHEME
from scarseg_infer.write.dicom.device import device_uid
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.dicom.sr import write_sr
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.errors import StudyError

Verify = Callable[[Path], dict[str, Any]]


@pytest.fixture(params=[True, False], ids=["with-seg", "without-seg"])
def written(
    request: pytest.FixtureRequest,
    make_result: Callable[..., ScarResult],
    dicom_factory: ModuleType,
    tmp_path: Path,
) -> tuple[ScarResult, Path, Path | None]:
    datasets = dicom_factory.series(dicom_factory.noise(6, 56, 64), StudyID="S1")
    dicom_factory.write(tmp_path / "study", datasets)
    result = make_result(read_study(tmp_path / "study"))
    seg = tmp_path / "scar.dcm" if request.param else None
    if seg is not None:
        write_seg(result, seg)
    write_sr(result, tmp_path / "report.dcm", seg)
    return result, tmp_path / "report.dcm", seg


def items(node: Dataset) -> list[Dataset]:
    """The content items below ``node``, all levels, in document order."""
    below = node.get("ContentSequence", [])
    return [item for child in below for item in (child, *items(child))]


def name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""


def groups(path: Path) -> dict[str, Any]:
    """Measurement groups by tracking identifier, as highdicom reads them."""
    content = highdicom.sr.srread(path).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    found = [
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return {group.tracking_identifier: group for group in found}


def measured(group: Any) -> dict[str, tuple[float, str]]:
    return {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}


def test_checkers_accept_it(
    written: tuple[ScarResult, Path, Path | None], verify_dicom: Verify, dicom_tool: Callable
) -> None:
    document = verify_dicom(written[1])
    assert document["00080060"]["Value"] == ["SR"]
    printed = dicom_tool("dsrdump", written[1])
    assert "Comprehensive 3D SR Document" in printed
    assert printed.count('"Measurement Group"') == 1 + len(AHA_SEGMENTS)
    # DCMTK's own check of the document's structure finds nothing to say but about UTF-8.
    complaints = [line for line in printed.splitlines() if line.startswith(("W:", "E:"))]
    assert all("VR checker" in line for line in complaints)


def test_the_algorithm_stands_where_ihe_looks_for_it(
    written: tuple[ScarResult, Path, Path | None],
) -> None:
    """AI Results: equipment that contributed, with a UID of its own for each model file, in SR and
    SEG; the same device is the observer."""
    result, path, seg = written
    (observer,) = {item.UID for item in items(pydicom.dcmread(path)) if name(item) ==
                   "Device Observer UID"}  # fmt: skip
    for file in (path, *([seg] if seg else [])):
        (equipment,) = pydicom.dcmread(file).ContributingEquipmentSequence
        purpose = equipment.PurposeOfReferenceCodeSequence[0]
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109102", "DCM")
        assert equipment.ManufacturerModelName == result.model.name
        assert equipment.SoftwareVersions == result.model.version
        assert equipment.DeviceUID == observer
    assert device_uid("0" * 64) == observer != device_uid("1" * 64)


def test_ventricle(written: tuple[ScarResult, Path, Path | None]) -> None:
    result, path, seg = written
    group = groups(path)["scarseg-infer LGE scar"]
    fused, alone = result.quantities, result.image_only_quantities
    expected = {
        "Volume": (fused.scar_ml, "mL"),
        "Mass of scar": (fused.scar_g, "g"),
        "Scar as percent of left ventricular mass": (fused.scar_percent_of_lv_mass, "%"),
        "Left Ventricle Mass": (fused.myocardium_g, "g"),
        "Volume of left ventricular cavity": (fused.lv_cavity_ml, "mL"),
        "Volume of scar by the image alone": (alone.scar_ml, "mL"),
        "Scar as percent of LV mass by the image alone": (alone.scar_percent_of_lv_mass, "%"),
        "Weight of the ECG in the result, 0 to 1": (0.97, "1"),
        "Time between ECG and MRI": (3.0, "d"),
    }
    found = measured(group)
    assert found.keys() == expected.keys()
    for key, (value, unit) in expected.items():
        assert found[key] == (pytest.approx(value, abs=1e-6), unit)
    assert group.finding_type == codes.SCT.ScarTissue
    assert [site.value for site in group.finding_sites] == [codes.SCT.LeftVentricle]
    if seg is None:
        assert isinstance(group, highdicom.sr.MeasurementsAndQualitativeEvaluations)
        return
    segmentation = pydicom.dcmread(seg)
    assert isinstance(group, highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations)
    assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    reference = next(
        item for item in items(pydicom.dcmread(path)) if name(item) == "Referenced Segment"
    ).ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert reference.ReferencedSegmentNumber == 1


def test_segments(written: tuple[ScarResult, Path, Path | None]) -> None:
    result, path, _ = written
    found = groups(path)
    for segment, site in zip(result.quantities.segments, AHA_SEGMENTS, strict=True):
        group = found.pop(f"AHA {segment.number} {segment.name}")
        values = measured(group)
        assert values["Scar as percent of segment volume"] == (
            pytest.approx(100 * segment.burden, abs=1e-5),
            "%",
        )
        assert values["Mean share of wall thickness that is scar"] == (
            pytest.approx(100 * segment.transmurality, abs=1e-5),
            "%",
        )
        assert values["Volume"] == (pytest.approx(segment.scar_ml, abs=1e-6), "mL")
        assert [where.value.value for where in group.finding_sites] == [site.value]
    assert list(found) == ["scarseg-infer LGE scar"]
    tracking = {group.tracking_uid for group in groups(path).values()}
    assert len(tracking) == 1 + len(AHA_SEGMENTS)


def test_segments_refer_to_the_slices_they_lie_in(
    written: tuple[ScarResult, Path, Path | None],
) -> None:
    result, path, seg = written
    uids = [dataset.SOPInstanceUID for dataset in result.stack.datasets]
    for container in items(pydicom.dcmread(path)):
        if name(container) != "Measurement Group":
            continue
        children = container.ContentSequence
        title = next(c.TextValue for c in children if name(c) == "Tracking Identifier")
        if not title.startswith("AHA "):
            continue
        number = int(title.split()[1])
        references = [
            c.ReferencedSOPSequence[0] for c in children if name(c) == "Source of Measurement"
        ]
        planes = [i for i, plane in enumerate(result.segments) if (plane == number).any()]
        assert planes
        seg_uids = [] if seg is None else [pydicom.dcmread(seg).SOPInstanceUID]
        expected = [uids[plane] for plane in planes] + seg_uids
        assert [reference.ReferencedSOPInstanceUID for reference in references] == expected


def test_who_measured_and_with_what(written: tuple[ScarResult, Path, Path | None]) -> None:
    _, path, _ = written
    found = items(pydicom.dcmread(path))
    texts = {name(item): item.TextValue for item in found if item.ValueType == "TEXT"}
    assert texts["Device Observer Name"] == "scarseg-infer"
    assert texts["Device Observer Model Name"] == "toy 1.2.3"
    assert texts["Algorithm Name"] == "toy" and texts["Algorithm Version"] == "1.2.3"
    observer = next(item for item in found if name(item) == "Observer Type")
    assert observer.ConceptCodeSequence[0].CodeMeaning == "Device"
    report = pydicom.dcmread(path)
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == PRIVATE_SCHEME


def test_words_to_read_with_the_numbers(written: tuple[ScarResult, Path, Path | None]) -> None:
    result, path, _ = written
    container = next(
        item for item in items(pydicom.dcmread(path)) if name(item) == "Qualitative Evaluations"
    )
    said = [(name(item), item.TextValue) for item in container.ContentSequence]
    assert said[0] == ("Comment", RESEARCH_USE)
    assert result.characteristics.distribution in said[1][1]
    assert all(name in said[1][1] for name in result.characteristics.location)
    assert ("Reason for the weight of the ECG", result.ecg.reason) in said
    assert all(("Comment", warning) in said for warning in result.warnings)


def test_image_library_holds_every_slice_in_its_place(
    written: tuple[ScarResult, Path, Path | None],
) -> None:
    result, path, _ = written
    group = next(
        item for item in items(pydicom.dcmread(path)) if name(item) == "Image Library Group"
    )
    images = [item for item in group.ContentSequence if item.ValueType == "IMAGE"]
    places = [
        [float(c.MeasuredValueSequence[0].NumericValue) for c in image.ContentSequence]
        for image in images
    ]
    assert np.array(places) == pytest.approx(result.stack.origins_mm, abs=1e-5)
    references = [image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in images]
    assert references == [dataset.SOPInstanceUID for dataset in result.stack.datasets]


def test_nothing_of_the_patient_is_in_the_content(
    written: tuple[ScarResult, Path, Path | None], dicom_factory: ModuleType
) -> None:
    report = pydicom.dcmread(written[1])
    assert report.PatientID == dicom_factory.PATIENT_ID  # where it belongs
    content = Dataset()
    content.ContentSequence = report.ContentSequence
    for secret in (dicom_factory.PATIENT_ID, *dicom_factory.PATIENT_NAME.split("^")):
        assert secret not in str(content)


def test_nothing_found_and_no_ecg(
    make_result: Callable[..., ScarResult],
    dicom_factory: ModuleType,
    tmp_path: Path,
    verify_dicom: Verify,
) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series())
    result = make_result(read_study(tmp_path / "study"), lv=False, ecg=False)
    write_sr(result, tmp_path / "report.dcm")
    verify_dicom(tmp_path / "report.dcm")
    found = groups(tmp_path / "report.dcm")
    assert list(found) == ["scarseg-infer LGE scar"]
    values = measured(found["scarseg-infer LGE scar"])
    assert values["Volume"] == (0.0, "mL")
    assert "Scar as percent of left ventricular mass" not in values
    assert "Time between ECG and MRI" not in values
    assert values["Weight of the ECG in the result, 0 to 1"] == (0.0, "1")


def test_segment_that_was_not_imaged_has_no_group(
    make_result: Callable[..., ScarResult],
    dicom_factory: ModuleType,
    tmp_path: Path,
    verify_dicom: Verify,
) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series(dicom_factory.noise(6, 56, 64)))
    result = make_result(read_study(tmp_path / "study"))
    segments = list(result.quantities.segments)
    segments[16] = replace(
        segments[16], myocardium_ml=0.0, scar_ml=0.0, burden=None, transmurality=None,
        transmurality_class=None,
    )  # fmt: skip
    result = replace(result, quantities=replace(result.quantities, segments=tuple(segments)))
    write_sr(result, tmp_path / "report.dcm")
    verify_dicom(tmp_path / "report.dcm")
    assert len(groups(tmp_path / "report.dcm")) == 17
    assert "AHA 17 apex" not in groups(tmp_path / "report.dcm")


def test_study_that_is_not_dicom(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="no DICOM images"):
        write_sr(make_result(make_stack()), tmp_path / "report.dcm")
    assert not (tmp_path / "report.dcm").exists()
