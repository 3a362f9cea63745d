"""The configuration of the node: a TOML file in, checked values out.

``deploy/scarseg-node.toml`` is an example with every key explained.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scarseg_infer.node.dicom.tls import Tls, server_context
from scarseg_infer.node.toml_table import Table
from scarseg_infer.write.folder import can_make_pdf
from scarseg_runtime.errors import UsageError
from scarseg_runtime.install import install_command
from scarseg_runtime.providers.registry import PRECISIONS, PROVIDERS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OBJECTS: Final = ("seg", "sr", "dicom-pdf")
"""What can be sent to peers, by the names of write/folder.py, in the order of sending."""
_TABLES: Final = (
    "node", "callers", "limits", "study", "tls", "peers", "send", "status", "model", "ecg_query",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """Another application entity."""

    name: str
    """How logs and metrics call it."""
    ae_title: str
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class EcgArchive:
    """An archive that is asked for ECGs."""

    peer: Peer
    move: bool
    """Retrieve by C-MOVE to this node's own AE title, and not by C-GET?"""
    always: bool
    """Ask also where an ECG of the patient was received?"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the node takes on before it says no."""

    associations: int
    object_bytes: int
    min_free_bytes: int
    idle_s: float
    """Silence after which an association is given up."""


@dataclass(frozen=True, slots=True)
class StudyRules:
    """When a study is processed, how often it is tried, how long it is kept."""

    quiet_s: float
    """Time without a new object after which a study is complete."""
    mpps_wait_s: float
    """Time without news after which a procedure step in progress holds its study up no longer."""
    ecg_wait_s: float
    """Further time for which a complete study without an ECG waits for one."""
    timeout_s: float
    """Time for which a study may be processed; then it is given up."""
    attempts: int
    """Tries at a study at which the process died or met a defect; then it is given up."""
    keep_days: float
    """How long received objects and results stay after the last delivery."""

    @property
    def steps_keep_s(self) -> float:
        """How long procedure steps stay of whose studies nothing is here."""
        return max(self.keep_days * 86400, self.mpps_wait_s)


@dataclass(frozen=True, slots=True)
class Sending:
    """What goes to the peers, and how long to wait after a failure."""

    objects: tuple[str, ...]
    retry_s: float
    retry_max_s: float
    give_up_days: float
    """Time in which a peer has to take an object, before it counts as never to be taken."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """As for :meth:`scarseg_infer.Segmenter.from_model`."""

    file: Path | None
    provider: str
    precision: str
    threads: int | None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the node is told."""

    ae_title: str
    address: str
    port: int
    data: Path
    caller_titles: tuple[str, ...]
    caller_networks: tuple[Network, ...]
    limits: Limits
    study: StudyRules
    tls: Tls | None
    peers: tuple[Peer, ...]
    send: Sending
    status_address: str
    status_port: int | None
    api: bool
    """Are studies taken and results given over HTTP?"""
    model: ModelChoice
    ecg_query: EcgArchive | None

    @property
    def summary(self) -> str:
        """The main values in one line."""
        peers = f"{len(self.peers)} peer{'' if len(self.peers) == 1 else 's'}"
        http = "off" if self.status_port is None else f"on port {self.status_port}"
        where = f"[{self.address}]" if ":" in self.address else self.address
        return (
            f"{self.ae_title} on {where}:{self.port}{' with TLS' if self.tls else ''}, {peers}, "
            f"status {http}, HTTP studies {'on' if self.api else 'off'}"
        )

    @property
    def warning(self) -> str | None:
        """What is allowed but hardly meant."""
        if self.peers or self.api:
            return None
        return "no [[peers]], and status.api is not true: nobody gets the results"

    def admits(self, address: str) -> bool:
        """May a caller come from this IP address?"""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self.caller_networks)


def read_config(path: Path) -> Config:
    """Read and check a configuration file; relative paths in it start at its folder.

    Raises:
        UsageError: it cannot be read, or a value is missing, wrong or unknown; names the key.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"the configuration file cannot be read ({error.strerror})", "Check its path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file is not TOML ({error})", "Correct it") from error
    for name in document:
        if name not in _TABLES:
            raise UsageError(f"[{name}] is not known", f"Known: {', '.join(_TABLES)}")
    return _checked(document, path.resolve().parent)


def _checked(document: dict[str, Any], beside: Path) -> Config:
    tables = {name: Table(name, document.get(name, {})) for name in _TABLES if name != "peers"}
    node, callers, status = (tables[name] for name in ("node", "callers", "status"))
    tls = _tls(tables["tls"], beside) if "tls" in document else None
    status_on, status_port = status.flag("on", True), status.integer("port", 1, 65535, 8104)
    found = Config(
        ae_title=node.ae_title("ae_title"),
        address=_address(node, "address", "127.0.0.1"),
        port=node.integer("port", 1, 65535, 11112),
        data=beside / node.text("data"),
        caller_titles=callers.ae_titles("ae_titles"),
        caller_networks=_networks(callers, "addresses"),
        limits=_limits(tables["limits"]),
        study=_study(tables["study"]),
        tls=tls,
        peers=_peers(document.get("peers", []), tls),
        send=_sending(tables["send"]),
        status_address=_address(status, "address", "127.0.0.1"),
        status_port=status_port if status_on else None,
        api=status.flag("api", False),
        model=_model(tables["model"], beside),
        ecg_query=_ecg_archive(tables["ecg_query"], tls) if "ecg_query" in document else None,
    )
    for table in tables.values():
        table.finish()
    _check_together(found, tables)
    return found


def _check_together(found: Config, tables: dict[str, Table]) -> None:
    """What no value shows by itself."""
    status = tables["status"]
    if found.api and not found.status_port:
        status.wrong("api", "is true, but status.on is false")
    everywhere = ipaddress.ip_address(found.address).is_unspecified
    same = found.address == found.status_address or everywhere
    if found.status_port == found.port and same:
        status.wrong("port", "is also node.port")
    loopback = everywhere or ipaddress.ip_address(found.address).is_loopback
    here = (found.address, *(("127.0.0.1", "::1", "localhost") if loopback else ()))
    for peer in found.peers:
        if peer.port == found.port and peer.host in here:
            raise UsageError(f"peer {peer.name} is this node itself", "Correct its host or port")
    source = found.ecg_query
    if source and source.move and source.peer.ae_title not in found.caller_titles:
        tables["ecg_query"].wrong("retrieve", "is move, but its ae_title is none of [callers]")


def _limits(table: Table) -> Limits:
    return Limits(
        associations=table.integer("associations", 1, 100, 8),
        object_bytes=table.integer("object_mb", 1, 2048, 256) << 20,
        min_free_bytes=table.integer("min_free_mb", 1, 1 << 40, 2048) << 20,
        idle_s=table.number("idle_s", 1, 3600, 60),
    )


def _study(table: Table) -> StudyRules:
    return StudyRules(
        quiet_s=table.number("quiet_s", 0.1, 86400, 60),
        mpps_wait_s=table.number("mpps_wait_s", 0, 7 * 86400, 3600),
        ecg_wait_s=table.number("ecg_wait_s", 0, 7 * 86400, 0),
        timeout_s=table.number("timeout_s", 1, 86400, 600),
        attempts=table.integer("attempts", 1, 1000, 5),
        keep_days=table.number("keep_days", 0, 36500, 7),
    )


def _sending(table: Table) -> Sending:
    objects = table.texts("objects", list(OBJECTS))
    if unknown := [name for name in objects if name not in OBJECTS]:
        table.wrong("objects", f"holds {unknown[0]!r}; known: {', '.join(OBJECTS)}")
    if "dicom-pdf" in objects and not can_make_pdf():
        table.wrong(
            "objects",
            "holds dicom-pdf (its default does), which needs the package reportlab: install it "
            f"with {install_command('pdf')}, or leave dicom-pdf out",
        )
    retry_s = table.number("retry_s", 0.1, 3600, 10)
    return Sending(
        objects=tuple(name for name in OBJECTS if name in objects),
        retry_s=retry_s,
        retry_max_s=table.number("retry_max_s", retry_s, 86400, max(900, retry_s)),
        give_up_days=table.number("give_up_days", 0.01, 36500, 30),
    )


def _model(table: Table, beside: Path) -> ModelChoice:
    return ModelChoice(
        file=table.file("file", beside) if table.has("file") else None,
        provider=table.choice("provider", ("auto", *(known.name for known in PROVIDERS))),
        precision=table.choice("precision", ("auto", *PRECISIONS)),
        threads=table.integer("threads", 1, 1024) if table.has("threads") else None,
    )


def _tls(table: Table, beside: Path) -> Tls:
    found = Tls(
        certificate=table.file("certificate", beside),
        key=table.file("key", beside),
        ca=table.file("ca", beside),
        client_certificates=table.flag("client_certificates", True),
    )
    server_context(found)  # says what does not fit
    return found


def _peers(values: Any, tls: Tls | None) -> tuple[Peer, ...]:
    if not isinstance(values, list):
        raise UsageError("[peers] is not a list of tables", "Write [[peers]]")
    tables = [Table(f"peers[{number}]", item) for number, item in enumerate(values, 1)]
    found = tuple(_peer(table, tls) for table in tables)
    for number, (peer, table) in enumerate(zip(found, tables, strict=True)):
        table.finish()
        if peer.name in [other.name for other in found[:number]]:
            table.wrong("name", "is that of another peer")
    return found


def _peer(table: Table, tls: Tls | None, name: str | None = None) -> Peer:
    secure = table.flag("tls", False)
    if secure and tls is None:
        table.wrong("tls", "is true, but there is no [tls] with the files for it")
    return Peer(
        name=name or table.text("name"),
        ae_title=table.ae_title("ae_title"),
        host=_host(table),
        port=table.integer("port", 1, 65535),
        tls=secure,
    )


def _ecg_archive(table: Table, tls: Tls | None) -> EcgArchive:
    return EcgArchive(
        peer=_peer(table, tls, "ecg_query"),
        move=table.choice("retrieve", ("get", "move")) == "move",
        always=table.choice("when", ("missing", "always")) == "always",
    )


def _host(table: Table) -> str:
    text = table.text("host")
    try:
        text.encode("idna")  # as is done when it is looked up
    except UnicodeError:
        table.wrong("host", "can be no host name")
    if " " in text or not text.isprintable():
        table.wrong("host", "must be a name or an IP address, without blanks")
    return text


def _address(table: Table, key: str, default: str) -> str:
    text = table.text(key, default)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        table.wrong(key, "must be an IP address of this machine, such as 127.0.0.1 or 0.0.0.0")


def _networks(table: Table, key: str) -> tuple[Network, ...]:
    found = []
    for text in table.texts(key):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            table.wrong(key, "must hold IP addresses or networks, such as 10.0.0.7 or 10.0.0.0/24")
    return tuple(found)
