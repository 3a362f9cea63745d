"""Stored engines: the length of the sidecar in two bytes, the sidecar, and the engine."""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import ModelFile, ModelMetadata
from scarseg_runtime.providers.engine_cache import CacheEntry, beside_model
from scarseg_runtime.providers.engine_file import SIDECAR_FORMAT, read_engine, sidecar_path
from scarseg_runtime.providers.gpu import Gpu

SECRET = "Secretname"
ENGINE = bytes(range(64)) * 4
SIDECAR: dict[str, Any] = {
    "onnx_sha256": "a" * 64, "runtime": "tensorrt-rtx", "version": "1.7",
    "target": {"gpus": ["SM89"], "portable": False, "any_version": False},
    "built_on": {"name": "GPU", "compute_capability": [8, 9], "driver": 13000}, "note": SECRET,
}  # fmt: skip
DICTIONARY = (
    "null", "true", "NaN", "Infinity", "-1", "1e999", "[]", "{}", '"plan_bytes"', '"engine_sha256"',
    '"format"', '"target"', '"gpus"', '"built_on"', '"compute_capability"', '"key"', "1073741825",
)  # fmt: skip


def pack(sidecar: bytes, engine: bytes) -> bytes:
    return struct.pack("<H", len(sidecar)) + sidecar + engine


def described(engine: bytes, packed: bytes, **changes: Any) -> bytes:
    entries = SIDECAR | {
        "format": SIDECAR_FORMAT, "packed": "zlib", "plan_bytes": len(engine),
        "engine_sha256": hashlib.sha256(packed).hexdigest(),
    }  # fmt: skip
    return pack(json.dumps(entries | changes).encode(), packed)


def seeds() -> dict[str, bytes]:
    packed = zlib.compress(ENGINE)
    bomb = zlib.compress(bytes(1 << 20))
    return {
        "whole": described(ENGINE, packed),
        "bomb": described(ENGINE, bomb),
        "no target": described(ENGINE, packed, target=None),
        "longer": described(ENGINE + b"x", packed),
        "odd gpus": described(ENGINE, packed, target={"gpus": 1}, built_on={"name": 1}),
        "deep": pack(b"[" * 20_000, packed),
    }


def one(data: bytes) -> None:
    """Read as an engine that the user names, as one of the cache, and as one beside a model. The
    hash of the engine is put right, or nothing behind it would ever be reached."""
    length = int.from_bytes(data[:2], "little")
    sidecar, engine = data[2 : 2 + length], data[2 + length :]
    with tempfile.TemporaryDirectory(prefix="scarseg-fuzz-") as name:
        model = ModelFile(Path(name, "m.onnx"), _metadata(), "a" * 64, "b" * 64)
        beside = model.path.with_name("m.tensorrt-rtx.engine")
        entry = CacheEntry(Path(name), {"x": 1})
        for place in (beside, entry.path):
            place.write_bytes(engine)
            sidecar_path(place).write_bytes(_true_hash(sidecar, engine))
        gpu = Gpu("GPU", (8, 9), 13000)
        entry.peek()
        found = beside_model(model, "tensorrt-rtx", gpu, "1.7")
        assert found is None or len(found[0]) == found[1]["plan_bytes"]
        try:
            assert read_engine(beside).engine
        except ModelError as error:
            assert SECRET not in str(error) and name not in str(error)
            raise


def _true_hash(sidecar: bytes, engine: bytes) -> bytes:
    try:
        entries = json.loads(sidecar)
        entries["engine_sha256"] = hashlib.sha256(engine).hexdigest()
        return json.dumps(entries).encode()
    except (ValueError, TypeError, RecursionError):
        return sidecar


def _metadata() -> ModelMetadata:
    names = ModelMetadata.__dataclass_fields__
    return ModelMetadata(**dict.fromkeys(names))  # type: ignore[arg-type]
