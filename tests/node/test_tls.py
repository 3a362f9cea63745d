"""TLS in both directions, with an authority of our own."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace
from pydicom.uid import SegmentationStorage

from scarseg_infer.node.config import read_config
from scarseg_infer.node.dicom.client import Client, NoAssociationError
from scarseg_infer.node.dicom.tls import Tls, client_context
from scarseg_infer.node.hl7.message import NoAcknowledgementError
from scarseg_infer.node.hl7.mllp import Connection
from scarseg_infer.node.hl7.peer import Hl7Peer

Dcmtk = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def certificates(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]
) -> Path:
    """ca.pem and, signed by it for 127.0.0.1, node.pem and peer.pem with their keys."""
    openssl = program("openssl", "openssl")
    folder = tmp_path_factory.mktemp("tls")

    def make(*arguments: str) -> None:
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(
            [openssl, "req", "-x509", *new, "-days", "2", *arguments],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip

    for ca in ("ca", "other"):
        make("-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name, ca in (("node", "ca"), ("peer", "ca"), ("stranger", "other")):
        make(
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
            "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
    return folder


def context(folder: Path, name: str, server: bool = False) -> ssl.SSLContext:
    kind = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    found = ssl.SSLContext(kind)
    found.verify_mode = ssl.CERT_REQUIRED
    found.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    found.load_verify_locations(folder / "ca.pem")
    return found


@pytest.fixture(scope="module")
def secure(
    node_factory: ModuleType, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    """A node and an archive that speak nothing but TLS."""
    archive = node_factory.Archive(*node_factory.free_ports(1))
    node = node_factory.make_node(
        tmp_path_factory.mktemp("node"),
        [node_factory.peer_table(archive.port, extra="tls = true")],
        study=node_factory.SOON_QUIET,
        tls="\n".join(
            f'{key} = "{certificates / file}"'
            for key, file in (("certificate", "node.pem"), ("key", "node.key"), ("ca", "ca.pem"))
        ),
    )
    archive.start(context(certificates, "peer", server=True))
    node.start()
    yield node, archive
    node.kill()
    archive.stop()


def test_study_goes_in_and_results_come_back(
    node_factory: ModuleType,
    secure: tuple[Any, Any],
    certificates: Path,
    dcmtk: Dcmtk,
    tmp_path: Path,
) -> None:
    node, archive = secure
    files = node_factory.write_all(tmp_path, node_factory.demo_study())
    done = dcmtk(
        "storescu", "+tls", certificates / "peer.key", certificates / "peer.pem",
        "+cf", certificates / "ca.pem", "-aet", "SENDER", "-aec", "SCARSEG",
        "127.0.0.1", node.port, *files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    node_factory.wait_for(lambda: len(archive.objects) == 2)


def test_callers_without_a_certificate_of_ours_are_refused(
    secure: tuple[Any, Any], certificates: Path, dcmtk: Dcmtk
) -> None:
    node, _ = secure
    where = ("-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
    plain, anonymous = (), ("+tla", "-ic")
    stranger = ("+tls", certificates / "stranger.key", certificates / "stranger.pem", "-ic")
    for arguments in (plain, anonymous, stranger):
        assert dcmtk("echoscu", "-to", "5", *arguments, *where).returncode != 0, arguments
    ours = ("+tls", certificates / "peer.key", certificates / "peer.pem", "-ic")
    assert dcmtk("echoscu", *ours, *where).returncode == 0


def test_handshake_that_never_ends_holds_up_nobody(
    secure: tuple[Any, Any], certificates: Path, dcmtk: Dcmtk
) -> None:
    node, _ = secure
    ours = ("+tls", certificates / "peer.key", certificates / "peer.pem", "-ic")
    with socket.create_connection(("127.0.0.1", node.port)) as silent:
        silent.sendall(b"\x16\x03\x01")
        where = ("-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
        assert dcmtk("echoscu", "-to", "5", *ours, *where).returncode == 0


def why_not(node: Any, certificates: Path, port: int, own: str = "node") -> str:
    """Reason told of a peer with TLS that the node calls, with a certificate of ours."""
    config = read_config(node.folder / "node.toml")
    assert config.tls
    files = {"certificate": certificates / f"{own}.pem", "key": certificates / f"{own}.key"}
    config = replace(config, tls=replace(config.tls, **files))
    with pytest.raises(NoAssociationError) as caught:
        Client(config, replace(config.peers[0], port=port)).associate([SegmentationStorage])
    return str(caught.value)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("own", "theirs"), [("stranger", "peer"), ("node", "stranger")])
def test_certificate_that_one_side_does_not_know(
    node_factory: ModuleType,
    secure: tuple[Any, Any],
    certificates: Path,
    newest: ssl.TLSVersion,
    own: str,
    theirs: str,
) -> None:
    """With TLS 1.3 the peer refuses ours only after the handshake."""
    server = context(certificates, theirs, server=True)
    server.maximum_version = newest
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            caller, _ = listening.accept()
            with suppress(OSError), server.wrap_socket(caller, server_side=True) as secured:
                secured.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = int(listening.getsockname()[1])
        assert why_not(secure[0], certificates, port, own) == "TLS failed"
        thread.join(10)


def test_peer_without_tls_and_peer_that_is_down(
    node_factory: ModuleType, secure: tuple[Any, Any], certificates: Path
) -> None:
    plain = node_factory.Archive(*node_factory.free_ports(1))
    assert why_not(secure[0], certificates, plain.port) == "not reachable"
    plain.start()
    assert why_not(secure[0], certificates, plain.port) == "TLS failed"
    plain.stop()


@pytest.mark.parametrize(
    ("own", "theirs", "answer"),
    [("node", "peer", b"MSA"), ("stranger", "peer", None), ("node", "stranger", None)],
)
def test_messages_go_over_tls_to_those_of_our_authority_only(
    certificates: Path, own: str, theirs: str, answer: bytes | None
) -> None:
    server, got = context(certificates, theirs, server=True), []
    files = {"certificate": certificates / f"{own}.pem", "key": certificates / f"{own}.key"}
    tls = client_context(Tls(**files, ca=certificates / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            caller, _ = listening.accept()
            with suppress(OSError), server.wrap_socket(caller, server_side=True) as secured:
                got.append(secured.recv(4096))
                secured.sendall(b"\x0bMSA\x1c\r")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = int(listening.getsockname()[1])
        peer = Hl7Peer("ris", "127.0.0.1", port, tls=True)  # type: ignore[arg-type]
        try:
            connection = Connection(peer, tls)
            assert connection.ask(b"MSH") == answer
            connection.close()
        except NoAcknowledgementError as failure:
            assert answer is None and str(failure) in ("TLS failed", "connection lost")
        thread.join(10)
    assert got == ([b"\x0bMSH\x1c\r"] if answer else [])
