"""An enhanced (multi-frame) MR object alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from pydicom.uid import LegacyConvertedEnhancedMRImageStorage

from scarseg_infer.read_dicom import read_dicom


def _beside(name: str) -> ModuleType:
    place = Path(__file__).parents[1] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = _beside("study_checks")
mutate = _beside("dicom_mutate").mutate
MAX_LEN = 16_384
DICTIONARY = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff")


def seeds() -> dict[str, bytes]:
    classic = CHECKS.DICOM.series(
        CHECKS.DICOM.noise(3, 6, 5), EchoTime=1.5, TriggerTime=300.0, RescaleSlope=2
    )
    made = {
        "shared": CHECKS.ENHANCED.enhanced(classic),
        "per frame": CHECKS.ENHANCED.enhanced(classic, shared=False),
        "legacy": CHECKS.ENHANCED.enhanced(
            classic, SOPClassUID=LegacyConvertedEnhancedMRImageStorage
        ),
    }
    shared = made["legacy"].SharedFunctionalGroupsSequence[0]
    shared.UnassignedSharedConvertedAttributesSequence = [CHECKS.ENHANCED._item(EchoTime=2)]
    return {name: CHECKS.file_of(dataset) for name, dataset in made.items()}


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: read_dicom(CHECKS.Files([data])))
