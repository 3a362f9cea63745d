"""NIfTI-1 and -2, plain and gzip; mutations know where the fields of the header lie."""

from __future__ import annotations

import gzip
import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import study_checks as CHECKS

from scarseg_infer.study.nifti import read_nifti

MAX_LEN = 16_384
DICTIONARY = (b"n+1\0", b"n+2\0", b"ni1\0", b"\x1f\x8b\x08", b"\x5c\x01\0\0", b"\0\0\x01\x5c")
NUMBERS = (
    0.0, 1.0, -1.0, 8.0, 0.5, 1e-40, 1e38, -1e38, 32767.0, float("inf"),
    float("nan"), 1e300,
)  # fmt: skip
_FIELDS = {
    False: ((40, "h", 8), (70, "h", 2), (76, "f", 12), (252, "h", 2), (256, "f", 18)),
    True: ((12, "h", 2), (16, "q", 8), (104, "d", 8), (168, "q", 1), (176, "d", 2), (344, "i", 2),
           (352, "d", 18)),
}  # fmt: skip
"""By whether it is NIfTI-2: runs of fields of one type (offset, type, count)."""


def seeds() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    affine = np.diag([1.25, 1.5, 10.0, 1.0])
    found = {}
    for kind in ("i2", "u1", "f4", "f8", ">i2", "u8"):
        voxels = rng.integers(0, 200, (6, 5, 4)).astype(kind)
        found[f"of {kind}"] = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype).to_bytes()
        found[f"2 of {kind}"] = nib.Nifti2Image(voxels, affine, dtype=voxels.dtype).to_bytes()
    found["gzip"] = gzip.compress(found["of i2"], mtime=0)
    found["bomb"] = gzip.compress(found["of i2"] + bytes(8 << 20), mtime=0)
    found["one slice"] = nib.Nifti1Image(np.ones((6, 5, 1), np.int16), affine).to_bytes()
    turned = nib.Nifti1Image(rng.integers(0, 200, (4, 6, 5)).astype("i2"), None)
    turned.set_sform(np.diag([10.0, 1.25, 1.5, 1.0]), 1)
    turned.set_qform(np.diag([10.0, -1.25, 1.5, 1.0]), 1)
    # A third axis that runs the other way in one of two placements.
    mirrored = nib.Nifti1Image(rng.integers(0, 200, (6, 5, 4)).astype("i2"), None)
    mirrored.set_sform(affine, 1)
    mirrored.set_qform(np.diag([1.25, 1.5, -10.0, 1.0]), 1)
    found["third axis both ways"] = mirrored.to_bytes()
    labels = rng.integers(0, 5, (18, 16, 4)).astype("u1")
    found["map of labels"] = nib.Nifti1Image(labels, affine).to_bytes()
    smooth = np.add.outer(np.arange(36) * 2, np.arange(34) * 300)[..., None] + np.arange(3)
    turned_bytes = smooth.astype("i2").byteswap()
    found["bytes turned"] = nib.Nifti1Image(turned_bytes, affine).to_bytes()
    inverted = nib.Nifti1Image(smooth.astype("i2"), affine)
    inverted.header.set_slope_inter(-1.0, 9.0)
    found["inverted"] = inverted.to_bytes()
    thin = np.linspace(0, 200, 6 * 5 * 9).reshape(6, 5, 9).astype("f4")
    found["put in between"] = nib.Nifti1Image(thin, np.diag([1.25, 1.5, 1.0, 1.0])).to_bytes()
    found["slices on the first axis, two placements"] = turned.to_bytes()
    return found


def one(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="scarseg-fuzz-") as folder:
        path = Path(folder, "Secretname.nii")
        path.write_bytes(data)
        CHECKS.check_read(lambda: read_nifti(path))


def mutate(data: bytes, limit: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Set a field of the header, inside of gzip too; in half of the cases ``plain``."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return bytes(plain(data, limit))
    inside = data
    if data[:2] == b"\x1f\x8b":
        try:
            inside = gzip.decompress(data)[:limit]
        except (OSError, EOFError, zlib.error):
            return bytes(plain(data, limit))
    changed = bytearray(inside)
    order = ">" if inside[:2] == b"\0\0" else "<"
    begin, kind, count = chance.choice(_FIELDS[inside[4:7] == b"n+2"])
    for _ in range(chance.choice((1, 1, 2))):
        at = begin + struct.calcsize(kind) * chance.randrange(count)
        value = chance.choice(NUMBERS[:-1] if kind == "f" else NUMBERS)
        if kind in "hqi":
            value = int(value) if -(2**15) <= value < 2**15 else -(2**15)
        if at + 8 <= len(changed):
            struct.pack_into(order + kind, changed, at, value)
    found = bytes(changed[:limit])
    return gzip.compress(found, mtime=0)[:limit] if inside is not data else found
