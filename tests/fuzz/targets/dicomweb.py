"""Answers of DICOMweb servers: messages of several parts, lists, and answers to a store.

The first byte says which, and into how long pieces the wire cuts it.
"""

from __future__ import annotations

import json

import dicom_factory

from scarseg_infer.dicomweb.client import (
    MAX_ANSWERS,
    check_stored,
    ecg_series_in,
    ecg_studies_in,
    listed,
)
from scarseg_infer.dicomweb.errors import DicomWebError
from scarseg_infer.dicomweb.multipart import boundary_of, parts

DICTIONARY = (
    b"--bnd\r\n", b"\r\n--bnd--", b"Content-Type: application/dicom\r\n\r\n", b'"00081199"',
    b'"00081198"', b'"00081155"', b'"00081197"', b'"0020000D"', b'"Value":[', b"1.2.3", b"[[[[",
)  # fmt: skip
PART_BYTES = 4096
_UID = "1.2.3"


def seeds() -> dict[str, bytes]:
    image = dicom_factory.encoded(dicom_factory.series(dicom_factory.noise(1, 6, 5))[0])
    head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
    whole = head + image + b"\r\n" + head + b"x\r\n--bnd--\r\n"
    item = {"00081155": {"vr": "UI", "Value": [_UID]}, "00081197": {"vr": "US", "Value": [273]}}
    study = {"0020000D": {"Value": [_UID]}, "00080061": {"Value": ["MR", "ECG"]}}
    series = {"0020000E": {"Value": [_UID]}, "00080060": {"Value": ["ECG"]}}
    return {
        "parts": b"\x0c" + whole,
        "parts in pieces": b"\x10" + whole,
        "half": b"\x0c" + whole[:-9],
        "type": b'\x01multipart/related; type="application/dicom"; boundary="bnd"',
        "studies": b"\x02" + json.dumps([study, series]).encode(),
        "stored": b"\x03" + json.dumps({"00081199": {"Value": [item]}}).encode(),
        "failed": b"\x03" + json.dumps({"00081198": {"Value": [item]}}).encode(),
    }


def one(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    try:
        if kind == 0:
            step = data[0] // 4 + 1
            pieces = (rest[at : at + step] for at in range(0, len(rest), step))
            for part in parts(pieces, "bnd", PART_BYTES):
                assert part is None or (len(part) <= PART_BYTES and part in rest)
        elif kind == 1:
            assert boundary_of(rest.decode("latin-1"))
        elif kind == 2:
            _searched(rest)
        else:
            check_stored(200, "application/json", rest, _UID)
            assert _UID in json.dumps(json.loads(rest)) or b"00081198" in rest or b"\\u" in rest
    except DicomWebError as error:
        assert _UID not in str(error)


def _searched(data: bytes) -> None:
    try:
        answers = listed(json.loads(data))
    except (ValueError, RecursionError):
        return
    uids = ecg_studies_in(answers) + ecg_series_in(answers)
    assert len(uids) <= 2 * MAX_ANSWERS
    assert all(set(uid) <= set("0123456789.") for uid in uids)
