"""DICOMweb as a client, with servers that refuse, lie, stall and break off at the other end."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_infer.dicomweb import errors
from scarseg_infer.dicomweb.client import DicomWeb, check_stored
from scarseg_infer.dicomweb.errors import DicomWebError
from scarseg_infer.dicomweb.multipart import boundary_of, parts
from scarseg_infer.dicomweb.server import WebServer, checked_url
from scarseg_runtime.errors import RunTimeoutError, UsageError
from scarseg_runtime.run_control import NO_LIMITS, RunControl

JSON = "application/dicom+json"
STUDY, SECRET = "1.2.826.99", "SECRET-ID-4711"
Start = Callable[..., Any]


def client(server: Any, control: RunControl = NO_LIMITS, **settings_: Any) -> DicomWeb:
    found = WebServer(server.url, **{"timeout_s": 5.0, **settings_})
    return DicomWeb(found, control, object_bytes=1 << 20, all_bytes=4 << 20)


def fetched(server: Any, control: RunControl = NO_LIMITS, **settings_: Any) -> list[bytes | None]:
    with client(server, control, **settings_) as web:
        return list(web.objects(STUDY))


def why(server: Any, **settings_: Any) -> str:
    with pytest.raises(DicomWebError) as failure:
        fetched(server, **settings_)
    assert STUDY not in str(failure.value) + failure.value.advice
    return failure.value.what


@pytest.fixture
def whole(web_peers: ModuleType) -> bytes:
    """An answer with three objects."""
    body = web_peers.multipart([b"one", b"two\r\n--b0undar" * 9, b""])
    found: bytes = web_peers.answer("200 OK", body, web_peers.MULTIPART)
    return found


def test_objects_come_as_they_were_sent(web_server: Start, whole: bytes) -> None:
    server = web_server(whole)
    assert fetched(server) == [b"one", b"two\r\n--b0undar" * 9, b""]
    assert server.asked[0].target == f"/dicom-web/studies/{STUDY}"
    assert server.asked[0].header("Host") == f"127.0.0.1:{server.port}"
    assert server.asked[0].header("Accept-Encoding") == "identity"


def test_a_single_object_needs_no_multipart(web_server: Start, web_peers: ModuleType) -> None:
    assert fetched(web_server(web_peers.answer("200 OK", b"x", "application/dicom"))) == [b"x"]
    assert fetched(web_server(web_peers.answer("204 No Content"))) == []


@pytest.mark.parametrize(
    "status",
    ["401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Error", "429 Too Many Requests"],
)
def test_a_refusal_is_named_by_its_status(
    web_server: Start, web_peers: ModuleType, status: str
) -> None:
    """And by nothing of what the server says: that may quote the patient."""
    server = web_server(web_peers.answer(status, SECRET.encode(), "text/plain"))
    assert why(server) == f"status {status[:3]}"
    assert len(server.asked) == 1, "the user or the queue tries again, not the library"


@pytest.mark.parametrize("code", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(web_server: Start, web_peers: ModuleType, whole: bytes,
                                 tmp_path: Path, code: str) -> None:  # fmt: skip
    """Else token and patient identifier would go where it points."""
    (tmp_path / "token").write_text("T0ken")
    other = web_server(whole)
    first = web_server(
        web_peers.answer(code, b"x" * 9_000_000, "text/plain", f"Location: {other.url}/studies/1")
    )
    assert why(first, token_file=tmp_path / "token") == errors.REDIRECTED
    assert other.connections == 0
    assert first.asked[0].header("Authorization") == "Bearer T0ken"


def test_a_login_page_is_no_study(web_server: Start, web_peers: ModuleType) -> None:
    page = web_peers.answer("200 OK", b"<html>Log in</html>", "text/html; charset=utf-8")
    assert why(web_server(page)) == errors.NOT_DICOM
    with client(web_server(page)) as web, pytest.raises(DicomWebError, match="not DICOM"):
        web.ecg_studies("1")
    with client(web_server(page)) as web, pytest.raises(DicomWebError, match="does not say"):
        web.store(b"x", "1.2.3")


def test_half_answers_are_errors(web_server: Start, web_peers: ModuleType, whole: bytes) -> None:
    """However the server ends them: early, as a chunk, or as if that had been all."""
    head, _, body = whole.partition(b"\r\n\r\n")
    for cut in (len(whole) - 3, len(head) + 9, len(head) + 60):
        assert why(web_server(whole[:cut])) == errors.CUT_SHORT
    kind = f"HTTP/1.1 200 OK\r\nContent-Type: {web_peers.MULTIPART}\r\n".encode()
    for cut in (len(body) - 4, len(body) // 2, 0):
        assert why(web_server(kind + b"\r\n" + body[:cut])) == errors.CUT_SHORT
        chunk = b"%x\r\n%s\r\n" % (cut, body[:cut]) if cut else b""
        chunked = kind + b"Transfer-Encoding: chunked\r\n\r\n" + chunk
        assert why(web_server(chunked)) == errors.CUT_SHORT
        assert why(web_server(chunked + b"0\r\n\r\n")) == errors.CUT_SHORT
    for rest in (b"", kind, b"HTTP/1.1 2", b"\x16\x03\x01garbage\r\n\r\n"):
        assert why(web_server(rest)) == errors.CUT_SHORT
    partly = whole.replace(b"200 OK", b"206 Partial Content")
    assert why(web_server(partly)) == errors.CUT_SHORT
    nameless = whole.replace(b"boundary=b0undary", b"start=1")
    assert why(web_server(nameless)) == errors.CUT_SHORT


def test_answers_have_a_limit(web_server: Start, web_peers: ModuleType) -> None:
    kind = f"HTTP/1.1 200 OK\r\nContent-Type: {web_peers.MULTIPART}\r\n".encode()
    large = web_peers.multipart([b"s", b"x" * (1 << 20), b"x" * (1 << 20 | 1), b"t"])
    assert fetched(web_server(web_peers.answer("200 OK", large, web_peers.MULTIPART))) == [
        b"s", b"x" * (1 << 20), None, b"t",
    ]  # fmt: skip
    assert why(web_server(kind + b"Content-Length: 99999999\r\n\r\n")) == errors.TOO_LARGE

    def endless(_: Any) -> Iterator[bytes]:
        yield kind + b"\r\n--b0undary\r\nA: b\r\n\r\n"
        while True:
            yield b"x" * (1 << 16)

    assert why(web_server(endless)) == errors.TOO_LARGE
    packed = gzip.compress(b"\0" * 1_000_000)
    for status, what in (("200 OK", errors.NOT_DICOM), ("404 Not Found", "status 404")):
        bomb = web_peers.answer(status, packed, web_peers.MULTIPART, "Content-Encoding: gzip")
        assert why(web_server(bomb)) == what
    bomb = web_peers.answer("200 OK", packed, JSON, "Content-Encoding: gzip")
    with client(web_server(bomb)) as web, pytest.raises(DicomWebError, match="not DICOM"):
        web.ecg_studies("1")


def test_silence_and_drops_of_an_answer_end(web_server: Start, web_peers: ModuleType) -> None:
    """A server that says a byte now and then is never silent: the limit of the whole ends it."""

    def silent(_: Any) -> Iterator[bytes]:
        time.sleep(20)
        yield b""

    def dripping(start: bytes) -> Any:
        def script(_: Any) -> Iterator[bytes]:
            yield start
            while True:
                yield b"a"
                time.sleep(0.02)

        return script

    assert why(web_server(silent), timeout_s=0.3) == errors.NO_ANSWER
    kind = f"HTTP/1.1 200 OK\r\nContent-Type: {web_peers.MULTIPART}\r\n\r\n".encode()
    for start in (b"", b"HTTP/1.1 200 OK\r\nX: ", kind, kind + b"--b0undary\r\n\r\n"):
        server = web_server(dripping(start))
        with pytest.raises(RunTimeoutError):
            fetched(server, RunControl(None, 0.5))


def test_what_is_not_there_is_said(free_ports: Callable[[int], list[int]]) -> None:
    for url, what in (
        (f"http://127.0.0.1:{free_ports(1)[0]}", errors.NOT_REACHABLE),
        ("http://nobody.invalid", errors.NAME_NOT_KNOWN),
    ):
        web = DicomWeb(WebServer(url), object_bytes=1, all_bytes=1)
        with web, pytest.raises(DicomWebError) as failure:
            list(web.objects(STUDY))
        assert failure.value.what == what


def test_a_new_token_counts_at_once(
    web_server: Start, web_peers: ModuleType, whole: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    server = web_server(
        lambda asked: [
            whole
            if asked.header("Authorization") == "Bearer new"
            else web_peers.answer("401 Unauthorized")
        ]
    )
    file.write_text("old\n")
    with client(server, token_file=file) as web:
        with pytest.raises(DicomWebError, match="401"):
            list(web.objects(STUDY))
        file.write_text("new\n")
        assert len(list(web.objects(STUDY))) == 3
        for edited in ("utf-8-sig", "utf-16"):  # as editors of Windows save it
            file.write_text("new\r\n", encoding=edited)
            assert len(list(web.objects(STUDY))) == 3
        for bad in ("", "two words", "tök", "a\nb", "x" * 70_000):
            file.write_text(bad, encoding="utf-8")
            with pytest.raises(DicomWebError, match="token file"):
                list(web.objects(STUDY))
        file.unlink()
        with pytest.raises(DicomWebError, match="token file"):
            list(web.objects(STUDY))
    assert len(server.asked) == 4, "without a token nothing is asked"


def test_a_login_is_sent_as_utf8(web_server: Start, whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "login").write_text("radiö:p:w", encoding="utf-8")
    server = web_server(whole)
    fetched(server, login_file=tmp_path / "login")
    assert server.asked[0].header("Authorization") == "Basic cmFkacO2OnA6dw=="


def test_the_environment_adds_nothing(
    web_server: Start, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy sees the identifier, no .netrc gives a login."""
    proxy, server = web_server(whole), web_server(whole)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(fetched(server)) == 3
    assert proxy.connections == 0
    assert server.asked[0].header("Authorization") == ""


def test_nothing_is_logged(
    web_server: Start, web_peers: ModuleType, whole: bytes, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Neither by dicomweb-client nor by what is below it, whatever the host's logging is set to."""
    caplog.set_level(logging.DEBUG)
    kind = f"{JSON}\r\nBroken {SECRET}"
    odd = web_peers.answer("200 OK", b"[]", kind, f"Warning: 299 {SECRET}")
    with client(web_server(odd)) as web:
        assert web.ecg_studies(SECRET) == []
        assert web.ecg_series(STUDY) == []
    fetched(web_server(whole))
    why(web_server(whole[:-20]))
    why(web_server(web_peers.answer("404 Not Found")))
    said = caplog.text + "".join(capfd.readouterr())
    assert SECRET not in said and STUDY not in said and "127.0.0.1" not in said


def test_studies_are_asked_for_and_sorted(web_server: Start, web_peers: ModuleType) -> None:
    def study(uid: Any, date: str = "", *modalities: str) -> dict[str, Any]:
        found = {"0020000D": {"vr": "UI", "Value": [uid]}, "00080020": {"Value": [date]}}
        return found | ({"00080061": {"Value": list(modalities)}} if modalities else {})

    told = [
        study("1.1", "20200101", "ECG"), study("1.2", "20240101", "MR", "ECG"),
        study("1.3", "20230101"), study("1.4", "20250101", "MR"), study("../x", "2026"),
        study("1.6", "2022.06.01"), study("1.7", "UNKNOWN"), study("1.8", "202501"),
        study(5), study(None), "odd", {}, {"0020000D": []}, study("1.5/series", "2026"),
    ]  # fmt: skip
    server = web_server(web_peers.answer("200 OK", json.dumps(told).encode(), JSON))
    with client(server) as web:
        assert web.ecg_studies("P 1/2&x=ä") == ["1.2", "1.3", "1.6", "1.1", "1.7", "1.8"]
    query = server.asked[0].target.partition("?")[2].split("&")
    assert {"PatientID=P+1%2F2%26x%3D%C3%A4", "ModalitiesInStudy=ECG", "limit=100"} < {*query}


def pages(
    web_peers: ModuleType, most: int, *, knows_offset: bool = True, warns: bool = False
) -> Any:
    """A server with 250 series that gives so many at a time."""
    told = [{"0020000E": {"Value": [f"1.{number}"]}} for number in range(250)]

    def script(asked: Any) -> list[bytes]:
        query = dict(one.split("=") for one in asked.target.partition("?")[2].split("&"))
        limit, offset = int(query["limit"]), int(query.get("offset", 0))
        if limit > 200:  # as the DICOM service of Azure
            return [web_peers.answer("400 Bad Request")]
        start = offset if knows_offset else 0
        page = told[start : start + min(limit, most)]
        if not page:
            return [web_peers.answer("204 No Content")]
        more = ["Warning: 299 x: there are more"] if warns and start + len(page) < 250 else []
        return [web_peers.answer("200 OK", json.dumps(page).encode(), JSON, *more)]

    return script


@pytest.mark.parametrize(
    ("options", "series", "questions"),
    [
        ({"most": 200}, 250, 3),
        ({"most": 40, "warns": True}, 250, 7),
        ({"most": 200, "knows_offset": False}, 100, 2),
    ],
    ids=["pages", "fewer than asked for, with a warning", "knows no pages"],
)
def test_long_answers_come_in_pages(
    web_server: Start, web_peers: ModuleType, options: dict[str, Any], series: int, questions: int
) -> None:
    server = web_server(pages(web_peers, **options))
    with client(server) as web:
        assert web.ecg_series("1.2") == [f"1.{number}" for number in range(series)]
    assert len(server.asked) == questions


def test_an_archive_that_refuses_transfer_syntaxes(
    web_server: Start, web_peers: ModuleType, whole: bytes
) -> None:
    """As dcm4chee did: it then sends what it has in its plain form."""

    def script(asked: Any) -> list[bytes]:
        refuses = "transfer-syntax" in asked.header("Accept")
        return [web_peers.answer("406 Not Acceptable") if refuses else whole]

    server = web_server(script)
    assert fetched(server)[0] == b"one"
    assert [asked.header("Accept").count("application/dicom") for asked in server.asked] == [1, 1]
    assert why(web_server(web_peers.answer("406 Not Acceptable"))) == "status 406"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"[" * 100_000, b"5", b'"x"', b"[1" + b",1" * 1001 + b"]",
     b"[" + b"9" * 5000 + b"]", "[{}]".encode("utf-16"), b"\xff\xfe\0"],
    ids=lambda body: repr(body[:8]),
)  # fmt: skip
def test_odd_lists_are_errors_or_nothing(
    web_server: Start, web_peers: ModuleType, body: bytes
) -> None:
    server = web_server(web_peers.answer("200 OK", body, JSON))
    with client(server) as web:
        try:
            assert web.ecg_series("1.2") == []
        except DicomWebError as error:
            assert error.what == errors.CUT_SHORT


def stored(uid: str, failed: int | None = None) -> bytes:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if failed is None:
        return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()
    item["00081197"] = {"vr": "US", "Value": [failed]}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "body", "what"),
    [
        ("200 OK", JSON, stored("1.2.3"), ""),
        ("200 OK", JSON + "; charset=utf-8", stored("1.2.3"), ""),
        ("200 OK", "application/json", b"[" + stored("1.2.3") + b"]", ""),
        ("202 Accepted", JSON, stored("1.2.3"), ""),
        ("409 Conflict", JSON, stored("1.2.3", 0x0111), ""),
        ("409 Conflict", JSON, stored("1.2.3", 45070), ""),  # Azure's word for the same
        ("409 Conflict", JSON, stored("1.2.3", 0x0110), "status 409"),
        ("202 Accepted", JSON, stored("1.2.3", 0xA700), "failure reason 0xA700"),
        ("200 OK", JSON, stored("1.2.4"), errors.NOT_CONFIRMED),
        ("200 OK", JSON, b"{}", errors.NOT_CONFIRMED),
        ("200 OK", JSON, b"", errors.NOT_CONFIRMED),
        ("200 OK", "text/html", stored("1.2.3"), errors.NOT_CONFIRMED),
        ("200 OK", "application/dicom+xml", b"<x/>", errors.NOT_CONFIRMED),
        ("503 Busy", "", b"", "status 503"),
        ("302 Found", "", b"", errors.REDIRECTED),
    ],
)  # fmt: skip
def test_an_object_is_stored_when_the_server_says_so(
    web_server: Start, web_peers: ModuleType, status: str, kind: str, body: bytes, what: str
) -> None:
    server = web_server(web_peers.answer(status, body, kind))
    said = ""
    try:
        with client(server) as web:
            web.store(b"object\r\n--", "1.2.3")
    except DicomWebError as error:
        said = error.what
    assert said == what
    (asked,) = server.asked
    assert asked.target == "/dicom-web/studies"
    boundary = boundary_of(asked.header("Content-Type"))
    assert list(parts([asked.body], boundary, 99)) == [b"object\r\n--"]


@settings(max_examples=50)
@given(
    files=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    cut=st.integers(1, 40), short=st.floats(0, 0.999),
)  # fmt: skip
def test_parts_of_any_chunks(files: list[bytes], cut: int, short: float) -> None:
    """Whole messages give their parts however they are cut; what ends early is an error."""
    head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
    end = b"--bnd--"
    body = b"".join(head + file + b"\r\n" for file in files) + end
    chunks = [body[at : at + cut] for at in range(0, len(body), cut)]
    assert list(parts(chunks, "bnd", 60)) == files
    half = body[: int((len(body)) * short)]
    with pytest.raises(DicomWebError):
        list(parts([half[at : at + cut] for at in range(0, len(half), cut)], "bnd", 60))


@settings(max_examples=50)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_any_message_ends_in_parts_or_one_error(body: bytes, kind: str) -> None:
    for message in (body, b"--b\r\n" + body, b"--b\r\n\r\n" + body + b"\r\n--b--"):
        try:
            assert all(part is None or part in message for part in parts([message], "b", 50))
        except DicomWebError as error:
            assert error.what == errors.CUT_SHORT
    try:
        assert boundary_of(f"multipart/related; {kind}").isascii()
    except DicomWebError as error:
        assert error.what == errors.CUT_SHORT


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["00081198", "00081199", "00081155", "00081197", "Value"]),
                      inner, max_size=4),
)  # fmt: skip


@settings(max_examples=60)
@given(NESTED, st.sampled_from([200, 202, 400, 409, 500]))
def test_no_answer_but_one_with_the_uid_confirms(told: Any, status: int) -> None:
    try:
        check_stored(status, JSON, json.dumps(told).encode(), "1.2.3")
    except DicomWebError:
        return
    assert "1.2.3" in json.dumps(told) or (0x0111 == 273 and "273" in json.dumps(told))


@pytest.mark.parametrize(
    "url",
    ["", "archive/dicom-web", "ftp://a/b", "https://", "https://u:p@a/b", "https://a/b?c=d",
     "https://a/b#c", "https://a b/c", "https://a:port/", "https://a/ä", "https://a\n/b",
     "https://[::1/b", "file:///etc/passwd", "https://a:0/"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|login|query|ASCII"):
        checked_url(url)


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        url = checked_url("https://" + text)
    except ValueError as error:
        assert len(text) < 4 or text not in str(error)
    else:
        assert url.isascii() and url == checked_url(url)


def test_settings_are_checked_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("token")
    (tmp_path / "empty").write_text("")
    secret, url = {"token_file": tmp_path / "t"}, "https://archive.example/dicom-web"
    WebServer(url, **secret).check()
    for local in ("http://127.0.0.1:8042/x", "http://localhost/x", "http://[::1]/x"):
        WebServer(local, **secret).check()
    for bad in (
        WebServer("http://archive.example/dicom-web", **secret),
        WebServer("http://10.0.0.1", login_file=tmp_path / "t"),
        WebServer(url, **secret, login_file=tmp_path / "t"),
        WebServer(url, login_file=tmp_path / "t"),  # no colon
        WebServer(url, token_file=tmp_path / "empty"),
        WebServer(url, token_file=tmp_path / "none"),
        WebServer(url, ca=tmp_path / "none"),
        WebServer(url, ca=tmp_path / "t"),
        WebServer(url, certificate=tmp_path / "t"),
        WebServer(url, certificate=tmp_path / "t", key=tmp_path / "t"),
    ):
        with pytest.raises(UsageError) as failure:
            bad.check()
        assert str(tmp_path) not in str(failure.value)
