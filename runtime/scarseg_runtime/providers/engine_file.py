"""A compiled engine and its sidecar: two files that count only together.

Most of an engine of TensorRT-RTX is CUDA source text that its just-in-time compiler reads, with
the same header before every kernel. Packed with zlib it is a quarter of the size.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scarseg_runtime.errors import ModelError
from scarseg_runtime.regular_file import read_regular
from scarseg_runtime.whole import part_of

SIDECAR_FORMAT: Final = 1
SIDECAR_SUFFIX: Final = ".json"
"""Added to the whole name of the engine file."""

MAX_PLAN_BYTES: Final = 1 << 30
MAX_SIDECAR_BYTES: Final = 1 << 20

Built = tuple[bytes, dict[str, Any]]
"""An engine and the content of its sidecar."""


class UnusableError(ValueError):
    """Reason why a stored engine is not used, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine and what its sidecar says."""

    engine: bytes
    sidecar: Mapping[str, Any]


def sidecar_path(engine: Path) -> Path:
    """Path of the sidecar of an engine file."""
    return engine.with_name(engine.name + SIDECAR_SUFFIX)


def read_engine(path: Path) -> EngineFile:
    """An engine that the user names. Raises ModelError where it is missing or damaged."""
    advice = "Compile it again with scarseg-export tensorrt"
    try:
        found = read_pair(path)
    except UnusableError as reason:
        raise ModelError(f"the engine {reason}", advice) from reason
    if found is None:
        raise ModelError("the engine does not exist", "Check its path")
    return EngineFile(*found)


def read_pair(path: Path) -> Built | None:
    """An engine and its sidecar; None where neither exists. Raises UnusableError."""
    place = sidecar_path(path)
    if not path.exists() and not place.exists():
        return None
    try:
        sidecar = json.loads(read_regular(place, MAX_SIDECAR_BYTES))
        content = read_regular(path, MAX_PLAN_BYTES)
    except FileNotFoundError as error:
        raise UnusableError("lacks one of its two files") from error
    except OSError as error:
        raise UnusableError(f"cannot be read ({why(error)})") from error
    except (ValueError, RecursionError) as error:
        raise UnusableError("has a damaged sidecar") from error
    if not isinstance(sidecar, dict) or sidecar.get("format") != SIDECAR_FORMAT:
        raise UnusableError("has a sidecar of another format")
    if sidecar.get("engine_sha256") != hashlib.sha256(content).hexdigest():
        raise UnusableError("is damaged")
    return _unpack(content, sidecar), sidecar


def _unpack(content: bytes, sidecar: Mapping[str, Any]) -> bytes:
    """The plan, never longer than the sidecar says. Raises UnusableError."""
    size = sidecar.get("plan_bytes")
    if not isinstance(size, int) or not 0 < size <= MAX_PLAN_BYTES:
        raise UnusableError("has a damaged sidecar")
    unpacker = zlib.decompressobj()
    try:
        plan = unpacker.decompress(content, size + 1)
    except zlib.error as error:
        raise UnusableError("is damaged") from error
    if len(plan) != size:
        raise UnusableError("is damaged")
    return plan


def write_pair(path: Path, content: bytes, sidecar: Mapping[str, Any]) -> None:
    """Write an engine, packed, with its sidecar, to which format, size of the plan and SHA-256 of
    the file are added: both whole, or what was there before. Raises OSError.

    The sidecar goes away first and comes back last, so that one never describes the other's
    predecessor.
    """
    packed = zlib.compress(content)
    entries = {
        **sidecar,
        "format": SIDECAR_FORMAT,
        "packed": "zlib",
        "plan_bytes": len(content),
        "engine_sha256": hashlib.sha256(packed).hexdigest(),
    }
    text = json.dumps(entries, indent=1, sort_keys=True).encode()
    place = sidecar_path(path)
    parts = {name: part_of(name, str(os.getpid())) for name in (path, place)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parts[path].write_bytes(packed)
        parts[place].write_bytes(text)
        place.unlink(missing_ok=True)
        parts[path].replace(path)
        parts[place].replace(place)
    except OSError:
        _remove(*parts.values())
        raise


def why(error: OSError | NotImplementedError) -> str:
    """An operating system's reason without the path it names."""
    return getattr(error, "strerror", None) or type(error).__name__


def _remove(*paths: Path) -> None:
    """Best effort: the folder itself may be what fails, and that is the error to report."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue
