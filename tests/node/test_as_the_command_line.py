"""Files of a folder that the command line reads, the node takes; what it refuses, the node refuses
with the same words."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom.uid import generate_uid

from scarseg_infer.dicomweb.fetched import FetchedFiles
from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.http.answer import Answer
from scarseg_infer.node.http.api import StudyApi
from scarseg_infer.node.pair import link_images
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.study.dicom.read import read_dicom
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

Post = Callable[[Mapping[str, bytes]], Answer]


@pytest.fixture
def post(storage: Storage, tmp_path: Path) -> Post:
    api = StudyApi(storage, Queue(storage), lambda _: True, 64 << 20)

    def posted(files: Mapping[str, bytes]) -> Answer:
        path = tmp_path / "posted.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return api._take(path)

    return posted


def without(dataset: Any, keyword: str) -> bytes:
    """A file whose dataset lacks an attribute that its meta information has."""
    found = copy.deepcopy(dataset)
    del found[keyword]
    stream = BytesIO()
    found.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def on_disk(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


FOREIGN_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.88.33",  # structured report
    "1.2.840.10008.5.1.4.1.1.88.59",  # key objects
    "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR spectroscopy
    "1.2.840.10008.5.1.4.1.1.66",  # raw data
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.104.1",  # PDF
    "1.2.840.10008.5.1.4.1.1.9.2.1",  # waveform that is no ECG
    "1.3.12.2.1107.5.9.1",  # a vendor's own
)


def everything_foreign(factory: ModuleType) -> dict[str, bytes]:
    """Files that a CD, an export or a tidy-minded system puts beside the images, all at once."""
    (localiser,) = factory.series(
        factory.noise(1), SeriesDescription="survey", SeriesNumber=1, InversionTime=None,
        ImageType=["ORIGINAL", "PRIMARY", "M"],
    )  # fmt: skip

    def object_(**elements: Any) -> bytes:
        found = copy.deepcopy(localiser)
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for keyword, value in elements.items():
            setattr(found, keyword, value)
        found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
        if found.SOPClassUID != localiser.SOPClassUID:
            del found.PixelData
        return bytes(factory.encoded(found))

    found = {f"object {n}": object_(SOPClassUID=uid) for n, uid in enumerate(FOREIGN_CLASSES)}
    return found | {
        "localiser": object_(),
        "localiser cut": object_()[:-300],
        "colours": object_(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "frames": object_(NumberOfFrames=3),
        "stub": bytes(128) + b"DICM",
        "padded stub": bytes(128) + b"DICM" + bytes(40),
        "empty": b"",
        "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(600),
        ".DS_Store": b"\0\0\0\1Bud1" + bytes(500),
        "._IM000": b"\0\5\x16\7",
        "AUTORUN.INF": b"[autorun]\r\nopen=viewer.exe",
        "viewer.exe": b"MZ" + bytes(3000),
        "inner.zip": b"PK\3\4" + bytes(100),
        "inner.7z": b"7z\xbc\xaf\x27\x1c" + bytes(80),
    }


def test_everything_foreign_at_once_ends_no_study_by_any_entrance(
    dicom_factory: ModuleType, post: Post, storage: Storage, tmp_path: Path
) -> None:
    series = dicom_factory.series()
    files = {f"IM{n:03d}": dicom_factory.encoded(item) for n, item in enumerate(series)}
    alone = read_study(on_disk(tmp_path / "alone", files))
    files |= everything_foreign(dicom_factory)
    stacks = [read_study(on_disk(tmp_path / "study", files))]
    answer = post(files)
    assert answer.code == 202, answer.body
    stacks.append(read_study(tmp_path / "posted.zip"))
    (study,) = Queue(storage).complete(0)
    (tmp_path / "linked").mkdir()
    link_images(Queue(storage), study, tmp_path / "linked")
    stacks.append(read_study(tmp_path / "linked"))
    with FetchedFiles() as fetched:
        for data in files.values():
            fetched.add(data)
        stacks.append(read_dicom(fetched))
    for stack in stacks:
        assert (stack.pixels == alone.pixels).all()
        assert any("of another series" in warning for warning in stack.warnings)
    folder, zipped, _, web = (sorted(stack.warnings) for stack in stacks)
    assert folder == zipped == web


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_uids_may_stand_in_the_meta_information_alone(
    dicom_factory: ModuleType, post: Post, storage: Storage, tmp_path: Path, keyword: str
) -> None:
    series = dicom_factory.series()
    files = {str(n): without(item, keyword) for n, item in enumerate(series)}
    expected = read_study(on_disk(tmp_path / "study", files))
    assert post(files).code == 202
    (study,) = Queue(storage).complete(0)
    (tmp_path / "linked").mkdir()
    link_images(Queue(storage), study, tmp_path / "linked")
    assert (read_study(tmp_path / "linked").pixels == expected.pixels).all()


@pytest.mark.parametrize("how", ["twins", "cut"])
def test_a_slice_that_would_be_missed_is_refused_in_the_readers_words(
    dicom_factory: ModuleType, post: Post, storage: Storage, tmp_path: Path, how: str
) -> None:
    """Of two images with one UID the node kept the first, and measured a stack of one less."""
    series = dicom_factory.series()
    if how == "twins":
        series[1].SOPInstanceUID = series[0].SOPInstanceUID
        series[1].file_meta.MediaStorageSOPInstanceUID = series[0].SOPInstanceUID
    files = {str(n): dicom_factory.encoded(item) for n, item in enumerate(series)}
    if how == "cut":
        files["2"] = files["2"][:300]
    with pytest.raises(StudyError) as refused:
        read_study(on_disk(tmp_path / "study", files))
    what = refused.value.what
    try:
        answer = post(files)
    except StudyError as error:
        assert error.what == what
    else:
        assert answer.code == 422
        assert what[1:] in json.loads(answer.body)["error"]
    assert Queue(storage).complete(0) == []


@pytest.mark.parametrize("how", ["no study", "neither study nor patient", "blank", "long", "both"])
def test_odd_uids_are_no_reason_to_refuse_what_the_command_line_reads(
    dicom_factory: ModuleType, post: Post, storage: Storage, tmp_path: Path, how: str
) -> None:
    series = dicom_factory.series(SeriesInstanceUID=generate_uid())
    for number, item in enumerate(series):
        if how in ("blank", "both"):
            item.SOPInstanceUID = f"1.2.3 4.{number}"
        if how == "long":
            item.SOPInstanceUID = f"1.2.{'3' * 68}.{number}"
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
        if how not in ("blank", "long"):
            del item.StudyInstanceUID
        if how == "neither study nor patient":
            item.PatientID = ""
    files = {str(n): dicom_factory.encoded(item) for n, item in enumerate(series)}
    expected = read_study(on_disk(tmp_path / "study", files))
    answer = post(files)
    assert answer.code == 202, answer.body
    (study,) = Queue(storage).complete(0)
    (tmp_path / "linked").mkdir()
    link_images(Queue(storage), study, tmp_path / "linked")
    assert (read_study(tmp_path / "linked").pixels == expected.pixels).all()


def test_studies_of_two_patients_without_uids_stay_two(
    dicom_factory: ModuleType, post: Post, storage: Storage
) -> None:
    files = {}
    for patient in ("ONE", "TWO"):
        for number, item in enumerate(dicom_factory.series(PatientID=patient)):
            del item.StudyInstanceUID
            files[f"{patient} {number}"] = dicom_factory.encoded(item)
    assert post(files).code == 202
    assert len(Queue(storage).complete(0)) == 2


def test_the_uid_that_is_missing_is_named(dicom_factory: ModuleType, post: Post) -> None:
    for keyword in ("StudyInstanceUID", "SOPInstanceUID"):
        series = dicom_factory.series()
        setattr(series[2], keyword, "1." * 65)
        if keyword == "StudyInstanceUID":
            del series[2][keyword]
        answer = post({str(n): dicom_factory.encoded(item) for n, item in enumerate(series)})
        assert answer.code == 422
        assert f"lacks {keyword}" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"AcquisitionDate": "20231231"}, {"AcquisitionDate": "2024.02.01"}),
        ({"AcquisitionDateTime": "UNKNOWN"}, {"AcquisitionDateTime": "20240201101500"}),
        ({"AcquisitionDateTime": "2024"}, {"AcquisitionDateTime": "20231231"}),
        ({"StudyDate": "20240601"}, {"AcquisitionDate": "20240201"}),
        ({"AcquisitionDate": "20240201"}, {"AcquisitionDateTime": "202402011015"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_the_newest_ecg_is_what_its_reader_takes_for_it(
    node_factory: ModuleType, ecg_factory: ModuleType, older: dict[str, str], newer: dict[str, str]
) -> None:
    """Dates that are none, months and dates of an import sorted as newest."""
    found = []
    for dates in (older, newer):
        ecg = node_factory.demo_ecg(ecg_factory, "NEWEST")
        for keyword in ("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "StudyDate"):
            if keyword in ecg:
                del ecg[keyword]
        for keyword, value in dates.items():
            setattr(ecg, keyword, value)
        arrival = arrival_in_file(node_factory.encoded(ecg))
        assert arrival is not None
        found.append(arrival.taken)
    assert found[0] < found[1]
