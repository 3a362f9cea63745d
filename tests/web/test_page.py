"""The page in a real browser: what a user drops and sees, errors, and that nothing leaves it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.write.json import result_document

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    message = "needs the browser chromium (Debian: chromium)"
    if os.environ.get("CI"):
        raise RuntimeError(message)
    pytest.skip(message, allow_module_level=True)

pytestmark = pytest.mark.slow
MOST_BYTES = 25e6
PATIENCE_MS = 600_000
"""A shared machine may take that long; nothing is asserted of time."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # The second lets software imitate a graphics processor, which the page passes by unless told.
    args = ["--no-sandbox", "--enable-unsafe-webgpu"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=args)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any, web: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page, from its folder or an address, with the network loaded. Afterwards nothing
    may have been asked for beside the page itself, and no console message or error have come."""
    contexts: list[Any] = []
    heard: list[str] = []
    addresses: list[str] = []
    asked: list[str] = []

    def visit(
        address: str = "", *, fragment: str = "", scheme: str = "light", width: int = 1280
    ) -> Any:
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, accept_downloads=True
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        addresses.append(address or web.page.as_uri())
        page.goto(addresses[-1] + fragment)
        page.wait_for_selector('#engine:has-text("Computes on")')
        context.set_offline(True)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert heard == []
    assert [url for url in asked if not url.startswith("blob:")] == addresses


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with Segmenter.from_model(provider="cpu") as segmenter:
        result = segmenter.run(DEMO_STUDY, DEMO_ECG)
    return json.loads(json.dumps(result_document(result)))


class _Isolated(http.server.SimpleHTTPRequestHandler):
    """A web server whose pages may have threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a web server on a folder, while it runs."""
    handler = functools.partial(_Isolated, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def downloaded(page: Any, button: str) -> str:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_the_page_is_one_small_file_with_a_strict_policy(web: Any) -> None:
    text = web.page.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    policy = text.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src" not in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_chosen_files_give_the_result_of_python(
    open_page: Callable[..., Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    page = open_page()
    assert page.is_disabled("#start")
    page.set_input_files("#study-files", sorted(DEMO_STUDY.iterdir()))
    page.set_input_files("#ecg-files", [DEMO_ECG, DEMO_ECG.with_suffix(".dat")])
    assert page.inner_text("#study-held").startswith("10 files")
    page.focus("#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "result-title"
    own = json.loads(downloaded(page, "#save-json"))
    for part in ("quantities", "segments", "image_only_quantities", "warnings"):
        assert own[part] == expected[part]
    assert own["model"]["sha256"] == expected["model"]["sha256"]
    frame = page.frame_locator("#report")
    share = expected["quantities"]["scar_percent_of_lv_mass"]
    assert frame.locator("#figures").inner_text().count(f"{share:.1f} %") >= 1
    frame.locator("#next").click()  # the report's own script runs
    assert "Slice" in frame.locator("#place").inner_text()
    report = tmp_path / "report.html"
    report.write_text(downloaded(page, "#save-report"), encoding="utf-8")
    saved = page.context.new_page()
    saved.goto(report.as_uri())
    assert saved.locator("#polar .wedge").count() == 17
    page.click("#again")
    assert page.is_disabled("#start")


def drop(page: Any, zone: str, *paths: Path) -> None:
    """Drop files or folders as the system's file manager does."""
    target = page.locator(zone)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path.resolve()) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    page.wait_for_selector(f"{zone}.full, #error:not([hidden])")
    session.detach()


def drop_demo(page: Any, folder: Path) -> dict[str, Any]:
    """Drop the demo study as a folder with one inside, and its ECG; return the result."""
    shutil.copytree(DEMO_STUDY, folder / "patient" / "series")
    drop(page, "#zone-study", folder / "patient")
    assert page.inner_text("#study-held").startswith("10 files")
    drop(page, "#zone-ecg", DEMO_ECG, DEMO_ECG.with_suffix(".dat"))
    assert page.inner_text("#ecg-held").startswith("2 files")
    page.click("#start")
    page.wait_for_selector("#result:not([hidden]), #error:not([hidden])")
    own: dict[str, Any] = json.loads(downloaded(page, "#save-json"))
    return own


def without_handles(page: Any) -> None:
    """Leave the page what browsers other than Chromium offer, and pages beyond HTTPS have."""
    page.evaluate("delete DataTransferItem.prototype.getAsFileSystemHandle")


def test_dropped_files_are_read_where_the_page_was_opened_from_disk(
    open_page: Callable[..., Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    page = open_page()
    assert drop_demo(page, tmp_path)["quantities"] == expected["quantities"]
    page.click("#again")
    drop(page, "#zone-study", *sorted(DEMO_STUDY.iterdir())[:3])
    assert page.inner_text("#study-held").startswith("3 files")
    without_handles(page)  # the browser then refuses all: in words, and what was held stays
    drop(page, "#zone-study", tmp_path / "patient")
    page.wait_for_selector("#error:not([hidden])")
    assert "choose them by the buttons" in page.inner_text("#error")
    assert page.inner_text("#study-held").startswith("3 files")


def test_dropped_files_are_read_from_a_web_server_without_handles(
    open_page: Callable[..., Any], web: Any, expected: dict[str, Any], tmp_path: Path
) -> None:
    with served(web.page.parent) as address:
        page = open_page(f"{address}/{web.page.name}")
        without_handles(page)
        assert drop_demo(page, tmp_path)["quantities"] == expected["quantities"]


def test_compressed_images_are_decoded_in_the_browser(
    open_page: Callable[..., Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    """Under the page's policy, which lets WebAssembly run and no text become a program."""
    for index, path in enumerate(sorted(DEMO_STUDY.iterdir())):
        image = pydicom.dcmread(path)
        image.compress((JPEG2000Lossless, JPEGLSLossless)[index % 2], generate_instance_uid=False)
        image.save_as(tmp_path / path.name)
    page = open_page()
    page.set_input_files("#study-files", sorted(tmp_path.iterdir()))
    page.set_input_files("#ecg-files", [DEMO_ECG, DEMO_ECG.with_suffix(".dat")])
    page.click("#start")
    page.wait_for_selector("#result:not([hidden]), #error:not([hidden])")
    own = json.loads(downloaded(page, "#save-json"))
    assert own["quantities"] == expected["quantities"]


def test_a_dropped_cine_is_refused_and_the_next_study_is_read(
    open_page: Callable[..., Any], shared_data: Path
) -> None:
    page = open_page()
    page.set_input_files("#study-files", sorted((shared_data / "cine-study").glob("*"))[:200])
    page.click("#start")
    page.wait_for_selector("#error:not([hidden])")
    assert "cine" in page.inner_text("#error")
    assert page.get_attribute("#error", "role") == "alert"
    page.click("#demo")
    page.wait_for_selector("#result:not([hidden])")


def test_a_run_can_be_cancelled(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.click("#demo")
    page.click("#cancel")
    page.wait_for_selector("#form:not([hidden])")
    assert page.is_hidden("#error")
    page.wait_for_selector('#engine:has-text("Computes on")')
    page.click("#demo")
    page.wait_for_selector("#result:not([hidden])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_every_screen(open_page: Callable[..., Any], scheme: str, width: int) -> None:
    page = open_page(scheme=scheme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    light, dark = (sum(map(int, colour[4:-1].split(","))) for colour in (paper, ink))
    assert (light > dark) == (scheme == "light")
    labelled = page.locator("input:not([type=file])")
    assert all(one.evaluate("one => one.labels.length") for one in labelled.all())


def barriers(page: Any) -> list[str]:
    """Rules of axe-core that a page breaks."""
    from axe_playwright_python.sync_playwright import Axe

    return [found["id"] for found in Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(open_page: Callable[..., Any], tmp_path: Path, scheme: str) -> None:
    """In any state of the page, nor in the report."""
    page = open_page(scheme=scheme)
    found = {"form": barriers(page)}
    (tmp_path / "notes.txt").write_text("no image")
    page.set_input_files("#study-files", tmp_path / "notes.txt")
    page.click("#start")
    page.wait_for_selector("#error:not([hidden])")
    found["error"] = barriers(page)
    page.click("#demo")
    found["working"] = barriers(page)
    page.wait_for_selector("#result:not([hidden])")
    found["result"] = barriers(page)
    (tmp_path / "report.html").write_text(downloaded(page, "#save-report"), encoding="utf-8")
    saved = page.context.new_page()
    saved.goto((tmp_path / "report.html").as_uri())
    found["report"] = barriers(saved)
    assert {state: rules for state, rules in found.items() if rules} == {}


def test_webgpu_is_taken_where_it_gives_the_same_labels(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    """On a graphics processor that Chromium imitates, which is slow: one slice."""
    (tmp_path / "study").mkdir()
    image = Path(shutil.copy(DEMO_STUDY / "lge005.dcm", tmp_path / "study"))
    page = open_page(fragment="#webgpu=any")
    page.wait_for_selector('#engine:has-text("WebGPU")')
    assert page.inner_text("#engine") == "Computes on WebGPU, held against WebAssembly."
    page.set_input_files("#study-files", image)
    page.set_input_files("#ecg-files", [DEMO_ECG, DEMO_ECG.with_suffix(".dat")])
    page.click("#start")
    page.wait_for_selector("#result:not([hidden]), #error:not([hidden])")
    own = json.loads(downloaded(page, "#save-json"))
    with Segmenter.from_model(provider="cpu") as segmenter:
        wanted = result_document(segmenter.run(tmp_path / "study", DEMO_ECG))
    assert own["model"]["provider"] == "webgpu"
    for part in ("quantities", "image_only_quantities", "warnings"):
        assert own[part] == json.loads(json.dumps(wanted[part]))


def test_behind_the_two_headers_it_uses_threads(
    open_page: Callable[..., Any], web: Any, expected: dict[str, Any]
) -> None:
    with served(web.page.parent) as address:
        page = open_page(f"{address}/{web.page.name}")
        if (os.cpu_count() or 1) > 1:
            assert "threads" in page.inner_text("#engine")
        page.click("#demo")
        page.wait_for_selector("#result:not([hidden])")
        own = json.loads(downloaded(page, "#save-json"))
    assert own["quantities"] == expected["quantities"]
