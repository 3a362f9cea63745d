"""TLS with DICOMweb servers: an authority of our own, certificates of both sides."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest

from scarseg_infer.demo import DEMO_ECG
from scarseg_infer.dicomweb import errors
from scarseg_infer.dicomweb.client import DicomWeb
from scarseg_infer.dicomweb.errors import DicomWebError
from scarseg_infer.dicomweb.server import WebServer
from scarseg_runtime.errors import RunTimeoutError, UsageError
from scarseg_runtime.run_control import NO_LIMITS, RunControl


@pytest.fixture(scope="module")
def certificates(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]
) -> Path:
    """ca.pem and other.pem, and signed by the first, for 127.0.0.1, server.pem and client.pem."""
    openssl, folder = program("openssl", "openssl"), tmp_path_factory.mktemp("tls")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name, extra in (
        ("ca", []), ("other", []),
        ("server", ["-CA", "ca.pem", "-CAkey", "ca.key"]),
        ("client", ["-CA", "ca.pem", "-CAkey", "ca.key"]),
    ):  # fmt: skip
        signed = [*extra, "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
                  "basicConstraints=critical,CA:FALSE"] if extra else []  # fmt: skip
        subprocess.run(
            [openssl, "req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.pem",
             "-subj", f"/CN={name}", *signed],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return folder


@pytest.fixture
def secure(
    certificates: Path, web_server: Callable[..., Any], web_peers: ModuleType
) -> Callable[..., Any]:
    """Starts a server of one object that asks for a client certificate, or not."""

    def start(*, ask: bool) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
        return web_server(web_peers.answer("200 OK", b"x", "application/dicom"), context)

    return start


def got(url: str, control: RunControl = NO_LIMITS, **files: Path) -> list[bytes | None]:
    server = WebServer(url, timeout_s=3, **files)
    server.check()
    with DicomWeb(server, control, object_bytes=9, all_bytes=99) as web:
        return list(web.objects("1.2"))


def why(url: str, **files: Path) -> str:
    with pytest.raises(DicomWebError) as failure:
        got(url, **files)
    return failure.value.what


def test_only_the_authority_that_is_named_counts(
    secure: Callable[..., Any], certificates: Path
) -> None:
    server = secure(ask=False)
    assert got(server.url, ca=certificates / "ca.pem") == [b"x"]
    assert why(server.url, ca=certificates / "other.pem") == errors.TLS_FAILED
    assert why(server.url) == errors.TLS_FAILED  # the system's
    by_name = server.url.replace("127.0.0.1", "localhost")
    assert why(by_name, ca=certificates / "ca.pem") == errors.TLS_FAILED
    assert len(server.asked) == 1


def test_a_client_certificate_is_shown(secure: Callable[..., Any], certificates: Path) -> None:
    server, ca = secure(ask=True), certificates / "ca.pem"
    own = {"certificate": certificates / "client.pem", "key": certificates / "client.key"}
    assert got(server.url, ca=ca, **own) == [b"x"]
    assert why(server.url, ca=ca) == errors.TLS_FAILED
    with pytest.raises(UsageError, match="do not belong together"):
        got(server.url, ca=ca, certificate=own["certificate"], key=certificates / "ca.key")


def test_no_tls_at_the_other_end(
    web_server: Callable[..., Any], web_peers: ModuleType, certificates: Path
) -> None:
    """A server that speaks plainly, and one that stalls amid the handshake."""
    plain = web_server(web_peers.answer("200 OK", b"x", "application/dicom"))
    address = plain.url.replace("http:", "https:")
    assert why(address, ca=certificates / "ca.pem") in (errors.TLS_FAILED, errors.NO_ANSWER)

    def stalled(_: Any) -> Iterator[bytes]:
        time.sleep(20)
        yield b""

    server = web_server(stalled)
    with pytest.raises(RunTimeoutError):
        got(
            server.url.replace("http:", "https:"), RunControl(None, 0.5),
            ca=certificates / "ca.pem",
        )  # fmt: skip


def test_a_real_archive_over_https_with_a_login(
    web_peers: ModuleType,
    orthanc_web: Any,
    free_ports: Callable[[int], list[int]],
    certificates: Path,
    tmp_path: Path,
) -> None:
    """Stored by STOW-RS, found and read; not with another authority, nor with another login. TLS
    ends before the archive: Debian's Orthanc 1.10 itself crashes at its first request by HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    front = web_peers.Proxy(*free_ports(1), orthanc_web.port, context)
    file = DEMO_ECG.with_name("twin.dcm").read_bytes()
    ecg = pydicom.dcmread(BytesIO(file))
    (tmp_path / "other").write_text("scar:let\n")

    def opened(login: Path = orthanc_web.login_file, ca: str = "ca.pem") -> DicomWeb:
        address = f"https://127.0.0.1:{front.port}/dicom-web"
        server = WebServer(address, login_file=login, ca=certificates / ca)
        server.check()
        return DicomWeb(server, object_bytes=10**7, all_bytes=10**7)

    with opened() as web:
        web.store(file, ecg.SOPInstanceUID)
        assert web.ecg_studies(ecg.PatientID) == [ecg.StudyInstanceUID]
        [found] = web.objects(ecg.StudyInstanceUID)
    assert found is not None
    assert pydicom.dcmread(BytesIO(found)).WaveformSequence == ecg.WaveformSequence
    for refused, why in (
        (opened(tmp_path / "other"), "status 401"),
        (opened(ca="other.pem"), errors.TLS_FAILED),
    ):
        with refused as web, pytest.raises(DicomWebError) as failure:
            list(web.objects(ecg.StudyInstanceUID))
        assert failure.value.what == why
    front.close()
