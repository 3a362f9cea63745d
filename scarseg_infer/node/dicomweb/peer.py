"""``[[dicomweb]]``: a DICOMweb server that gets results or is asked for ECGs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from scarseg_infer.dicomweb.extra import check_installed
from scarseg_infer.node.toml_file import Choice, Text
from scarseg_runtime.errors import UsageError

if TYPE_CHECKING:
    from scarseg_infer.dicomweb.server import WebServer


class Url(Text):
    """Address of a DICOMweb service."""

    @classmethod
    def checked(cls, text: str) -> str:
        check_installed()
        from scarseg_infer.dicomweb.server import checked_url

        return checked_url(super().checked(text))


class AskForEcgs(Choice):
    """The studies for which a server is asked for an ECG."""

    known = ("never", "missing", "always")


class WebPeer(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[dicomweb]]``: one server."""

    name: Text
    """Its name in logs and metrics."""
    url: Url
    results: bool = True
    """Does it get results, by STOW-RS?"""
    ecgs: AskForEcgs = AskForEcgs("never")
    """Is it asked for ECGs, by QIDO-RS and WADO-RS?"""
    token_file: Path | None = None
    login_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 60
    """Silence after which an answer is given up."""

    @property
    def server(self) -> WebServer:
        """The server as the client takes it."""
        from scarseg_infer.dicomweb.server import WebServer

        return WebServer(
            self.url, self.token_file, self.login_file, self.ca, self.certificate, self.key,
            self.timeout_s,
        )  # fmt: skip

    def check(self, key: str) -> None:
        """Check the files for TLS and login, as the start does.

        Args:
            key: of this table, for the message.

        Raises:
            UsageError: they cannot be used.
        """
        try:
            self.server.check()
        except UsageError as error:
            raise UsageError(f"{key}: {error.what}", error.advice) from error
