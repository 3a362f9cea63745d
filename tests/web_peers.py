"""DICOMweb servers for the tests: a real Orthanc, a scripted one, and a wire that is cut."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    Request,
    build_opener,
)

START_S = 60.0
LOGIN = "scar:seg"
TOKEN = "t0ken-1"
# Asked by Orthanc for each request. It has no tokens of its own, and answers 403 upon false.
TOKEN_FILTER = """
function IncomingHttpRequestFilter(method, uri, ip, username, httpHeaders)
  local file = io.open('{accepted}')
  local accepted = file:read('*l')
  file:close()
  return httpHeaders['authorization'] == 'Bearer ' .. accepted
end
"""
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")


def plugin() -> Path | None:
    """Orthanc's DICOMweb plugin (Debian: orthanc-dicomweb)."""
    found = [path for folder in PLUGINS for path in Path(folder).glob("libOrthancDicomWeb.so*")]
    return found[0] if found else None


class Orthanc:
    """An Orthanc with its DICOMweb plugin, that can be stopped and started again. It asks for a
    login, or for a token: then the one in ``accepted`` counts."""

    def __init__(
        self, program: str, folder: Path, http_port: int, dicom_port: int, *, token: bool = False
    ) -> None:
        self._command, self._log = [program, str(folder / "orthanc.json")], folder / "log"
        self.base = f"http://127.0.0.1:{http_port}"
        self.url = f"{self.base}/dicom-web"
        self.port = http_port
        self.login_file = folder / "login"
        self.login_file.write_text(LOGIN + "\n")
        self._server: subprocess.Popen[bytes] | None = None
        user, password = LOGIN.split(":")
        configuration = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(plugin())],
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {user: password},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self.accepted = folder / "accepted"
        if token:
            self.accepted.write_text(TOKEN)
            (folder / "token.lua").write_text(TOKEN_FILTER.format(accepted=self.accepted))
            configuration |= {"AuthenticationEnabled": False, "LuaScripts": ["token.lua"]}
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        passwords = HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, self.base, user, password)
        self._opener = build_opener(*([] if token else [HTTPBasicAuthHandler(passwords)]))

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._server.poll() is None:
            try:
                self.ask("/system")
            except (URLError, OSError):
                time.sleep(0.1)
            else:
                return
        raise AssertionError("Orthanc did not start: " + self._log.read_text()[-2000:])

    def stop(self) -> None:
        if self._server:
            self._server.terminate()
            self._server.wait(30)

    def ask(self, path: str, body: Any = None) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        bearer = f"Bearer {self.accepted.read_text()}" if self.accepted.exists() else ""
        headers = {"Authorization": bearer} if bearer else {}
        with self._opener.open(Request(self.base + path, data, headers), timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def upload(self, *files: bytes) -> None:
        for data in files:
            self.ask("/instances", data)

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        body = {"Level": level, "Query": query, "Expand": True}
        found: list[dict[str, Any]] = self.ask("/tools/find", body)
        return found


@dataclass
class Asked:
    """A request that came."""

    head: str
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(" ")[1]

    def header(self, name: str) -> str:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""


Script = Callable[[Asked], Iterable[bytes]]


@dataclass
class ScriptedServer:
    """Answers each request with bytes as a function gives them, then closes the connection."""

    port: int
    script: Script
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self._over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/dicom-web"

    def close(self) -> None:
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with suppress(OSError):
            peer.settimeout(30)
            if self.tls:
                peer = self.tls.wrap_socket(peer, server_side=True)
            with peer:
                asked = _request(peer)
                self.asked.append(asked)
                for part in self.script(asked):
                    if self._over.is_set():
                        return
                    peer.sendall(part)


def _request(peer: socket.socket) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(1 << 16)
        if not more:
            raise ConnectionError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    asked = Asked(head.decode(), b"")
    length = int(asked.header("Content-Length") or 0)
    while len(body) < length and (more := peer.recv(1 << 16)):
        body += more
    return Asked(asked.head, body)


def answer(status: str, body: bytes = b"", kind: str = "", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def multipart(files: Iterable[bytes], boundary: str = "b0undary") -> bytes:
    """The body of an answer with DICOM files."""
    heads = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(heads + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()


MULTIPART = 'multipart/related; type="application/dicom"; boundary=b0undary'


class Proxy:
    """Passes on what comes to a port, and of what is answered ``limit`` bytes at most: then it ends
    both connections as if they had ended in order. With a limit of 0 it passes no answer on and
    leaves the connections open. With ``tls`` it is the end of TLS, as before many archives."""

    def __init__(self, port: int, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.limit, self._tls = port, 1 << 40, tls
        self.held = threading.Event()
        """Set once something of an answer was held back."""
        self._target = target_port
        self.silent = threading.Event()
        """Set once that was so with a limit of 0, and not ``held``."""
        self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._tls:
                    peer = self._tls.wrap_socket(peer, server_side=True)
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                peer.close()
                continue
            for job in (self._there, self._back):
                threading.Thread(target=job, args=(peer, server), daemon=True).start()

    def _there(self, peer: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := peer.recv(1 << 16):
                server.sendall(data)
        _end(server)

    def _back(self, peer: socket.socket, server: socket.socket) -> None:
        # Once for the connection: a test sets another as soon as it hears that something was held.
        limit = left = self.limit
        with suppress(OSError):
            while data := server.recv(1 << 16):
                peer.sendall(data[:left])
                if len(data) > left:
                    if limit:
                        self.held.set()
                        _end(server)
                        break
                    self.silent.set()
                left = max(0, left - len(data))
        if limit:
            _end(peer)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
