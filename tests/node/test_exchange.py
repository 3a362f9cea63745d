"""Studies that come by C-STORE go back as results, with DCMTK and Orthanc at the other end."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pydicom
import pytest
from pydicom.uid import generate_uid

Dcmtk = Callable[..., subprocess.CompletedProcess[str]]


class Orthanc:
    def __init__(self, http_port: int, dicom_port: int) -> None:
        self.http_port, self.dicom_port = http_port, dicom_port

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urlopen(Request(url, data), timeout=60) as answer:
            return json.loads(answer.read())

    def introduce(self, title: str, port: int) -> None:
        """Tell it of an application entity to which it may move objects."""
        url = f"http://127.0.0.1:{self.http_port}/modalities/{title.lower()}"
        body = json.dumps({"AET": title, "Host": "127.0.0.1", "Port": port}).encode()
        urlopen(Request(url, body, method="PUT"), timeout=60).close()

    def upload(self, data: bytes) -> None:
        urlopen(Request(f"http://127.0.0.1:{self.http_port}/instances", data), timeout=60).close()

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        body = {"Level": level, "Query": query, "Expand": True}
        found: list[dict[str, Any]] = self.ask("/tools/find", body)
        return found

    def dataset(self, instance: str) -> pydicom.Dataset:
        url = f"http://127.0.0.1:{self.http_port}/instances/{instance}/file"
        with urlopen(url, timeout=60) as answer:
            return pydicom.dcmread(BytesIO(answer.read()))

    def alive(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except (URLError, OSError):
            return False


@pytest.fixture(scope="module")
def orthanc_and_node(
    node_factory: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
    program: Callable[[str, str], str],
) -> Iterator[tuple[Orthanc, Any]]:
    tmp_path = tmp_path_factory.mktemp("orthanc")
    command = [program("Orthanc", "orthanc"), str(tmp_path / "orthanc.json")]
    orthanc = Orthanc(*node_factory.free_ports(2))
    node = node_factory.make_node(
        tmp_path / "node",
        [node_factory.peer_table(orthanc.dicom_port, "ORTHANC")],
        callers='ae_titles = ["ORTHANC"]\naddresses = ["127.0.0.1"]',
        ecg_query=f'ae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}',
        send="retry_s = 0.3",
    )
    configuration = {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "storage"),
        "Plugins": [],
        "HttpPort": orthanc.http_port,
        "DicomPort": orthanc.dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"node": ["SCARSEG", "127.0.0.1", node.port]},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    with (tmp_path / "orthanc.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        node.start()
        node_factory.wait_for(orthanc.alive)
        yield orthanc, node
    finally:
        node.kill()
        server.terminate()
        server.wait(30)


def test_archive_pushes_a_study_and_gets_results_back(
    node_factory: ModuleType,
    ecg_factory: ModuleType,
    orthanc_and_node: tuple[Orthanc, Any],
    dcmtk: Dcmtk,
    tmp_path: Path,
) -> None:
    """Scanner → archive (DCMTK) → node → archive, asked for by the archive's REST interface."""
    orthanc, node = orthanc_and_node
    images = node_factory.demo_study("SECRET-ID-4711")
    ecg = node_factory.demo_ecg(ecg_factory, "SECRET-ID-4711", "20240301103000")
    files = node_factory.write_all(tmp_path / "in", [*images, ecg])
    done = len(node.events("study_done"))
    sent = dcmtk("storescu", "127.0.0.1", orthanc.dicom_port, *files)
    assert sent.returncode == 0, sent.stderr
    everything = [study["ID"] for study in orthanc.find("Study", PatientID="SECRET-ID-4711")]
    assert len(everything) == 2
    answer = orthanc.ask("/modalities/node/store", everything)  # MRI and ECG
    assert answer["FailedInstancesCount"] == 0

    uid = str(images[0].StudyInstanceUID)
    series = node_factory.wait_for(
        lambda: (found := orthanc.find("Series", StudyInstanceUID=uid))[3:] and found
    )
    modalities = sorted(s["MainDicomTags"]["Modality"] for s in series)
    assert modalities == ["DOC", "MR", "SEG", "SR"]
    orthanc.introduce("FINDSCU", 104)  # it answers those it knows
    asked = dcmtk("findscu", "-v", "-S", "-aec", "ORTHANC", "-k", "QueryRetrieveLevel=SERIES",
                  "-k", f"StudyInstanceUID={uid}", "-k", "Modality", "127.0.0.1",
                  orthanc.dicom_port)  # fmt: skip
    told = asked.stdout + asked.stderr
    assert asked.returncode == 0, told
    assert sorted(re.findall(r"\(0008,0060\) CS \[(\w+) *\]", told)) == modalities
    (instance,) = orthanc.find("Instance", StudyInstanceUID=uid, Modality="SEG")
    seg = orthanc.dataset(instance["ID"])
    assert seg.PatientID == "SECRET-ID-4711"
    referred = {
        str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        for group in seg.PerFrameFunctionalGroupsSequence
    }
    assert referred == {str(image.SOPInstanceUID) for image in images}
    # The archive may have the results before the node has said so.
    (said,) = node_factory.wait_for(lambda: node.events("study_done")[done:])
    assert said["ecg"] is True
    told = node.log.read_text() + node.get("/")[1] + node.get("/metrics")[1]
    for secret in ("SECRET", "Secretname", uid, str(images[0].PatientName)):
        assert secret not in told


def test_newest_ecg_is_fetched_from_the_archive(
    node_factory: ModuleType,
    ecg_factory: ModuleType,
    orthanc_and_node: tuple[Orthanc, Any],
    tmp_path: Path,
) -> None:
    """Only the images are pushed; the archive holds two ECGs of the patient and one of another."""
    orthanc, node = orthanc_and_node
    images = node_factory.demo_study("Fetch-1")
    ecgs = [
        node_factory.demo_ecg(ecg_factory, patient, day + "103000")
        for patient, day in (
            ("Fetch-1", "20230101"),
            ("Fetch-1", "20240301"),
            ("FETCH-12", "20240302"),
        )
    ]
    for ecg in ecgs:
        ecg.StudyDate = ecg.AcquisitionDateTime[:8]
        ecg.SeriesInstanceUID = generate_uid()
    for item in [*images, *ecgs]:
        orthanc.upload(node_factory.encoded(item))
    (study,) = orthanc.find("Study", StudyInstanceUID=str(images[0].StudyInstanceUID))
    done, asked = len(node.events("study_done")), len(node.events("ecg_query"))
    orthanc.ask("/modalities/node/store", study["ID"])
    node_factory.wait_for(lambda: len(node.events("study_done")) > done)
    assert node.events("study_done")[-1]["ecg"] is True
    assert [e["outcome"] for e in node.events("ecg_query")[asked:]] == ["found"]
    fetched = node.rows("SELECT sop_uid FROM objects WHERE kind = 'ecg' AND patient = 'fetch-1'")
    assert fetched == [(str(ecgs[1].SOPInstanceUID),)]


@pytest.fixture(scope="module")
def mover(
    node_factory: ModuleType,
    orthanc_and_node: tuple[Orthanc, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A second node, which has ECGs moved to it, also where it has one."""
    orthanc, _ = orthanc_and_node
    node = node_factory.make_node(
        tmp_path_factory.mktemp("mover"),
        study=node_factory.SOON_QUIET,
        callers='ae_titles = ["ORTHANC", "SENDER"]\naddresses = ["127.0.0.1"]',
        ecg_query=f'ae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        'retrieve = "move"\nwhen = "always"',
    )
    file = node.folder / "node.toml"
    file.write_text(file.read_text().replace('"SCARSEG"', '"SCARMOVE"'))
    orthanc.introduce("SCARMOVE", node.port)
    node.start()
    yield node
    node.kill()


@pytest.mark.parametrize(
    ("patient", "received", "archived", "newest"),
    [
        ("Move-1", None, "20240301", "archived"),
        ("Move-2", "20230101", "20240301", "archived"),
        ("Move-3", "20240301", "20230101", "received"),
        ("Move-4", "20240301", None, "received"),
    ],
)
def test_newest_ecg_of_all_is_used(
    node_factory: ModuleType,
    ecg_factory: ModuleType,
    orthanc_and_node: tuple[Orthanc, Any],
    mover: Any,
    patient: str,
    received: str | None,
    archived: str | None,
    newest: str,
) -> None:
    """The archive moves its ECG to the node, whatever that has received itself."""
    orthanc, _ = orthanc_and_node
    ecgs = {}
    for place, day in (("received", received), ("archived", archived)):
        if day:
            ecgs[place] = node_factory.demo_ecg(ecg_factory, patient, day + "103000")
            ecgs[place].StudyDate, ecgs[place].SeriesInstanceUID = day, generate_uid()
    if archived:
        orthanc.upload(node_factory.encoded(ecgs["archived"]))
    sent = [*([ecgs["received"]] if received else []), *node_factory.demo_study(patient)]
    done = len(mover.events("study_done"))
    assert set(node_factory.send(mover.port, sent, called="SCARMOVE")) == {0}
    node_factory.wait_for(lambda: len(mover.events("study_done")) > done)
    event = mover.events("study_done")[-1]
    assert event["ecg"] is True
    (result,) = (mover.folder / "data" / "results").glob(f"{event['study']}-*/result.json")
    days = json.loads(result.read_text())["ecg"]["gap_days"]
    assert abs(days) < 7, "the one of 2023 was used"
    outcome = mover.events("ecg_query")[-1]["outcome"]
    assert outcome == ("found" if archived else "none")
    rows = mover.rows(
        "SELECT sop_uid FROM objects WHERE kind = 'ecg' AND "
        f"patient = '{patient.lower()}' ORDER BY taken DESC"
    )
    assert {uid for (uid,) in rows} == {str(ecg.SOPInstanceUID) for ecg in ecgs.values()}
    assert rows[0] == (str(ecgs[newest].SOPInstanceUID),)


def test_echo_by_dcmtk(node: Any, dcmtk: Dcmtk) -> None:
    where = ("-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
    assert dcmtk("echoscu", *where).returncode == 0


def test_a_query_by_dcmtk_is_refused(node: Any, dcmtk: Dcmtk) -> None:
    """The node is no archive: nobody learns from it who was here."""
    where = ("-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
    query = ("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
    asked = dcmtk("findscu", "-S", *query, *where)
    assert asked.returncode != 0
    assert "No Acceptable Presentation Contexts" in asked.stdout + asked.stderr
    assert dcmtk("echoscu", *where).returncode == 0


def test_several_senders_at_once(
    node_factory: ModuleType, node: Any, archive: Any, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    """Two DCMTK senders with a study each, at the same time: each gets its own results."""
    studies = [node_factory.demo_study(f"AT-ONCE-{number}") for number in range(2)]
    where = ("-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
    folders = [
        node_factory.write_all(tmp_path / str(number), study)
        for number, study in enumerate(studies)
    ]
    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(lambda files: dcmtk("storescu", *where, *files), folders))
    assert [done.returncode for done in sent] == [0, 0]
    uids = {str(study[0].StudyInstanceUID) for study in studies}
    node_factory.wait_for(lambda: all(len(archive.by_study().get(uid, {})) == 2 for uid in uids))
    found = archive.by_study()
    assert all(len(found[uid]["SEG"]) == len(found[uid]["SR"]) == 1 for uid in uids)


def test_new_results_only_for_new_images(node_factory: ModuleType, node: Any, archive: Any) -> None:
    """The same images again or a localizer more change nothing; late slices do."""
    study = node_factory.demo_study("LATE")
    uid = str(study[0].StudyInstanceUID)
    assert set(node_factory.send(node.port, study[:-2])) == {0}
    node_factory.wait_for(lambda: len(archive.by_study().get(uid, {})) == 2)
    first = archive.by_study()[uid]
    (extra,) = node_factory.demo_study("LATE", uid)[:1]
    extra.SeriesDescription, extra.SeriesNumber = "localizer", 1
    assert set(node_factory.send(node.port, [*study[:-2], extra])) == {0}
    node_factory.wait_for(lambda: node.events("study_unchanged"))
    assert archive.by_study()[uid] == first
    assert set(node_factory.send(node.port, study)) == {0}
    node_factory.wait_for(lambda: len(archive.by_study()[uid]["SR"]) == 2)
    assert len(archive.by_study()[uid]["SEG"]) == 2


def test_a_study_without_lge_fails_and_says_why(node_factory: ModuleType, node: Any) -> None:
    (image,) = node_factory.demo_study("NO-LGE")[:1]
    image.SeriesDescription = "localizer"
    del image.ImageOrientationPatient
    failed = len(node.events("study_failed"))
    assert node_factory.send(node.port, [image]) == [0]
    node_factory.wait_for(lambda: len(node.events("study_failed")) > failed)
    event = node.events("study_failed")[-1]
    assert event["reason"]
    assert "NO-LGE" not in event["reason"]
    assert event["reason"].split(".")[0] in node.get("/")[1]
