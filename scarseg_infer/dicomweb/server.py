"""A DICOMweb server and how one logs in there: address, TLS files, token or login file."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth

from scarseg_infer.dicomweb.errors import LOGIN_FILE, TOKEN_FILE, DicomWebError
from scarseg_runtime.edited_text import decoded_text
from scarseg_runtime.errors import UsageError

MAX_SECRET_BYTES: Final = 64 << 10
"""Of a token or login file; tokens with many claims take some kB."""
SILENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class WebServer:
    """A DICOMweb service and the files needed to speak to it.

    Attributes:
        url: of the service, without ``/studies`` and what follows; see :func:`checked_url`.
        token_file: holds a bearer token. Read for each request, so a new one counts at once.
        login_file: holds ``user:password`` for basic authentication, read likewise.
        ca: authority that signs the server's certificate; None for those of the system.
        certificate, key: of this client, in PEM, the key without a password.
        timeout_s: silence after which an answer is given up.
    """

    url: str
    token_file: Path | None = None
    login_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = SILENCE_S

    def check(self) -> None:
        """Check what can be checked without calling the server.

        Raises:
            UsageError: files cannot be used or do not fit, or a secret would go out unencrypted.
        """
        if self.token_file and self.login_file:
            raise UsageError("there is both a token and a login file", "Leave one out")
        if (self.token_file or self.login_file) and _in_the_open(urlsplit(self.url)):
            raise UsageError(
                "a token or login would go to another machine unencrypted", "Use https://"
            )
        if bool(self.certificate) != bool(self.key):
            raise UsageError("a client certificate needs its key, and a key its certificate")
        if urlsplit(self.url).scheme == "https" or self.ca or self.certificate:
            self.tls()
        try:
            if login := self.login():
                login.header()
        except DicomWebError as error:
            raise UsageError(error.what, error.advice) from error

    def login(self) -> FileAuth | None:
        """Authentication that puts the login into requests; None where there is none."""
        if self.token_file:
            return FileAuth(self.token_file, bearer=True)
        return FileAuth(self.login_file, bearer=False) if self.login_file else None

    def tls(self) -> ssl.SSLContext:
        """TLS for connections to the server (BCP 195: 1.2 or newer).

        Raises:
            UsageError: the files do not fit together.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise UsageError(
                "the CA file, the client certificate or its key cannot be used, or certificate "
                "and key do not belong together",
                "Give PEM files, the key without a password",
            ) from error
        return context


class FileAuth(AuthBase):
    """Authentication by the content of a file, which is read for each request."""

    def __init__(self, file: Path, *, bearer: bool) -> None:
        self._file, self._bearer = file, bearer

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the header into a request. Raises DicomWebError where the file cannot be used."""
        request.headers["Authorization"] = self.header()
        return request

    def header(self) -> str:
        """Value of the header Authorization.

        Raises:
            DicomWebError: the file cannot be read, or holds no token or login.
        """
        unusable = DicomWebError(TOKEN_FILE if self._bearer else LOGIN_FILE)
        try:
            with self._file.open("rb") as file:
                secret = decoded_text(file.read(MAX_SECRET_BYTES + 1)).strip()
        except (OSError, ValueError):
            raise unusable from None
        if not secret or len(secret) > MAX_SECRET_BYTES or not secret.isprintable():
            raise unusable
        if self._bearer:
            if not secret.isascii() or " " in secret:
                raise unusable
            return f"Bearer {secret}"
        user, colon, password = secret.partition(":")
        if not colon:
            raise unusable
        basic = HTTPBasicAuth(user.encode(), password.encode())  # RFC 7617: UTF-8
        return str(basic(PreparedHeaders()).headers["Authorization"])


class PreparedHeaders(PreparedRequest):
    """A request of nothing but headers."""

    def __init__(self) -> None:
        super().__init__()
        self.prepare_headers(None)


def checked_url(text: str) -> str:
    """Address of a service as it is used: without blanks around it and slash behind it.

    Raises:
        ValueError: it is none; says how it must be, and quotes nothing.
    """
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is no address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        raise ValueError("must be an address such as https://archive.example/dicom-web")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a login: put it into a file")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment")
    if not url.isascii() or any(not character.isprintable() or character in ' "<>\\^`{|}'
                                for character in url):  # fmt: skip
        raise ValueError("must be of ASCII without blanks")
    return url


def _in_the_open(parts: SplitResult) -> bool:
    """Would others on the network see what is sent there?"""
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def _no_password() -> str:
    raise ValueError("the key has a password")  # else OpenSSL would ask for it at the terminal
