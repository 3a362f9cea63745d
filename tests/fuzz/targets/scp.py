"""SCP-ECG: plain, with differences, with Huffman code, with reference beats."""

from __future__ import annotations

import struct

import ecg_checks as CHECKS

from scarseg_infer.ecg.vendor import read_ecg_other

DICTIONARY = (
    b"\x1f\x4e", b"SCPECG", b"\xff\xff", b"\xff\xff\xff\xff", b"\x02\x00", b"\x04\x00",
    b"\x05\x00", b"\x0c\x00", b"\x3d\x3e\x3f\x40",
)  # fmt: skip


def seeds() -> dict[str, bytes]:
    factory = CHECKS.FACTORY
    counts = factory.counts(6.0)
    few = counts[:100]
    switch = struct.pack("<HHBBbhIHBBbhI", 2, 1, 1, 1, 0, 2, 0, 1, 1, 1, 0, 1, 0)
    return {
        "plain": factory.scp(counts),
        "short": factory.scp(few),
        "no time": factory.scp(few, clock=False),
        "no day": factory.scp(few, day=(2024, 2, 0)),
        "year 1900": factory.scp(few, day=(1900, 1, 1)),
        "late lead": factory.scp(few, starts=(1,) * 11 + (5,)),
        "huffman": factory.scp(few, huffman=True),
        "long huffman": factory.scp(counts, huffman=True),
        "reference beats": factory.scp(few, beats=3),
        "huffman beats": factory.scp(few, huffman=True, beats=3),
        "tables that switch": factory.scp(few, huffman=True, more={2: switch}),
        "measurements": factory.scp(few, more={7: bytes(64), 10: bytes(64)}),
        "statements": factory.scp(few, more={8: bytes(8) + b"\1\1\5\0sinus"}),
    }


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: read_ecg_other(data))
