"""ECGs are read where no folder for temporary files can be written to, or say so in one line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from scarseg_infer.ecg import private_copy
from scarseg_infer.ecg.read import read_ecg
from scarseg_runtime.errors import EcgError

FORMATS = ("philips", "aecg", "edf", "scp", "muse")


@pytest.fixture(params=["none", "full"])
def no_room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder for temporary files, or one without room."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if request.param == "none":
        monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    else:
        monkeypatch.setattr(Path, "write_bytes", refuse)


@pytest.fixture
def files(tmp_path: Path, ecg_factory: ModuleType) -> dict[str, Path]:
    found = {}
    for name in FORMATS:
        found[name] = tmp_path / f"ecg.{name}"
        found[name].write_bytes(getattr(ecg_factory, name)(ecg_factory.counts()))
    for name, storage in (("plain", "16"), ("flac", "516")):
        lines = [f"{name}.dat {storage} 200/mV 16 0 0 0 0 {lead}" for lead in ("I", "II")]
        (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} 2 500 12", *lines]))
        (tmp_path / f"{name}.dat").write_bytes(np.arange(24, dtype="<i2").tobytes())
        found[name] = tmp_path / name
    return found


def test_what_can_be_read_in_memory_is(files: dict[str, Path], no_room: None) -> None:
    in_memory = hasattr(os, "memfd_create")
    for name in ("plain", *(FORMATS if in_memory else ())):
        assert read_ecg(files[name]).signals_mv.size, name


def test_what_cannot_says_so(
    files: dict[str, Path], no_room: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_copy, "_in_memory", lambda _: None)
    for name in ("flac", *FORMATS):
        with pytest.raises(EcgError, match="folder for temporary files") as caught:
            read_ecg(files[name])
        assert caught.value.exit_code == 4
