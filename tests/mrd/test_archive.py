"""An archive is asked for the patient's ECG, by the protocol of the DICOM node."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from scarseg_infer.demo import DEMO_ECG
from scarseg_infer.node.log import Log
from scarseg_runtime.errors import UsageError

QUERY = """[node]
ae_title = "MRD"
data = "unused"
[callers]
ae_titles = ["NOBODY"]
addresses = ["127.0.0.1"]
[[peers]]
name = "p"
ae_title = "P"
host = "127.0.0.1"
port = 1
"""


@pytest.fixture
def archive(mrd_factory: ModuleType) -> Iterator[tuple[int, list[Dataset]]]:
    """Port of an archive that holds the twin's ECG, and what it was asked."""
    if not os.environ.get("CI"):
        pytest.importorskip("pynetdicom")
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    )

    ecg = pydicom.dcmread(DEMO_ECG.with_suffix(".dcm"))
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        if event.identifier.get("PatientID", ecg.PatientID) == ecg.PatientID:
            found = Dataset()
            found.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            found.StudyInstanceUID = ecg.StudyInstanceUID
            found.SeriesInstanceUID = ecg.SeriesInstanceUID
            found.Modality = found.ModalitiesInStudy = "ECG"
            yield 0xFF00, found

    def get(_: Any) -> Iterator[Any]:
        yield 1
        yield 0xFF00, ecg

    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_supported_context(ecg.SOPClassUID, scu_role=True, scp_role=True)
    (port,) = mrd_factory.free_ports(1)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    running = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    yield port, asked
    running.shutdown()


def configuration(folder: Path, port: int, extra: str = "") -> Path:
    table = f'[ecg_query]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {port}\n{extra}'
    (folder / "node.toml").write_text(QUERY + '[send]\nobjects = ["seg"]\n' + table)
    return folder / "node.toml"


def test_the_ecg_of_the_patient_comes_from_the_archive(
    archive: tuple[int, list[Dataset]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scarseg_infer.mrd.archive import ArchiveQuery
    from scarseg_infer.mrd.ecg import EcgShelf
    from scarseg_infer.mrd.header import Measurement

    port, asked = archive
    (tmp_path / "t").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    log = io.StringIO()
    query = ArchiveQuery(configuration(tmp_path, port), Log(log), threading.Event())
    for shelf in (EcgShelf(None, query), EcgShelf(tmp_path / "empty", query)):
        record, notes = shelf.find(Measurement(patient_id="TWIN-55"), "")
        assert record is not None
        assert (record.source, record.patient_id, notes) == ("dicom", "TWIN-55", ())
    assert asked[0].PatientID == "TWIN-55"
    count = len(asked)
    for other in ("SECRET-1", "TWIN*", "ß?", "x1" * 50):
        record, (note,) = EcgShelf(None, query).find(Measurement(patient_id=other), "")
        assert record is None
        assert note == "No ECG of the patient was found."
    wild = [one for one in asked[count:] if "PatientID" in one and "*" in one.PatientID]
    assert wild == []
    assert EcgShelf(None, query).find(Measurement(), "")[0] is None
    assert "TWIN" not in log.getvalue() and "SECRET" not in log.getvalue()
    assert not list((tmp_path / "t").iterdir())  # nothing of the patient stays on the disk
    assert not (tmp_path / "unused").exists()


def test_an_archive_that_is_not_there(tmp_path: Path, mrd_factory: ModuleType) -> None:
    from scarseg_infer.mrd.archive import ArchiveQuery

    (port,) = mrd_factory.free_ports(1)
    log = io.StringIO()
    query = ArchiveQuery(configuration(tmp_path, port), Log(log), threading.Event())
    assert query.newest("TWIN-55") is None
    assert "not reachable" in log.getvalue()


@pytest.mark.parametrize(
    ("text", "says"),
    [(QUERY, "names no archive"), (None, "retrieve is move"), ("x", "is not TOML")],
)
def test_a_configuration_that_gives_no_ecg(tmp_path: Path, text: str | None, says: str) -> None:
    from scarseg_infer.mrd.archive import ArchiveQuery

    file = configuration(tmp_path, 104, 'retrieve = "move"\n')
    file.write_text(file.read_text().replace("NOBODY", "ARCHIVE") if text is None else text)
    with pytest.raises(UsageError, match=says):
        ArchiveQuery(file, Log(io.StringIO()), threading.Event())
