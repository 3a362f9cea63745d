"""An enhanced (multi-frame) MR object alone."""

from __future__ import annotations

import dicom_factory
import enhanced_factory
import study_checks as CHECKS
from dicom_mutate import mutate  # noqa: F401 - the harness calls it
from pydicom.uid import LegacyConvertedEnhancedMRImageStorage

from scarseg_infer.study.dicom.read import read_dicom

MAX_LEN = 16_384
DICTIONARY = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff")


def seeds() -> dict[str, bytes]:
    classic = dicom_factory.series(
        dicom_factory.noise(3, 6, 5), EchoTime=1.5, TriggerTime=300.0, RescaleSlope=2
    )
    made = {
        "shared": enhanced_factory.enhanced(classic),
        "per frame": enhanced_factory.enhanced(classic, shared=False),
        "legacy": enhanced_factory.enhanced(
            classic, SOPClassUID=LegacyConvertedEnhancedMRImageStorage
        ),
    }
    shared = made["legacy"].SharedFunctionalGroupsSequence[0]
    shared.UnassignedSharedConvertedAttributesSequence = [enhanced_factory._item(EchoTime=2)]
    return {name: dicom_factory.encoded(dataset) for name, dataset in made.items()}


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: read_dicom(dicom_factory.Files([data])))
