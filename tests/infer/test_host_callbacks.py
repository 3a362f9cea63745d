"""Errors of a host's callback end the run and come out as they are, whenever they are raised."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer import RunTimeoutError, Segmenter, StudyError
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.host.stages import Stage

RAISED: dict[str, Callable[[], Exception]] = {
    "time limit": lambda: RunTimeoutError("the run took longer than its time limit"),
    "OSError": lambda: OSError(5, "the host's own"),
    "ValueError": lambda: ValueError("the host's own"),
    "StudyError": lambda: StudyError("the host's own", "and its advice"),
    "StopIteration": StopIteration,
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three slices of the demo as each kind of study."""
    root = tmp_path_factory.mktemp("studies")
    folder, packed, volume = root / "folder", root / "study.zip", root / "study.nii.gz"
    folder.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(Path(DEMO_STUDY).rglob("*.dcm"))[:3]:
            shutil.copy(path, folder)
            archive.write(path, path.name)
    nibabel.save(
        nibabel.Nifti1Image(np.ones((40, 40, 3), np.float32), np.diag([1.5, 1.5, 8.0, 1.0])), volume
    )
    return {"folder": folder, "zip": packed, "NIfTI": volume}


def fails_at(call: int, error: Exception) -> Callable[[Stage, float], None]:
    """A callback that raises ``error`` when it is called for the ``call``-th time, from 0."""
    seen: list[Stage] = []

    def callback(stage: Stage, done: float) -> None:
        if len(seen) == call:
            raise error
        seen.append(stage)

    return callback


@pytest.mark.parametrize("ecg", [None, DEMO_ECG], ids=["no ECG named", "with ECG"])
@pytest.mark.parametrize("kind", ["folder", "zip", "NIfTI"])
def test_every_call_may_raise_anything(
    segmenter: Segmenter, studies: dict[str, Path], kind: str, ecg: Path | None
) -> None:
    calls: list[Stage] = []
    segmenter.run(studies[kind], ecg, progress=lambda stage, done: calls.append(stage))
    assert len(calls) >= 7
    for call, stage in enumerate(calls):
        # Behind the readers every kind of error takes the same way.
        for name in RAISED if stage.startswith("read") else ["StopIteration"]:
            error = RAISED[name]()
            with pytest.raises(type(error)) as caught:
                segmenter.run(studies[kind], ecg, progress=fails_at(call, error))
            assert caught.value is error, f"{name} in call {call} of {len(calls)}, {stage}"
