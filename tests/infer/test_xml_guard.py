"""Hostile and odd XML, before a library sees it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer.xml_guard import MAX_COMPRESSED_CHARS, MAX_DEPTH, MAX_ELEMENTS, check_xml
from scarseg_infer.xml_guard import looks_like_xml as looks
from scarseg_runtime.errors import EcgError

LAUGHS = b"<!DOCTYPE RestingECG [<!ENTITY a 'ha'>%s]><RestingECG>&j;</RestingECG>" % b"".join(
    b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
)
OUTSIDE = b"<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><RestingECG>&x;</RestingECG>"
PARAMETER = b"<!DOCTYPE r [<!ENTITY %% x SYSTEM 'file:///etc/hostname'> %x;]><RestingECG/>"


@pytest.mark.parametrize("bomb", [LAUGHS, OUTSIDE, PARAMETER])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_at_once(bomb: bytes, encoding: str) -> None:
    start = time.perf_counter()
    with pytest.raises(EcgError, match=r"declares entities|damaged XML"):
        check_xml(bomb.decode().encode(encoding))
    assert time.perf_counter() - start < 1.0


def test_sizes_have_limits() -> None:
    assert check_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH).root == "a"
    with pytest.raises(EcgError):
        check_xml(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1))
    with pytest.raises(EcgError):
        check_xml(b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>")
    payload = b"x" * MAX_COMPRESSED_CHARS
    waveform = b"<a><b compression='XLI'>%s</b><c>%s</c></a>"
    assert check_xml(waveform % (payload, payload)).root == "a"
    with pytest.raises(EcgError):
        check_xml(waveform % (payload + b"x", b""))


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8"), ("utf-16", "utf-16"), ("utf-16", None),
        ("latin-1", "ISO-8859-1"), ("latin-1", "UTF-8"), ("latin-1", None), ("cp1252", None),
        ("gbk", "GBK"), ("shift_jis", "Shift_JIS"),
    ],
)  # fmt: skip
def test_text_arrives_in_utf8_whatever_the_encoding(encoding: str, declared: str | None) -> None:
    text = "窦性心律" if encoding == "gbk" else "洞調律" if encoding == "shift_jis" else "Müller"
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    data = f"{head}<h:RestingECG xmlns:h='x'>{text}</h:RestingECG>".encode(encoding)
    assert looks(data)
    checked = check_xml(data)
    assert checked.root == "RestingECG"
    assert checked.utf8.decode() == f"<h:RestingECG xmlns:h='x'>{text}</h:RestingECG>"


@pytest.mark.parametrize("name", ["punycode", "idna", "unicode_escape", "rot13", "nothing", "hex"])
def test_odd_codecs_are_not_looked_up(name: str) -> None:
    assert check_xml(f'<?xml version="1.0" encoding="{name}"?><a>1</a>'.encode()).root == "a"


@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_document_or_one_ecg_error(data: bytes) -> None:
    for content in (data, b"<a>" + data + b"</a>", b"\xff\xfe" + data):
        try:
            assert check_xml(content).root
        except EcgError as error:
            assert "\n" not in str(error)
