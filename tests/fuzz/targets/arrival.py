"""A file of a posted zip, as the node sorts it into its queue."""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO
from typing import Any

import dicom_factory
import ecg_checks
import study_checks as CHECKS
from dicom_mutate import mutate  # noqa: F401 - the harness calls it

from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.http.api import why_not_taken
from scarseg_runtime.errors import StudyError

MAX_LEN = 16_384
DICTIONARY = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.9.1.1", b"\x02\0\x02\0UI")


def seeds() -> dict[str, bytes]:
    (image,) = dicom_factory.series(dicom_factory.noise(1, 6, 5), SeriesInstanceUID="1.2.3")
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    plain = dicom_factory.encoded(image)
    factory = ecg_checks.FACTORY
    few = factory.counts(1.0)[:20, :1]
    group = factory.multiplex_group(few, factory.LEADS[:1])
    dates = {"day": "20240229", "month": "202402", "none": "UNKNOWN", "zone": "20240229101500+0100"}
    found = {
        f"ECG of {name}": factory.dicom_bytes(factory.dicom(group, recorded=text))
        for name, text in dates.items()
    }
    return found | {
        "image": plain,
        "no preamble": plain[132:],
        "cut": plain[:300],
        "class in the meta information": _without(image, "SOPClassUID"),
        "UID in the meta information": _without(image, "SOPInstanceUID"),
        "no study": _without(image, "StudyInstanceUID"),
        "neither study nor series": _without(image, "StudyInstanceUID", "SeriesInstanceUID"),
        "blank in a UID": plain.replace(b"1.2.3.4", b"1.2 3.4"),
        "leading zeros": plain.replace(b"1.2.3.4", b"1.2.003"),
    }


def _without(image: Any, *keywords: str) -> bytes:
    found = deepcopy(image)
    for keyword in keywords:
        del found[keyword]
    stream = BytesIO()
    found.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def one(data: bytes) -> None:
    arrival = arrival_in_file(data)
    if arrival is None:
        why = why_not_taken(data, 0, "file 1 of 1 in name order")
        CHECKS.check_words(why)
        raise StudyError(why, "")
    assert arrival.sop_uid and arrival.study_uid
    assert arrival.taken == "" or arrival.taken[:2].isdecimal()
    assert 0 <= arrival.start <= len(data)
