"""Hostile and odd XML, before a library sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer.ecg.guards.xml import (
    MAX_ALL_ATTRIBUTES,
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTES,
    MAX_BLANKS,
    MAX_CHANNELS,
    MAX_COMPRESSED_CHARS,
    MAX_DEPTH,
    MAX_ELEMENTS,
    check_xml,
)
from scarseg_infer.ecg.guards.xml import looks_like_xml as looks
from scarseg_runtime.errors import EcgError

LAUGHS = b"<!DOCTYPE RestingECG [<!ENTITY a 'ha'>%s]><RestingECG>&j;</RestingECG>" % b"".join(
    b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
)
OUTSIDE = b"<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><RestingECG>&x;</RestingECG>"
PARAMETER = b"<!DOCTYPE r [<!ENTITY % x SYSTEM 'file:///etc/hostname'> %x;]><RestingECG/>"


DEFAULTS = b"<!DOCTYPE r [<!ATTLIST b x CDATA 'vvvv'>]><RestingECG><b/><b/></RestingECG>"
NOTHING = b"<!DOCTYPE r []><RestingECG/>"


@pytest.mark.parametrize("bomb", [LAUGHS, OUTSIDE, PARAMETER, DEFAULTS, NOTHING])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_declarations_of_its_own_are_refused(bomb: bytes, encoding: str) -> None:
    with pytest.raises(EcgError, match="its own declarations"):
        check_xml(bomb.decode().encode(encoding))


def test_a_named_dtd_is_let_through_and_nobody_opens_it() -> None:
    assert check_xml(b'<!DOCTYPE a SYSTEM "file:///dev/zero"><a/>').root == "a"


def test_sizes_have_limits() -> None:
    assert check_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH).root == "a"
    with pytest.raises(EcgError):
        check_xml(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1))
    with pytest.raises(EcgError):
        check_xml(b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>")
    attributes = b"".join(b"a%d='' " % i for i in range(MAX_ATTRIBUTES))
    assert check_xml(b"<a %s/>" % attributes).root == "a"
    with pytest.raises(EcgError):
        check_xml(b"<a b='' %s/>" % attributes)
    full = b"<b %s/>" % b"".join(b"a%d='' " % i for i in range(50))
    assert check_xml(b"<a>" + full * (MAX_ALL_ATTRIBUTES // 50) + b"</a>").root == "a"
    with pytest.raises(EcgError):
        check_xml(b"<a b=''>" + full * (MAX_ALL_ATTRIBUTES // 50) + b"</a>")
    assert check_xml(b"<a b='%s'/>" % (b"x" * MAX_ATTRIBUTE_CHARS)).root == "a"
    with pytest.raises(EcgError):
        check_xml(b"<a b='%s'/>" % (b"x" * (MAX_ATTRIBUTE_CHARS + 1)))
    payload = b"x" * MAX_COMPRESSED_CHARS
    waveform = b"<a><b compression='XLI'>%s</b><c>%s</c></a>"
    assert check_xml(waveform % (payload, payload)).root == "a"
    with pytest.raises(EcgError):
        check_xml(waveform % (payload + b"x", b""))


@pytest.mark.parametrize("blank", [" ", "\n", " \n\t"])
def test_blanks_in_a_row_have_a_limit(blank: str) -> None:
    row = (blank * MAX_BLANKS)[:MAX_BLANKS]
    text = f"<a>{row}x{row}<b/>{row}</a>"
    assert check_xml(text.encode()).root == "a"
    with pytest.raises(EcgError):
        check_xml(text.replace("x", " ").encode())


@pytest.mark.parametrize("name", ["numberchannelsallocated", "numberchannelsvalid"])
@pytest.mark.parametrize(
    "text", ["{}", " {}\n", "<!-- a -->{}<!-- b -->", "<![CDATA[{}]]>", "<b>1</b>{}<b>2</b>"]
)
def test_channels_have_a_limit(name: str, text: str) -> None:
    element = f"<a><{name}>{text}</{name}></a>"
    assert check_xml(element.format(MAX_CHANNELS).encode()).root == "a"
    for hostile in (MAX_CHANNELS + 1, "30000000", "3e7", "1" * 400, "inf"):
        with pytest.raises(EcgError):
            check_xml(element.format(hostile).encode())
    assert check_xml(element.format("---").encode()).root == "a"


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
