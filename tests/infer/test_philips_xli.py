"""The size of a compressed waveform is known before a library expands it."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ecgdatakit.exceptions import CorruptedFileError
from ecgdatakit.parsing.codecs.lzw import LzwDecoder
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer.ecg.guards.philips_xli import expanded_bytes
from scarseg_infer.ecg.vendor import MAX_EXPANDED_BYTES, read_ecg_other
from scarseg_runtime.errors import EcgError


def payload(*chunks: bytes) -> str:
    parts = [len(chunk).to_bytes(4, "little") + b"\0\0\0\0" + chunk for chunk in chunks]
    return base64.b64encode(b"".join(parts)).decode()


def packed(codes: list[int]) -> bytes:
    bits = np.unpackbits(np.array(codes, ">u2").view("u1")).reshape(-1, 16)[:, 6:]
    return np.packbits(bits.reshape(-1)).tobytes()


@pytest.mark.parametrize("name", ["1_03_inferior_mi", "1_04_demo", "1_04_01"])
def test_real_waveforms_have_the_size_that_their_header_says(shared_data: Path, name: str) -> None:
    content = (shared_data / f"ecg/philips/{name}.xml").read_bytes()
    text = content.decode("utf-16" if content.startswith(b"\xff\xfe") else "utf-8")
    found = re.search(r"<parsedwaveforms[^>]*>([^<]*)", text)
    assert found is not None
    assert expanded_bytes(found[1]) == 16 * 5500 * 2  # 16 chunks of 11 s of 2 bytes


CODES = st.lists(st.integers(0, 1023) | st.integers(250, 300), min_size=1, max_size=200)


@given(chunks=st.lists(CODES.map(packed) | st.binary(min_size=2, max_size=300), max_size=3))
def test_any_stream_has_the_size_that_the_decoder_gives_it(chunks: list[bytes]) -> None:
    try:
        truth = sum(len(LzwDecoder(chunk, bits=10).read_all()) for chunk in chunks)
    except CorruptedFileError:  # it begins with a code that stands for nothing yet
        return
    assert expanded_bytes(payload(*chunks)) == truth


@given(text=st.text(max_size=100))
def test_any_text_has_a_size(text: str) -> None:
    assert expanded_bytes(text) >= 0


def test_a_waveform_that_explodes_is_refused_at_once(ecg_factory: ModuleType) -> None:
    codes = [0, *range(256, 1023), *[1022] * 70_000]
    assert expanded_bytes(payload(packed(codes))) > 10 * MAX_EXPANDED_BYTES
    content = ecg_factory.philips(ecg_factory.counts(), attributes='compression="XLI"')
    bomb = re.sub(r"(<parsedwaveforms[^>]*>)[^<]*", rf"\g<1>{payload(packed(codes))}",
                  content.decode("utf-16"))  # fmt: skip
    start = time.process_time()  # of this process alone: what else runs does not count
    with pytest.raises(EcgError, match="expands to far more"):
        read_ecg_other(bomb.encode("utf-16"))
    assert time.process_time() - start < 2.0
