"""Status page, metrics and studies over HTTP."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pydicom
import pytest

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.http import metric_help
from scarseg_infer.node.http.status import Status
from scarseg_infer.node.queue.outbox import Outbox
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage


def zipped(contents: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return stream.getvalue()


def ask(
    node: Any, path: str, data: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(f"http://127.0.0.1:{node.status_port}{path}", data, named)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else {}


def test_counters_keep_every_digit(tmp_path: Path) -> None:
    """Monitoring systems derive rates from them."""
    counters = Counters()
    counters.add("objects_received_total", 1_234_567, status="0x0000")
    counters.add("objects_received_total", status="0x0000")
    storage = Storage(tmp_path)
    text = Status(Queue(storage), Outbox(storage), counters, list, dict).metrics()
    assert 'scarseg_node_objects_received_total{status="0x0000"} 1234568' in text


def test_study_by_http(node_factory: ModuleType, node: Any, archive: Any) -> None:
    study = node_factory.demo_study("HTTP")
    files = {f"{n}.dcm": node_factory.encoded(item) for n, item in enumerate(study)}
    body = zipped(files | {"readme.txt": b"no DICOM"})
    code, answer = ask(node, "/studies", body, Content_Type="application/zip")
    assert code == 202
    assert answer["files_left_out"] == 1
    (taken,) = answer["studies"]
    assert taken["objects"] == len(study)
    where = f"/studies/{taken['id']}"
    assert ask(node, where)[1]["state"] == "open"
    # By C-STORE the same objects are known already.
    assert set(node_factory.send(node.port, study)) == {0}
    node_factory.wait_for(
        lambda: [d["state"] for d in ask(node, where)[1]["deliveries"]] == ["sent", "sent"]
    )
    _, found = ask(node, where)
    assert found["state"] == "done"
    assert found["objects"] == len(study)
    assert found["result"]["quantities"]["scar_ml"] >= 0
    at_peer = archive.by_study()[str(study[0].StudyInstanceUID)]
    assert {d["sop_uid"] for d in found["deliveries"]} == at_peer["SEG"] | at_peer["SR"]


def test_ecg_by_http_is_no_study_to_ask_for(
    node_factory: ModuleType, ecg_factory: ModuleType, node: Any
) -> None:
    """It has a StudyInstanceUID of its own, whose state a host would ask for in vain."""
    ecg = node_factory.encoded(node_factory.demo_ecg(ecg_factory, "HTTP-ECG"))
    images = {f"{n}.dcm": node_factory.encoded(item)
              for n, item in enumerate(node_factory.demo_study("HTTP-ECG"))}  # fmt: skip
    code, alone = ask(node, "/studies", zipped({"ecg.dcm": ecg}), Content_Type="application/zip")
    assert (code, alone) == (202, {"studies": [], "ecgs": 1, "files_left_out": 0, "conflicts": 0})
    body = zipped({"ecg.dcm": ecg} | images)
    code, both = ask(node, "/studies", body, Content_Type="application/zip")
    ((number, objects),) = [(study["id"], study["objects"]) for study in both["studies"]]
    assert (code, both["ecgs"], objects) == (202, 1, len(images))
    (others,) = node.rows("SELECT id FROM studies WHERE patient = 'http-ecg' AND images = 0")
    assert ask(node, f"/studies/{others[0]}")[0] == 404
    done = node_factory.wait_for(
        lambda: (found := ask(node, f"/studies/{number}")[1])["state"] == "done" and found
    )
    assert done["result"]["ecg"] is not None


def foreign(node_factory: ModuleType, study: list[Any]) -> dict[str, bytes]:
    """Files in the folders of a PACS export beside the images, for the most part broken."""
    localiser = copy.deepcopy(study[0])
    localiser.SeriesInstanceUID = localiser.SOPInstanceUID = pydicom.uid.generate_uid()
    localiser.file_meta.MediaStorageSOPInstanceUID = localiser.SOPInstanceUID
    del localiser.PixelData
    deflated = copy.deepcopy(localiser)
    deflated.SOPInstanceUID = pydicom.uid.generate_uid()
    deflated.file_meta.MediaStorageSOPInstanceUID = deflated.SOPInstanceUID
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    state = copy.deepcopy(deflated)
    state.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"  # Grayscale Softcopy Presentation State
    state.file_meta.MediaStorageSOPClassUID = state.SOPClassUID
    objects = {"localiser": localiser, "deflated": deflated, "state": state}
    images = {name: node_factory.encoded(item) for name, item in objects.items()}
    return images | {
        "stub": bytes(128) + b"DICM",
        "DICOMDIR": b"no directory",
        "inner.zip": zipped({"a": b"x"}),
        "__MACOSX/._1.dcm": b"\0\5\x16\7",
        "nifti.nii": bytes(400),
    }


def test_foreign_files_by_http_end_no_study(node_factory: ModuleType, node: Any) -> None:
    study = node_factory.demo_study("FOREIGN")
    first, *rest = (node_factory.encoded(item) for item in study)
    body = {f"{n}.dcm": data for n, data in enumerate(rest)} | foreign(node_factory, study)
    body["without preamble.dcm"] = first[132:]
    code, answer = ask(node, "/studies", zipped(body), Content_Type="application/zip")
    assert code == 202
    # Images of another series are taken, whatever is wrong with them: reading them tells.
    assert answer["studies"][0]["objects"] == len(study) + 2
    assert answer["files_left_out"] == 6
    where = f"/studies/{answer['studies'][0]['id']}"
    found = node_factory.wait_for(
        lambda: (s := ask(node, where)[1])["state"] in ("done", "failed") and s
    )
    assert found["state"] == "done", found["reason"]
    said = " ".join(found["result"]["warnings"])
    assert "damaged or incomplete files are no MR images of the LGE series" in said


@pytest.mark.parametrize("end", ["header", "no study"])
def test_an_image_that_would_be_missed_is_refused(
    node_factory: ModuleType, node: Any, end: str
) -> None:
    """Left out, the others would pass for the whole study."""
    study = node_factory.demo_study(f"MISSED-{end.replace(' ', '-')}")
    if end == "no study":
        del study[3].StudyInstanceUID
    contents = [node_factory.encoded(item) for item in study]
    if end == "header":
        contents[3] = contents[3][:400]
    body = zipped({f"{n}.dcm": data for n, data in enumerate(contents)})
    code, answer = ask(node, "/studies", body, Content_Type="application/zip")
    assert code == 422
    said = {"header": "no PixelData, or is cut short", "no study": "lacks StudyInstanceUID"}
    assert said[end] in answer["error"]


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"x", {"Content_Type": "text/plain"}, 415),
        (b"x", {"Content_Type": "application/zip"}, 422),
        (zipped({}), {"Content_Type": "application/zip"}, 422),
        (zipped({"../../etc/x": b"x"}), {"Content_Type": "application/zip"}, 422),
        (zipped({"a.dcm": b"\0" * 128 + b"DICM" + b"\xff" * 99}),
         {"Content_Type": "application/zip"}, 422),
        (b"x", {"Content_Type": "application/zip", "Host": "evil.example:80"}, 421),
        (b"x", {"Content_Type": "application/zip", "Content_Length": str(1 << 40)}, 413),
        (b"x", {"Content_Type": "application/zip", "Content_Length": "-5"}, 400),
    ],
    ids=["type", "no zip", "empty", "path", "damaged", "host", "too long", "length"],
)  # fmt: skip
def test_posts_that_are_refused(node: Any, body: bytes, headers: dict[str, str], code: int) -> None:
    assert ask(node, "/studies", body, **headers)[0] == code


@pytest.mark.parametrize(
    "path", ["/studies/999999", "/studies/x", "/studies/01", "/studies/1/../2", "/x", "/../etc"]
)
def test_what_is_not_there(node: Any, path: str) -> None:
    assert ask(node, path)[0] == 404


def test_metrics_are_prometheus_text(node: Any) -> None:
    code, text = node.get("/metrics")
    assert code == 200
    line = re.compile(r'scarseg_node_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')
    names, helped = [], []
    for found in text.splitlines():
        if found.startswith("# HELP "):
            helped.append(found.split()[2])
            assert len(found.split()) > 3
        elif found.startswith("# TYPE "):
            names.append(found.split()[2])
        else:
            assert line.fullmatch(found), found
            assert re.match("[a-z_]+", found)[0] == names[-1]  # type: ignore[index]
    assert len(names) == len(set(names))
    assert helped == names
    assert "scarseg_node_studies" in names
    assert node.metric("healthy") == 1


def test_start_says_what_was_configured(node: Any) -> None:
    (event,) = node.events("started")
    assert (event["ae_title"], event["port"], event["tls"]) == ("SCARSEG", node.port, False)
    assert (event["status_port"], event["api"], event["peers"]) == (node.status_port, True, 1)


def test_every_metric_says_what_it_is() -> None:
    """Those too that a node shows only once something has gone wrong."""
    folder = Path(metric_help.__file__).parents[1]
    source = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    counted = set(re.findall(r'_counters\.add\(\s*"([a-z_]+)"', source))
    shown = set(re.findall(r'\badd\(\s*"([a-z_]+)", "gauge"', source))
    assert {"deliveries_given_up_total", "studies"} <= counted | shown
    gauges = {"associations", "disk_free_bytes"}  # of Node.gauges; all of them are in /metrics
    assert counted | shown | gauges == set(metric_help.HELP)


def test_page_counts_what_it_does_not_list(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    outbox = Outbox(storage)
    with storage.change() as database:
        for number in range(150):
            database.execute(
                "INSERT INTO deliveries VALUES (?, 'p', 0, 'pending', 0, 0, 0, NULL, ?)",
                (f"1.{number}", f"status 0x{number:04X}"),
            )
    page = Status(Queue(storage), outbox, Counters(), list, dict).page()
    assert "Objects to be sent: 150" in page
    assert page.count("status 0x") == 100


def test_page_is_html(node: Any) -> None:
    code, text = node.get("/")
    assert code == 200
    assert "Not a medical device" in text
