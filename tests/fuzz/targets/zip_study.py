"""A zipped study: the archive's own structure, and members that were changed and packed anew."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import dicom_factory
import numpy as np
import study_checks as CHECKS

from scarseg_infer.study.read import read_study

MAX_LEN = 32_768
DICTIONARY = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\xff\xff\xff\xff", "../")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
NAMES = ("a/../b", "/a", "C:\\a", "\\\\host\\a", "a\\b", "a//b", ".", "..", "a/", "\0", "é" * 99)
_HEADS = (b"PK\1\2", b"PK\3\4", b"PK\5\6")
_NUMBERS = (0, 1, 2, 8, 9, 12, 14, 93, 99, 255, 1 << 15, (1 << 16) - 1)


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    made = dicom_factory.series(dicom_factory.noise(3, 6, 5))
    members = {f"study/{i}.dcm": dicom_factory.encoded(image) for i, image in enumerate(made)}
    found = {f"method {method}": packed(members, method) for method in METHODS}
    found["with a note"] = packed({**members, "read me.txt": b"x" * 300})
    made[1].SOPInstanceUID = made[0].SOPInstanceUID
    twins = {**members, "study/1.dcm": dicom_factory.encoded(made[1])}
    found["twins"] = packed(twins)
    foreign = {
        "stub": bytes(128) + b"DICM",
        "cut": members["study/2.dcm"][:400],
        "a.zip": b"PK\3\4",
    }
    found["foreign"] = packed({**members, **foreign})
    found["nothing"] = packed({})
    found["a zip inside"] = packed({"study.zip": packed(members), "read me.txt": b"x"})
    maps = dicom_factory.series(dicom_factory.noise(3, 48, 40) % 5)
    found["map of labels"] = packed(
        {f"{i}.dcm": dicom_factory.encoded(image) for i, image in enumerate(maps)}
    )
    moved = [[0.0, 0.0, 0.0], [18.0, 5.0, 0.0], [0.0, 0.0, -4.0], [0.0, 0.0, -30.0]]
    uneven = dicom_factory.series(dicom_factory.noise(4, 6, 5), drift_mm=np.array(moved))
    found["uneven and moved"] = packed(
        {f"{i}.dcm": dicom_factory.encoded(image) for i, image in enumerate(uneven)}
    )
    for image in uneven[2:]:
        image.SeriesInstanceUID, image.SeriesNumber = "1.2.9", 13
    found["two series"] = packed(
        {f"{i}.dcm": dicom_factory.encoded(image) for i, image in enumerate(uneven)}
    )
    found["bomb"] = packed({**members, "zeros": bytes(3 << 20)})
    return found


def one(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="scarseg-fuzz-") as folder:
        path = Path(folder, "Secretname.zip")
        path.write_bytes(data)
        CHECKS.check_read(lambda: read_study(path))


def mutate(data: bytes, limit: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Change a number in a header, or a member or its name and pack again; else ``plain``."""
    chance = random.Random(seed)
    way = chance.randrange(3)
    if way == 0:
        return bytes(plain(data, limit))
    if way == 1:
        spots = [i for head in _HEADS for i in _all(data, head)]
        if not spots:
            return bytes(plain(data, limit))
        changed = bytearray(data)
        at = chance.choice(spots) + 4 + 2 * chance.randrange(21)
        if at + 2 <= len(changed):
            struct.pack_into("<H", changed, at, chance.choice(_NUMBERS))
        return bytes(changed[:limit])
    return _packed_anew(data, limit, chance, plain)


def _packed_anew(
    data: bytes, limit: int, chance: random.Random, plain: Callable[[bytes, int], bytes]
) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {
                info.filename: archive.open(info).read(100_000) for info in archive.infolist()
            }
        name = chance.choice(list(members))
        if chance.random() < 0.3:
            members[chance.choice(NAMES)] = members.pop(name)
        else:
            members[name] = bytes(plain(members[name], limit // 2))
        anew = packed(members, chance.choice(METHODS))
    except Exception:  # noqa: BLE001 - what zipfile cannot read is left to libFuzzer
        return bytes(plain(data, limit))
    return anew if len(anew) <= limit else bytes(plain(data, limit))


def _all(data: bytes, word: bytes) -> list[int]:
    found, at = [], data.find(word)
    while at >= 0:
        found.append(at)
        at = data.find(word, at + 1)
    return found
