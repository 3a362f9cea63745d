"""Studies by their address: the command line and a real Orthanc with its DICOMweb plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from scarseg_infer.cli import main
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.dicomweb.fetched import FetchedFiles
from scarseg_infer.study.files import MAX_FILES
from scarseg_runtime.errors import StudyError

PATIENT = "SECRET-ID-4711"
TWIN = DEMO_ECG.with_name("twin.dcm")


def encoded(dataset: pydicom.Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def of_patient(patient: str, *, study: str = "", ecg: bool = True) -> list[pydicom.Dataset]:
    """The demonstration study as that of another patient, its ECG last."""
    uid, series = study or generate_uid(), generate_uid()
    images = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID = uid, series
    found = [*images, pydicom.dcmread(TWIN)] if ecg else images
    for one in found:
        one.PatientID = patient
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if ecg:
        found[-1].StudyInstanceUID, found[-1].SeriesInstanceUID = generate_uid(), generate_uid()
    return found


@pytest.fixture(scope="module")
def study(orthanc_web: Any) -> list[pydicom.Dataset]:
    """In Orthanc: a study, an ECG of its patient in a study of its own, one of another patient."""
    found = of_patient(PATIENT)
    stranger = of_patient("SECRET-ID-9")[-1]
    stranger.StudyDate = "20991231"
    orthanc_web.upload(*map(encoded, [*found, stranger]))
    return found


@pytest.fixture
def run(orthanc_web: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command line; gives exit code, what was said, and the document of the result."""

    def ran(*words: str, login: bool = True) -> tuple[int, str, dict[str, Any]]:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        options = ["-o", str(out), "--only", "json", "--provider", "cpu", "--threads", "1"]
        options += ["--login-file", str(orthanc_web.login_file)] if login else []
        code = main([*words, *options])
        told = "".join(capfd.readouterr())
        assert "SECRET" not in told and "scar:seg" not in told
        file = out / "result.json"
        assert file.exists() == (code == 0)
        return code, told, json.loads(file.read_text()) if file.exists() else {}

    return ran


def url(orthanc: Any, one: pydicom.Dataset, *, series: bool = False) -> str:
    found = f"{orthanc.url}/studies/{one.StudyInstanceUID}"
    return f"{found}/series/{one.SeriesInstanceUID}" if series else found


def test_an_address_gives_what_the_folder_gives(
    orthanc_web: Any, study: list[pydicom.Dataset], run: Callable[..., Any], tmp_path: Path
) -> None:
    """With the patient's ECG from the server, or one that is named by address or file."""
    for number, image in enumerate(study[:-1]):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    study[-1].save_as(tmp_path / "ecg.dcm", enforce_file_format=True)
    _, _, folder = run(str(tmp_path), str(tmp_path / "ecg.dcm"))
    address = url(orthanc_web, study[0])
    for words in (
        (address,),
        (address, url(orthanc_web, study[-1])),
        (url(orthanc_web, study[0], series=True), str(tmp_path / "ecg.dcm")),
        (str(tmp_path), url(orthanc_web, study[-1], series=True)),
    ):
        code, told, found = run(*words)
        assert code == 0, told
        assert found["quantities"] == folder["quantities"]
        assert found["ecg"]["gap_days"] == folder["ecg"]["gap_days"]
        assert found["ecg"]["weight"] == folder["ecg"]["weight"] > 0
        assert ("the newest of the patient on the server" in told) == (len(words) == 1)


def test_the_ecg_in_the_study_itself_comes_first(
    orthanc_web: Any, study: list[pydicom.Dataset], run: Callable[..., Any]
) -> None:
    whole = of_patient(PATIENT)
    whole[-1].StudyInstanceUID = whole[0].StudyInstanceUID
    orthanc_web.upload(*map(encoded, whole))
    code, told, found = run(url(orthanc_web, whole[0]))
    assert code == 0 and found["ecg"]["given"]
    assert "the one in the study was used" in told and "on the server" not in told


def test_a_study_without_an_ecg_says_so(orthanc_web: Any, run: Callable[..., Any]) -> None:
    lonely = of_patient("SECRET-LONELY", ecg=False)
    wild = of_patient("SECRET*", ecg=False)
    orthanc_web.upload(*map(encoded, [*lonely, *wild]))
    for images, why in ((lonely, "no ECG of the patient"), (wild, "no patient identifier")):
        code, told, found = run(url(orthanc_web, images[0]))
        assert code == 0 and not found["ecg"]["given"]
        assert why in told


def test_series_of_an_address_are_listed(
    orthanc_web: Any, study: list[pydicom.Dataset], capfd: pytest.CaptureFixture[str]
) -> None:
    login = ["--login-file", str(orthanc_web.login_file)]
    assert main([url(orthanc_web, study[0]), "--list-series", *login]) == 0
    assert capfd.readouterr().out.startswith("*   1   10 slices")


def test_a_real_archive_that_asks_for_a_token(
    orthanc_token: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The right one, another one, none, and the right one again once both sides have changed it."""
    images = of_patient(PATIENT)
    orthanc_token.upload(*map(encoded, images))
    token, out = tmp_path / "token", tmp_path / "out"
    words = [url(orthanc_token, images[0]), "-o", str(out), "--only", "json", "--threads", "1"]
    first = orthanc_token.accepted.read_text()

    def ran(*more: str) -> tuple[int, str]:
        code = main([*words, *more])
        told = "".join(capfd.readouterr())
        assert first not in told and "SECRET" not in told
        return code, told

    token.write_text(f"{first}\n")
    code, told = ran("--token-file", str(token))
    assert code == 0 and "the newest of the patient on the server" in told
    (out / "result.json").unlink()
    refused = "the study cannot be fetched: status 403."
    orthanc_token.accepted.write_text("t0ken-2")
    for more in (["--token-file", str(token)], []):
        code, told = ran(*more)
        assert (code, told.count("\n"), list(out.iterdir())) == (3, 1, [])
        assert refused in told
    token.write_text("t0ken-2\n")
    assert ran("--token-file", str(token))[0] == 0


def test_what_goes_wrong_has_a_code_and_one_line(
    orthanc_web: Any, study: list[pydicom.Dataset], run: Callable[..., Any], web_peers: ModuleType,
    web_server: Callable[..., Any], free_ports: Callable[[int], list[int]],
) -> None:  # fmt: skip
    address = url(orthanc_web, study[0])
    proxy = web_peers.Proxy(*free_ports(1), orthanc_web.port)
    proxy.limit = 100_000
    half = address.replace(str(orthanc_web.port), str(proxy.port))
    page = web_server(web_peers.answer("200 OK", b"<html>SECRET</html>", "text/html"))
    (nobody,) = free_ports(1)
    for words, login, code, what in (
        ((address,), False, 3, "the study cannot be fetched: status 401."),
        ((address[:-1],), True, 3, "the study cannot be fetched: status 404."),
        ((half,), True, 3, "the study cannot be fetched: the answer is cut short"),
        ((f"{page.url}/studies/1.2",), True, 3, "the study cannot be fetched: answers with some"),
        ((f"http://127.0.0.1:{nobody}/studies/1.2",), True, 3, "not reachable"),
        ((str(DEMO_STUDY), address[:-1]), True, 4, "the ECG cannot be fetched: status 404."),
        ((str(DEMO_STUDY), address), True, 4, "no 12-lead ECG that can be read"),
        ((url(orthanc_web, study[-1]),), True, 3, "no MR image"),
        ((f"{orthanc_web.url}/studies",), True, 2, "not that of a study"),
        ((f"{address}/metadata",), True, 2, "not that of a study"),
        ((f"{address}?x=1",), True, 2, "not that of a study"),
        ((address.replace("127.0.0.1", "archive.example"),), True, 2, "unencrypted"),
        ((address, "--web-timeout", "0"), True, 2, "--web-timeout must be above 0"),
        ((address, "--token-file", "nothing"), False, 2, "the token file cannot be used"),
    ):
        found, told, _ = run(*words, login=login)
        assert (found, told.count("\n")) == (code, 1), told
        assert what in told
        assert str(study[0].StudyInstanceUID) not in told
    proxy.close()


def test_a_large_study_takes_little_memory_and_leaves_nothing(
    orthanc_web: Any, run: Callable[..., Any], dicom_factory: ModuleType, tmp_path: Path
) -> None:
    """Some 64 MB of cine beside the LGE go to a file without a name."""
    study = of_patient("SECRET-LARGE")
    lge, ecg = study[:-1], study[-1]
    pixels = np.random.default_rng(1).integers(0, 4000, (1, 1024, 1024)).astype(np.uint16)
    image = dicom_factory.cine(phases=1, slices=1)[0]
    image.PatientID, image.StudyInstanceUID = lge[0].PatientID, lge[0].StudyInstanceUID
    image.Rows = image.Columns = 1024
    image.PixelData = pixels.tobytes()
    for number in range(32):
        image.InstanceNumber, image.SOPInstanceUID = number, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        orthanc_web.upload(encoded(image))
    orthanc_web.upload(*map(encoded, [*lge, ecg]))
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("tmp*"))
    command = (
        "import resource, sys; from scarseg_infer.dicomweb.inputs import address, _fetch_study;"
        "from scarseg_infer.dicomweb.fetched import FetchedFiles; from scarseg_infer.cli import "
        "parser; options = parser().parse_args(sys.argv[1:]);\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with FetchedFiles() as files:\n"
        "    _fetch_study(address(options.study, options), files)\n"
        "    print(len(files), sum(len(files.read(i)) for i in range(len(files))))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) >> 10)"
    )
    login = ["--login-file", str(orthanc_web.login_file)]
    done = subprocess.run(
        [sys.executable, "-c", command, url(orthanc_web, lge[0]), *login],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    count, size, grown_mb = map(int, done.stdout.split())
    assert count == 42 and size > 64 << 20
    assert grown_mb < 40, "the study was held in memory"
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("tmp*")) <= before


def test_the_number_of_objects_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with FetchedFiles() as files:
        for content in (b"a", None, b"", b"bc"):
            files.add(content)
        assert [files.read(index) for index in range(len(files))] == [b"a", None, b"", b"bc"]
        monkeypatch.setattr("scarseg_infer.dicomweb.fetched.MAX_FILES", 4)
        assert MAX_FILES > 4
        with pytest.raises(StudyError, match="more than 4"):
            files.add(b"d")


@pytest.fixture
def without_temporary_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    yield


def test_a_full_disk_is_said(without_temporary_files: None) -> None:
    with pytest.raises(StudyError, match="No space left"):
        FetchedFiles()
