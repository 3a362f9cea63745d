"""Compiled engines, kept: beside the model file, or in the user's cache folder.

Compiling takes seconds (TensorRT-RTX) to minutes (enterprise TensorRT), so it is done once for
a model, release, GPU, driver and profile; of two processes that need the same engine one compiles
and the other waits. Whatever is damaged or of another model or release is said and made again. A
cache that cannot be written costs time at the next start, never a result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scarseg_runtime.log import LOG
from scarseg_runtime.model_file.read import ModelFile
from scarseg_runtime.providers.engine_file import (
    SIDECAR_FORMAT,
    Built,
    UnusableError,
    read_pair,
    why,
    write_pair,
)
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.providers.tensorrt.api import Flavour
from scarseg_runtime.providers.tensorrt.build import Profile
from scarseg_runtime.providers.tensorrt.supported_gpus import engine_gpus


def key_parts(
    onnx_sha256: str, flavour: Flavour, version: str, gpu: Gpu | None, profile: Profile
) -> dict[str, Any]:
    """All that an engine depends on, as JSON values."""
    parts = {
        "format": SIDECAR_FORMAT,
        "onnx_sha256": onnx_sha256,
        "flavour": flavour,
        "version": version,
        "gpu": asdict(gpu) if gpu else None,
        "profile": asdict(profile),
    }
    return dict(json.loads(json.dumps(parts)))


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One file of the cache with its sidecar, under a lock of its own."""

    folder: Path | None
    """None keeps nothing."""
    parts: Mapping[str, Any]
    """Facts that it depends on; its name is their digest."""
    suffix: str = ".engine"

    @property
    def path(self) -> Path:
        """The file; see :func:`sidecar_path` for the other."""
        text = json.dumps(self.parts, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(text.encode()).hexdigest() + self.suffix
        return Path(self.folder or "", name)

    def read(self) -> Built | None:
        """Content and sidecar, None where there is none. Raises UnusableError."""
        found = None if self.folder is None else read_pair(self.path)
        if found is not None and found[1].get("key") != self.parts:
            raise UnusableError("is of another model, release or GPU")
        return found

    def peek(self) -> Built | None:
        """As :meth:`read`, silent on what is wrong: another process may be writing just now."""
        try:
            return self.read()
        except UnusableError:
            return None

    def write(self, content: bytes, sidecar: Mapping[str, Any]) -> None:
        """Store both, whole or not at all; only said where it fails."""
        try:
            write_pair(self.path, content, {**sidecar, "key": dict(self.parts)})
        except OSError as error:
            LOG.warning("the engine cache cannot be written (%s); nothing is kept", why(error))

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Holds every other process off; gives False where nothing can be kept."""
        lock = self._acquire()
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _acquire(self) -> FileLock | None:
        if self.folder is None:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_suffix(self.suffix + ".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                LOG.info("waiting for another process that compiles the same model")
                lock.acquire()
        except (OSError, NotImplementedError) as error:
            LOG.warning("the engine cache cannot be written (%s); nothing is kept", why(error))
            return None
        return lock


def engine_for(
    model: ModelFile,
    flavour: Flavour,
    profile: Profile = Profile(),  # noqa: B008  (frozen)
    *,
    gpu: Gpu | None,
    version: str,
    build: Callable[[], Built],
    folder: Path | None,
    fresh: bool = False,
) -> Built:
    """The engine of a model file and its sidecar: stored, or built and stored.

    Args:
        gpu: what will run it.
        version: of the installed TensorRT.
        build: compiles; called at most once, and by one process at a time.
        folder: of the cache; None keeps nothing.
        fresh: build even where one is stored, because that one could not be loaded.

    Raises:
        ModelError, ProviderError: what ``build`` raises.
    """
    entry = CacheEntry(folder, key_parts(model.sha256, flavour, version, gpu, profile))
    if not fresh:
        stored = beside_model(model, flavour, gpu, version) or entry.peek()
        if stored is not None:
            return stored
    with entry.lock() as writable:
        stored = None if fresh or not writable else _read_or_say(entry)
        if stored is not None:
            return stored
        LOG.info("compiling the model for %s; the first time only", flavour)
        content, sidecar = build()
        if writable:
            entry.write(content, sidecar)
        return content, sidecar


def beside_model(model: ModelFile, flavour: Flavour, gpu: Gpu | None, version: str) -> Built | None:
    """The engine that ``scarseg-export tensorrt`` left beside a model file, if it fits; refused
    with a warning where it does not."""
    try:
        found = read_pair(beside_path(model.path, flavour))
        if found is not None:
            _check_fits(found[1], model, flavour, gpu, version)
    except UnusableError as reason:
        LOG.warning("the %s engine beside the model %s; it is not used", flavour, reason)
        return None
    return found


def beside_path(model: Path, flavour: str) -> Path:
    """Path at which an engine beside a model file is looked for: ``<stem>.<flavour>.engine``."""
    return model.with_name(f"{model.stem}.{flavour}.engine")


class KernelCache:
    """The kernels that TensorRT-RTX compiles while it runs, kept like an engine."""

    def __init__(self, entry: CacheEntry) -> None:
        self._entry = entry
        self._kept = b""

    @classmethod
    def of_engine(
        cls, model: ModelFile, flavour: Flavour, version: str, gpu: Gpu, profile: Profile,
        folder: Path | None,
    ) -> KernelCache:  # fmt: skip
        """The kernels of an engine, kept in ``folder`` if there is one."""
        parts = key_parts(model.sha256, flavour, version, gpu, profile)
        return cls(CacheEntry(folder, parts, ".kernels"))

    def load(self, cache: Any) -> None:
        """Fill an empty IRuntimeCache."""
        stored = _read_or_say(self._entry)
        if stored is None:
            return
        if cache.deserialize(stored[0]):
            self._kept = hashlib.sha256(stored[0]).digest()
        else:
            LOG.warning("stored kernels are of another driver or GPU; they are compiled again")

    def save(self, cache: Any) -> None:
        """Store an IRuntimeCache, if it holds anything new."""
        memory = cache.serialize()
        content = bytes(memory) if memory is not None else b""
        digest = hashlib.sha256(content).digest()
        if not content or digest == self._kept:
            return
        with self._entry.lock() as writable:
            if writable:
                self._entry.write(content, {})
        self._kept = digest


def _read_or_say(entry: CacheEntry) -> Built | None:
    try:
        return entry.read()
    except UnusableError as reason:
        LOG.warning("what the engine cache holds %s; it is compiled again", reason)
        return None


def _check_fits(
    sidecar: Mapping[str, Any], model: ModelFile, flavour: Flavour, gpu: Gpu | None, version: str
) -> None:
    """Raises UnusableError where an engine is not for this model, release or GPU."""
    if sidecar.get("onnx_sha256") != model.sha256:
        raise UnusableError("was compiled from another model file")
    target = sidecar.get("target")
    if sidecar.get("runtime") != flavour or not isinstance(target, dict):
        raise UnusableError("is of another kind")
    if sidecar.get("version") != version and not target.get("any_version"):
        raise UnusableError(f"was compiled by another release than {version}")
    if gpu is None:
        return
    chosen = target.get("gpus")
    if chosen and not isinstance(chosen, list):
        raise UnusableError("has a damaged sidecar")
    own = "SM{}{}".format(*gpu.compute_capability)
    # None chosen: made for all but those that want an engine of their own.
    alone = flavour == "tensorrt-rtx" and own in engine_gpus(gpu.compute_capability)
    if (chosen or alone) and own not in (chosen or []):
        raise UnusableError("was compiled for other GPUs")
    origin = sidecar.get("built_on")
    if isinstance(origin, dict) and not target.get("portable"):
        same = origin.get("name") == gpu.name
        if not same or origin.get("compute_capability") != list(gpu.compute_capability):
            raise UnusableError("was compiled on another GPU")
