"""The configuration of the node: a TOML file in, checked values out.

The classes are the tables of the file: keys, bounds and defaults are those of their fields.
``deploy/scarseg-node.toml`` is an example with every key explained.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from scarseg_infer.node.dicom.tls import Tls, server_context
from scarseg_infer.node.dicomweb.peer import WebPeer
from scarseg_infer.node.hl7.peer import Hl7Peer
from scarseg_infer.node.toml_file import (
    Address,
    AeTitle,
    Choice,
    Host,
    Network,
    Text,
    converted,
    wrong,
)
from scarseg_infer.write.folder import can_make_pdf
from scarseg_runtime.edited_text import read_toml
from scarseg_runtime.errors import UsageError
from scarseg_runtime.install import install_command
from scarseg_runtime.providers.registry import PRECISIONS, PROVIDERS

OBJECTS: Final = ("seg", "sr", "dicom-pdf")
"""Objects that can be sent to peers, by the names of write/folder.py, in the order of sending."""

Port = Annotated[int, Meta(ge=1, le=65535)]
_WEEK_S: Final = 7 * 86400
_CENTURY_DAYS: Final = 36500


class Provider(Choice):
    """Name of an execution provider, or ``auto``."""

    known = ("auto", *(one.name for one in PROVIDERS))


class Precision(Choice):
    """A precision, or ``auto``."""

    known = ("auto", *PRECISIONS)


class Retrieve(Choice):
    """The service by which objects are fetched from an archive."""

    known = ("get", "move")


class When(Choice):
    """The studies for which an archive is asked for an ECG."""

    known = ("missing", "always")


class SentObject(Choice):
    """An object of a result that peers get."""

    known = OBJECTS


class Itself(Struct, frozen=True, forbid_unknown_fields=True):
    """``[node]``: the name of this node and where it listens and keeps its data."""

    ae_title: AeTitle
    data: Path
    address: Address = Address("127.0.0.1")
    port: Port = 11112


class Callers(Struct, frozen=True, forbid_unknown_fields=True):
    """``[callers]``: who may send by DICOM."""

    ae_titles: Annotated[tuple[AeTitle, ...], Meta(min_length=1)]
    addresses: Annotated[tuple[Network, ...], Meta(min_length=1)]

    def admit(self, address: str) -> bool:
        """May a caller come from this IP address?"""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in ipaddress.ip_network(network) for network in self.addresses)


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]``: what the node takes on before it says no."""

    associations: Annotated[int, Meta(ge=1, le=100)] = 8
    object_mb: Annotated[int, Meta(ge=1, le=2048)] = 256
    min_free_mb: Annotated[int, Meta(ge=1, le=1 << 40)] = 2048
    idle_s: Annotated[float, Meta(ge=1, le=3600)] = 60
    """Silence after which an association is given up."""

    @property
    def object_bytes(self) -> int:
        """Size of the largest object that is taken."""
        return self.object_mb << 20

    @property
    def min_free_bytes(self) -> int:
        """Room that has to stay free on the disk."""
        return self.min_free_mb << 20


class StudyRules(Struct, frozen=True, forbid_unknown_fields=True):
    """``[study]``: when a study is processed, how often it is tried, how long it is kept."""

    quiet_s: Annotated[float, Meta(ge=0.1, le=86400)] = 60
    """Time without a new object after which a study is complete."""
    mpps_wait_s: Annotated[float, Meta(ge=0, le=_WEEK_S)] = 3600
    """Time without news after which a procedure step in progress holds its study up no longer."""
    ecg_wait_s: Annotated[float, Meta(ge=0, le=_WEEK_S)] = 0
    """Further time for which a complete study without an ECG waits for one."""
    timeout_s: Annotated[float, Meta(ge=1, le=86400)] = 600
    """Time for which a study may be processed; then it is given up."""
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Tries at a study at which the process died or met a defect; then it is given up."""
    keep_days: Annotated[float, Meta(ge=0, le=_CENTURY_DAYS)] = 7
    """Days that received objects and results stay after the last delivery."""

    @property
    def steps_keep_s(self) -> float:
        """Seconds for which procedure steps stay of whose studies nothing is here."""
        return max(self.keep_days * 86400, self.mpps_wait_s)


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[peers]]``: another application entity."""

    name: Text
    """Name in logs and metrics."""
    ae_title: AeTitle
    host: Host
    port: Port
    tls: bool = False


class Sending(Struct, frozen=True, forbid_unknown_fields=True):
    """``[send]``: what goes to the peers, and how long to wait after a failure."""

    objects: Annotated[tuple[SentObject, ...], Meta(min_length=1)] = tuple(map(SentObject, OBJECTS))
    retry_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10
    retry_max_s: Annotated[float, Meta(le=86400)] = 900
    give_up_days: Annotated[float, Meta(ge=0.01, le=_CENTURY_DAYS)] = 30
    """Time in which a peer has to take an object, before it counts as never to be taken."""

    def __post_init__(self) -> None:
        force_setattr(self, "objects", tuple(one for one in OBJECTS if one in self.objects))
        if self.retry_max_s == 900:  # the default, or as good as it
            force_setattr(self, "retry_max_s", max(900, self.retry_s))
        if not self.retry_max_s >= self.retry_s:  # or not a number
            raise ValueError(".retry_max_s must not be less than send.retry_s")


class StatusPage(Struct, frozen=True, forbid_unknown_fields=True):
    """``[status]``: what is served over HTTP."""

    on: bool = True
    address: Address = Address("127.0.0.1")
    port: Port = 8104
    api: bool = False
    """Are studies taken and results given over HTTP?"""


class ModelChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """``[model]``: as for :meth:`scarseg_infer.Segmenter.from_model`."""

    file: Path | None = None
    provider: Provider = Provider("auto")
    precision: Precision = Precision("auto")
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None

    def __post_init__(self) -> None:
        if self.file is not None and not self.file.is_file():
            raise ValueError(".file names a file that does not exist")


class EcgArchive(Struct, frozen=True, forbid_unknown_fields=True):
    """``[ecg_query]``: an archive that is asked for ECGs."""

    ae_title: AeTitle
    host: Host
    port: Port
    tls: bool = False
    retrieve: Retrieve = Retrieve("get")
    """With ``move`` they come to this node's own AE title, with ``get`` on the same association."""
    when: When = When("missing")
    """With ``always`` it is asked also where an ECG of the patient was received."""

    @property
    def peer(self) -> Peer:
        """The archive as one that can be called."""
        return Peer(Text("ecg_query"), self.ae_title, self.host, self.port, self.tls)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the node is told."""

    node: Itself
    callers: Callers
    limits: Limits = Limits()
    study: StudyRules = StudyRules()
    tls: Tls | None = None
    peers: tuple[Peer, ...] = ()
    dicomweb: tuple[WebPeer, ...] = ()
    hl7: tuple[Hl7Peer, ...] = ()
    send: Sending = Sending()
    status: StatusPage = StatusPage()
    model: ModelChoice = ModelChoice()
    ecg_query: EcgArchive | None = None

    @property
    def receivers(self) -> list[str]:
        """Names of all that get results as objects."""
        peers = [str(peer.name) for peer in self.peers]
        return peers + [str(server.name) for server in self.storing]

    @property
    def message_receivers(self) -> list[str]:
        """Names of all that get results as HL7 messages."""
        return [str(peer.name) for peer in self.hl7]

    @property
    def storing(self) -> list[WebPeer]:
        """DICOMweb servers that get results."""
        return [server for server in self.dicomweb if server.results]

    @property
    def ecg_server(self) -> WebPeer | None:
        """The DICOMweb server that is asked for ECGs."""
        return next((server for server in self.dicomweb if server.ecgs != "never"), None)

    @property
    def summary(self) -> str:
        """The main values in one line."""
        count = len(self.receivers) + len(self.message_receivers)
        peers = f"{count} peer{'' if count == 1 else 's'}"
        http = f"on port {self.status.port}" if self.status.on else "off"
        where = f"[{self.node.address}]" if ":" in self.node.address else self.node.address
        tls = " with TLS" if self.tls else ""
        return (
            f"{self.node.ae_title} on {where}:{self.node.port}{tls}, {peers}, "
            f"status {http}, HTTP studies {'on' if self.status.api else 'off'}"
        )

    @property
    def warning(self) -> str | None:
        """Settings that are allowed but hardly meant."""
        if self.receivers or self.message_receivers or self.status.api:
            return None
        return (
            "no [[peers]] or [[hl7]], no [[dicomweb]] that gets results, and status.api is not "
            "true: nobody gets the results"
        )


def read_config(path: Path) -> Config:
    """Read and check a configuration file; relative paths in it start at its folder.

    Raises:
        UsageError: it cannot be read, or a value is missing, wrong or unknown; names the key.
    """
    try:
        document = read_toml(path)
    except OSError as error:
        raise UsageError(
            f"the configuration file cannot be read ({error.strerror})", "Check its path"
        ) from error
    except ValueError as error:
        raise UsageError(f"the configuration file is not TOML ({error})", "Correct it") from error
    for required in ("node", "callers"):  # so that the key in it is named that is missing
        document.setdefault(required, {})
    found: Any = converted(document, Config, path.resolve().parent)
    _check_together(found)
    return found  # type: ignore[no-any-return]


def _check_together(found: Config) -> None:
    """Check what no value shows by itself."""
    node, status = found.node, found.status
    if found.tls:
        server_context(found.tls)  # says what does not fit
    if "dicom-pdf" in found.send.objects and not can_make_pdf():
        wrong(
            "send.objects",
            "holds dicom-pdf (its default does), which needs the package reportlab: install it "
            f"with {install_command('pdf')}, or leave dicom-pdf out",
        )
    if status.api and not status.on:
        wrong("status.api", "is true, but status.on is false")
    everywhere = ipaddress.ip_address(node.address).is_unspecified
    if status.on and status.port == node.port and (everywhere or node.address == status.address):
        wrong("status.port", "is also node.port")
    _check_peers(found, everywhere)
    _check_servers(found)
    _check_message_peers(found)


def _check_peers(found: Config, everywhere: bool) -> None:
    node, source = found.node, found.ecg_query
    loopback = everywhere or ipaddress.ip_address(node.address).is_loopback
    here = (node.address, *(("127.0.0.1", "::1", "localhost") if loopback else ()))
    called = {f"peers[{number}]": peer for number, peer in enumerate(found.peers, 1)}
    names = [peer.name for peer in found.peers]
    for key, peer in {**called, **({"ecg_query": source.peer} if source else {})}.items():
        if peer.tls and not found.tls:
            wrong(f"{key}.tls", "is true, but there is no [tls] with the files for it")
    for number, (key, peer) in enumerate(called.items()):
        if peer.name in names[:number]:
            wrong(f"{key}.name", "is that of another peer")
        if peer.port == node.port and peer.host in here:
            raise UsageError(f"peer {peer.name} is this node itself", "Correct its host or port")
    if source and source.retrieve == "move" and source.ae_title not in found.callers.ae_titles:
        wrong("ecg_query.retrieve", "is move, but its ae_title is none of [callers]")


def _check_servers(found: Config) -> None:
    names = [peer.name for peer in found.peers]
    asked = found.ecg_query is not None
    for number, server in enumerate(found.dicomweb, 1):
        key = f"dicomweb[{number}]"
        if server.name in names:
            wrong(f"{key}.name", "is that of another peer")
        names.append(server.name)
        if server.ecgs != "never" and asked:
            wrong(f"{key}.ecgs", "asks for ECGs, but another archive is asked for them already")
        asked = asked or server.ecgs != "never"
        if not server.results and server.ecgs == "never":
            wrong(f"{key}.results", "is false and ecgs is never: the server is not used")
        server.check(key)


def _check_message_peers(found: Config) -> None:
    names = [str(peer.name) for peer in found.peers]
    names += [str(server.name) for server in found.dicomweb]
    for number, peer in enumerate(found.hl7, 1):
        if peer.tls and not found.tls:
            wrong(f"hl7[{number}].tls", "is true, but there is no [tls] with the files for it")
        if peer.name in names:
            wrong(f"hl7[{number}].name", "is that of another peer")
        names.append(peer.name)
