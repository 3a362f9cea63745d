"""report.html in a real browser: what a reader clicks, types, sees, hears and prints."""

from __future__ import annotations

import os
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scarseg_infer.result import ScarResult
from scarseg_infer.write.report.page import write_page
from scarseg_runtime.contract import Label

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    message = "needs the browser chromium (Debian: chromium)"
    if os.environ.get("CI"):
        raise RuntimeError(message)
    pytest.skip(message, allow_module_level=True)

YELLOW, PINK, BLUE = (240, 228, 66), (222, 143, 187), (86, 180, 233)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def demo(demo: ScarResult) -> ScarResult:
    """The demo study; in its image-only labels some scar is moved, so that ECG and image differ."""
    alone = np.where(demo.labels == Label.SCAR, Label.VIABLE_MYOCARDIUM, demo.labels)
    moved = np.roll(demo.labels == Label.SCAR, 4, axis=2)
    alone[moved & (alone == Label.VIABLE_MYOCARDIUM)] = Label.SCAR
    return replace(
        demo, image_only_labels=alone.astype(np.uint8), warnings=("A warning in plain words.",)
    )


@pytest.fixture(scope="module")
def report(demo: ScarResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(demo, path)
    return path


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens a report; afterwards no console message, error or network request may have come."""
    contexts, heard = [], []

    def visit(path: Path = report, *, width: int = 1280, scheme: str = "light", **more: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=scheme, **more
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url))
        page.goto(path.as_uri())
        assert heard == [path.as_uri()]
        heard.clear()
        if more.get("java_script_enabled", True):
            settle(page)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert heard == []


def settle(page: Any) -> None:
    """Until what was asked for is drawn: frames have gone by, and the time the page lets go by
    before it draws its strip in full."""
    page.evaluate("""() => new Promise(done => requestAnimationFrame(() =>
        requestAnimationFrame(() => setTimeout(done, 150))))""")


def slice_shown(page: Any) -> int:
    """The slice on the screen, 0 at the base."""
    return int(page.locator("#slice-range").input_value())


def pixels(page: Any) -> np.ndarray:
    """[side, side, 3] of the large canvas."""
    settle(page)
    url = page.locator("#slice").evaluate("c => c.toDataURL()")
    png = BytesIO(b64decode(url.partition(",")[2]))
    return np.asarray(Image.open(png).convert("RGB"), np.int16)


def painted(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - np.array(colour)).max(axis=2) < 24).sum())


def test_wheel_keys_and_buttons_change_the_slice(
    open_page: Callable[..., Any], demo: ScarResult
) -> None:
    page, last = open_page(), len(demo.labels) - 1
    start = slice_shown(page)
    scar = demo.display.to_display(demo.labels) == Label.SCAR
    assert start == int(scar.sum(axis=(1, 2)).argmax())
    page.keyboard.press("ArrowRight")  # from anywhere
    assert slice_shown(page) == start + 1
    page.locator("#screen").focus()
    for key, expected in [
        ("ArrowUp", start), ("ArrowDown", start + 1), ("PageUp", start), ("Home", 0),
        ("ArrowUp", 0), ("End", last), ("ArrowDown", last), ("ArrowLeft", last - 1),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert slice_shown(page) == expected
    page.locator("#previous").click()
    assert slice_shown(page) == last - 2
    page.locator("#next").click()
    page.locator("#slice").hover()
    page.mouse.wheel(0, -120)
    page.wait_for_function(f"document.getElementById('slice-range').value == {last - 2}")
    page.mouse.wheel(0, 120)
    page.wait_for_function(f"document.getElementById('slice-range').value == {last - 1}")
    page.locator("#strip button").nth(2).click()
    assert slice_shown(page) == 2
    assert page.locator("#strip [aria-current=true]").count() == 1


def test_the_slice_is_announced(open_page: Callable[..., Any]) -> None:
    page = open_page()
    place = page.locator("#place")
    assert place.get_attribute("aria-live") == "polite"
    page.locator("#screen").press("Home")
    assert place.inner_text().startswith("Slice 10: 1 of 10 from the base (base), 0 mm")
    assert page.locator("#slice").get_attribute("aria-label") == place.inner_text()


def test_window_and_level(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.locator("#screen").press("4")  # no overlay
    before = pixels(page)
    width, level = (float(page.locator(f"#{i}").input_value()) for i in ("width", "level"))
    box = page.locator("#slice").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] - 50, steps=4)
    page.mouse.up()
    assert float(page.locator("#width").input_value()) > width
    assert float(page.locator("#level").input_value()) < level
    assert pixels(page).mean() > before.mean()
    assert page.locator(".wedge[aria-pressed=true]").count() == 0  # a drag is no click
    page.locator("#reset").click()
    assert np.array_equal(pixels(page), before)
    page.locator("#width").focus()
    page.keyboard.press("Home")  # the narrowest window: black and white
    narrow = pixels(page)
    assert np.isin(narrow, (0, 255)).mean() > 0.3 + np.isin(before, (0, 255)).mean()


def test_overlays(open_page: Callable[..., Any]) -> None:
    page = open_page()
    screen = page.locator("#screen")
    assert painted(pixels(page), YELLOW) > 100
    assert page.locator(".legend").inner_text().split() == ["epicardium", "endocardium", "scar"]
    fused = pixels(page)
    screen.press("2")
    alone = pixels(page)
    assert painted(alone, YELLOW) > 100 and not np.array_equal(alone, fused)
    page.get_by_label("Difference", exact=True).check()
    difference = pixels(page)
    assert painted(difference, PINK) > 50 and painted(difference, BLUE) > 50
    assert "removed by the ECG" in page.locator(".legend").inner_text()
    screen.press("4")
    plain = pixels(page)
    assert painted(plain, YELLOW) == painted(plain, PINK) == 0
    screen.press("1")
    assert np.array_equal(pixels(page), fused)
    screen.press("c")
    page.locator("#fill").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')) }")
    assert np.array_equal(pixels(page), plain)
    screen.press("s")
    assert not np.array_equal(pixels(page), plain)


def from_voxels(page: Any) -> tuple[np.ndarray, float]:
    """[2, 3] matrix from (column, row, 1) of a voxel to the pixels of the slice's canvas, and how
    many of these a voxel has, by what the page says of itself: the window about the heart fills the
    canvas, turned about its middle."""
    top, bottom, left, right, turn_deg, side = page.evaluate(
        """() => {
        const v = JSON.parse(document.getElementById("data").textContent).volumes;
        return [...v.heart.flat(), v.turn_deg, document.getElementById("slice").width] }"""
    )
    scale, turn = side / max(bottom - top, right - left), np.deg2rad(turn_deg)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.column_stack([linear, side / 2 - linear @ middle]), scale


def test_a_contour_lies_on_the_border_of_its_voxels(
    open_page: Callable[..., Any], demo: ScarResult
) -> None:
    """The middle of the painted scar is that of the labels, in the millimetres of the scale bar."""
    page = open_page()
    page.locator("#fill").evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')) }")
    rows, columns = np.nonzero(np.abs(pixels(page) - np.array(YELLOW)).max(axis=2) < 24)
    scar = demo.display.to_display(demo.labels)[slice_shown(page)] == Label.SCAR
    matrix, scale = from_voxels(page)
    assert (
        page.evaluate("JSON.parse(document.getElementById('data').textContent).volumes.shape[1]")
        == scar.shape[0]
    )  # whole slices are embedded, pixels are square
    expected = matrix @ [*(n.mean() + 0.5 for n in np.nonzero(scar)[::-1]), 1.0]
    found = columns.mean() + 0.5, rows.mean() + 0.5
    assert found == pytest.approx(expected, abs=0.5 * scale)
    assert len(rows) / scale**2 == pytest.approx(scar.sum(), rel=0.15)


def test_a_segment_leads_to_its_slice(open_page: Callable[..., Any], demo: ScarResult) -> None:
    page = open_page()
    page.locator("#screen").press("Home")
    wedge = page.locator(".wedge[data-segment='14']")
    before = pixels(page)
    wedge.click()
    turn = demo.display.to_display
    scar = (turn(demo.labels) == Label.SCAR) & (turn(demo.segments) == 14)
    assert slice_shown(page) == int(scar.sum(axis=(1, 2)).argmax())
    assert wedge.get_attribute("aria-pressed") == "true"
    assert page.locator("tr.chosen").inner_text().startswith("14 apical septal")
    assert not np.array_equal(pixels(page), before)
    page.locator(".wedge[data-segment='7']").hover()
    assert page.locator("#segment-panel h3").inner_text() == "7 mid anterior"
    page.mouse.move(5, 5)
    assert page.locator("#segment-panel h3").inner_text() == "14 apical septal"
    wedge.focus()
    page.keyboard.press("Enter")
    assert wedge.get_attribute("aria-pressed") == "false"
    page.keyboard.press(" ")
    assert wedge.get_attribute("aria-pressed") == "true"
    page.locator("#screen").press("Escape")
    assert page.locator(".wedge[aria-pressed=true]").count() == 0


def test_a_click_on_the_slice_chooses_the_segment_there(
    open_page: Callable[..., Any], demo: ScarResult
) -> None:
    page = open_page()
    segments = demo.display.to_display(demo.segments)[slice_shown(page)]
    number = int(np.unique(segments[segments > 0])[0])
    row, column = (n[n.size // 2] + 0.5 for n in np.nonzero(segments == number))
    box = page.locator("#slice").bounding_box()
    matrix, _ = from_voxels(page)
    x, y = matrix @ [column, row, 1.0] * (box["width"] / page.evaluate("slice.width"))
    page.mouse.click(box["x"] + x, box["y"] + y)
    assert page.locator(".wedge[aria-pressed=true]").get_attribute("data-segment") == str(number)
    assert f"segment {number}" in page.locator("#probe").inner_text()


def test_burden_transmurality_and_the_ecg_alone(
    open_page: Callable[..., Any], demo: ScarResult
) -> None:
    page = open_page()
    wedge = page.locator(".wedge[data-segment='7']")
    segment, belief = demo.quantities.segments[6], demo.ecg.segment_belief
    assert belief is not None
    colours = set()
    for name, share in [
        ("Burden", segment.burden), ("Transmurality", segment.transmurality),
        ("ECG alone", float(belief[6])),
    ]:  # fmt: skip
        page.get_by_label(name, exact=True).check()
        assert share is not None
        assert wedge.locator(".value:visible").text_content() == f"{100 * share:.0f} %"
        colours.add(wedge.locator("path").evaluate("e => getComputedStyle(e).fill"))
    assert len(colours) == 3


def test_everything_is_reached_by_keyboard_and_has_a_name(open_page: Callable[..., Any]) -> None:
    page = open_page()
    assert page.locator("#warnings li").inner_text() == "A warning in plain words."
    reached = set()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(e => e.id || e.name || e.dataset.segment || '')(document.activeElement)"
            )
        )
    wanted = {
        "mode", "measure", "screen", "previous", "next", "slice-range", "width", "level", "fill",
        "lines", "all-segments", "whole", "reset", *map(str, range(1, 18)),
    }  # fmt: skip
    assert wanted <= reached
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, section, [role]")]
        .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") ||
          e.labels?.[0]?.textContent.trim() || e.textContent.trim())).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    assert page.locator("table").count() == page.locator("caption").count() > 3


CONTRASTS = """() => {
  const rgba = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const wedge = element.closest(".wedge");
    if (wedge) return rgba(getComputedStyle(wedge.querySelector("path")).fill);
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, noscript, .skip")) continue;
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element.ownerSVGElement ? style.fill : style.color);
    const [low, high] = [light(ink), light(behind(element))].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), text.slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(open_page: Callable[..., Any], scheme: str) -> None:
    page = open_page(scheme=scheme)
    page.locator(".wedge[data-segment='13']").click()
    for measure in ("Burden", "Transmurality", "ECG alone"):
        page.get_by_label(measure, exact=True).check()
        ratios = page.evaluate(CONTRASTS)
        assert len(ratios) > 200
        assert ratios[0][0] >= 4.5, ratios[:3]


def test_dark_and_light_differ_and_print_is_light(open_page: Callable[..., Any]) -> None:
    page = open_page(scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(background) == "rgb(255, 255, 255)" != dark


@pytest.mark.parametrize("width", [400, 760, 1280, 2000])
def test_nothing_is_wider_than_the_window(open_page: Callable[..., Any], width: int) -> None:
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#slice").bounding_box()["width"] >= 300
    assert page.locator("#polar").bounding_box()["width"] >= 300


def test_printing(open_page: Callable[..., Any]) -> None:
    page = open_page()
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") in range(2, 7)
    sides = page.locator("#strip canvas").evaluate_all("all => all.map((c) => c.width)")
    assert sides == [420] * 10  # redrawn in print quality
    page.emulate_media(media="print")
    for hidden in ("#screen", ".controls", "#keys", ".choice"):
        assert not page.locator(hidden).first.is_visible()
    for shown in ("#strip", "#polar", ".ecg", ".taff", "#quantities table", ".statement"):
        assert page.locator(shown).is_visible()
    # 25 mm/s: the paper is as many millimetres wide as its drawing has units; CSS mm are 96/25.4.
    units = page.locator(".ecg").evaluate("e => e.viewBox.baseVal.width")
    assert page.locator(".ecg").bounding_box()["width"] == pytest.approx(units * 96 / 25.4, abs=3)


def test_without_javascript_the_numbers_are_there(open_page: Callable[..., Any]) -> None:
    page = open_page(java_script_enabled=False)
    assert "The slice browser needs JavaScript" in page.locator("noscript").inner_text()
    assert page.locator("#segments tbody tr").count() == 17
    assert page.locator(".wedge").count() == 17


@pytest.mark.parametrize(("slices", "lv", "ecg"), [(1, True, True), (5, False, False)])
def test_unusual_results_open_without_errors(
    open_page: Callable[..., Any],
    make_result: Callable[..., ScarResult],
    make_stack: Callable[..., Any],
    tmp_path: Path,
    slices: int,
    lv: bool,
    ecg: bool,
) -> None:
    stack = make_stack(slices)
    result = make_result(replace(stack, orientation_known=False), lv=lv, ecg=ecg)
    write_page(result, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.locator("#screen").press("End")
    page.locator(".wedge").nth(3).click()
    assert slice_shown(page) == slices - 1 or lv
    assert "walls are assumed" in page.locator("#map").inner_text()
    assert page.get_by_label("ECG alone", exact=True).is_visible() == ecg
