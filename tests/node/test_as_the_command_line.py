"""What the command line reads of a folder, the node takes; what it refuses, the node refuses with
the same words."""

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

from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.http.answer import Answer
from scarseg_infer.node.http.api import StudyApi
from scarseg_infer.node.pair import link_images
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage
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


def test_the_uid_that_is_missing_is_named(dicom_factory: ModuleType, post: Post) -> None:
    for keyword in ("StudyInstanceUID", "SOPInstanceUID"):
        series = dicom_factory.series()
        setattr(series[2], keyword, "anonymous")
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
