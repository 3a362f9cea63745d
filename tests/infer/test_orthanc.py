"""A real archive takes every object, files it under the one study and gives it back unchanged.

Orthanc (Debian package orthanc) is started on free ports of this machine and spoken to as a
scanner and a viewer would: C-STORE by DCMTK's storescu, then its REST interface.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from scarseg_infer.result import ScarResult
from scarseg_infer.study.geometry.orientation import LATERAL_WALL
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.pdf import write_pdf
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.dicom.sr import write_sr
from scarseg_runtime.contract import Label

START_SECONDS = 60.0
MODALITIES = ("MR", "SEG", "SR", "DOC")


@dataclass(frozen=True)
class Archive:
    http_port: int
    dicom_port: int

    def ask(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.http_port}{path}", data)
        with urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        body = {"Level": level, "Query": query, "Expand": True}
        found: list[dict[str, Any]] = json.loads(self.ask("/tools/find", body))
        return found

    def dataset(self, instance: str) -> Dataset:
        return pydicom.dcmread(BytesIO(self.ask(f"/instances/{instance}/file")))


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory,
    program: Callable[[str, str], str],
    free_ports: Callable[[int], list[int]],
) -> Iterator[Archive]:
    orthanc = program("Orthanc", "orthanc")
    folder = tmp_path_factory.mktemp("orthanc")
    found = Archive(*free_ports(2))
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpPort": found.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": found.dicom_port,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"here": ["STORESCU", "127.0.0.1", 104]},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [orthanc, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for(found, server, folder / "log")
            yield found
        finally:
            server.terminate()
            server.wait(30)


def wait_for(archive: Archive, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            archive.ask("/system")
        except (URLError, OSError):
            time.sleep(0.1)
        else:
            return
    pytest.fail("Orthanc did not start: " + log.read_text(errors="replace")[-2000:])


@pytest.fixture(scope="module")
def stored(
    archive: Archive,
    dicom_factory: ModuleType,
    make_result: Callable[..., ScarResult],
    dicom_tool: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ScarResult, dict[str, list[Path]]]:
    """A drifting study with its SEG, SR and PDF, sent to the archive; files by modality."""
    folder = tmp_path_factory.mktemp("objects")
    datasets = dicom_factory.series(
        dicom_factory.noise(6, 56, 64),
        drift_mm=np.linspace(0, 24, 6)[:, None] * LATERAL_WALL,
        AccessionNumber="A1", StudyID="S1",
    )  # fmt: skip
    sources = dicom_factory.write(folder / "study", datasets)
    result = make_result(read_study(folder / "study"))
    write_seg(result, folder / "scar.dcm")
    write_sr(result, folder / "report.dcm", folder / "scar.dcm")
    write_pdf(result, folder / "pdf.dcm")
    files = {
        "MR": sources,
        "SEG": [folder / "scar.dcm"],
        "SR": [folder / "report.dcm"],
        "DOC": [folder / "pdf.dcm"],
    }
    every = [path for paths in files.values() for path in paths]
    dicom_tool("storescu", "-R", "127.0.0.1", str(archive.dicom_port), *every)
    return result, files


def test_everything_is_filed_in_one_study(
    archive: Archive, stored: tuple[ScarResult, dict[str, list[Path]]]
) -> None:
    result, files = stored
    uid = str(result.stack.datasets[0].StudyInstanceUID)
    studies = archive.find("Study", StudyInstanceUID=uid)
    assert len(studies) == 1
    assert studies[0]["MainDicomTags"]["AccessionNumber"] == "A1"
    series = archive.find("Series", StudyInstanceUID=uid)
    found = {s["MainDicomTags"]["Modality"]: len(s["Instances"]) for s in series}
    assert found == {modality: len(paths) for modality, paths in files.items()}
    patients = archive.find("Patient", PatientID=str(result.stack.datasets[0].PatientID))
    assert len(patients) == 1


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_comes_back_is_what_was_sent(
    archive: Archive, stored: tuple[ScarResult, dict[str, list[Path]]], modality: str
) -> None:
    _, files = stored
    for path in files[modality]:
        sent = pydicom.dcmread(path)
        instances = archive.find("Instance", SOPInstanceUID=str(sent.SOPInstanceUID))
        assert len(instances) == 1
        back = archive.dataset(instances[0]["ID"])
        assert list(back.keys()) == list(sent.keys())
        for element in sent:
            assert back[element.tag] == element, element.keyword
        if "PixelData" in sent:
            assert np.array_equal(back.pixel_array, sent.pixel_array)


def test_segmentation_from_the_archive_lies_on_images_from_the_archive(
    archive: Archive, stored: tuple[ScarResult, dict[str, list[Path]]]
) -> None:
    """As a viewer does it: from each frame's reference to the image, all from the archive."""
    result, _ = stored
    uid = str(result.stack.datasets[0].StudyInstanceUID)
    (found,) = archive.find("Instance", StudyInstanceUID=uid, Modality="SEG")
    seg = archive.dataset(found["ID"])
    labels = (Label.SCAR, Label.VIABLE_MYOCARDIUM, Label.LV_CAVITY)
    order = [str(image.SOPInstanceUID) for image in result.stack.datasets]
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        (image,) = archive.find("Instance", SOPInstanceUID=str(source))
        image = archive.dataset(image["ID"])
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.array(position, float) == pytest.approx(
            np.array(image.ImagePositionPatient, float), abs=1e-6
        )
        assert seg.FrameOfReferenceUID == image.FrameOfReferenceUID
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(frame, result.labels[order.index(source)] == labels[segment - 1])


def test_every_reference_of_the_report_resolves(
    archive: Archive, stored: tuple[ScarResult, dict[str, list[Path]]]
) -> None:
    report = pydicom.dcmread(stored[1]["SR"][0])
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    listed = {
        (str(series.SeriesInstanceUID), str(reference.ReferencedSOPInstanceUID))
        for series in evidence.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert len(listed) == len(stored[0].stack.datasets) + 1  # the images and the segmentation
    for series, instance in listed:
        assert archive.find("Instance", SeriesInstanceUID=series, SOPInstanceUID=instance)
