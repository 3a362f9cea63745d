"""report.html without a browser: what it holds, how it is packed, and what must not be in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.json import result_document
from scarseg_infer.write.report.charts import ecg_svg, taff_svg
from scarseg_infer.write.report.drawing import (
    NIGHT_SCALE,
    NO_DATA,
    SCALE,
    colour_of,
    contrast,
    ink_on,
)
from scarseg_infer.write.report.page import page_html, write_page
from scarseg_infer.write.report.volumes import quantise, run_lengths, segment_slices, volumes
from scarseg_runtime.contract import Label

MakeResult = Callable[..., ScarResult]
MakeStack = Callable[..., LgeStack]
BEAT = np.random.default_rng(1).normal(0, 0.3, (12, 512)).astype(np.float32)


class Page(HTMLParser):
    """Scripts, text and attributes of a page, as a browser's parser splits it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, Any], str]] = []
        self.words: list[str] = []
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)
        elif self._inside[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data

    @property
    def data(self) -> Any:
        return json.loads(next(text for kind, text in self.scripts if "json" in kind["type"]))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def unpack_runs(packed: str, shape: tuple[int, ...]) -> np.ndarray:
    pairs = np.frombuffer(b64decode(packed), np.uint8).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(shape)


@settings(max_examples=60)
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 40)] * 2), elements=st.integers(0, 2)))
def test_runs_spell_the_labels(values: np.ndarray) -> None:
    assert np.array_equal(unpack_runs(run_lengths(values), values.shape), values)


def test_long_runs_are_split() -> None:
    for length in (254, 255, 256, 510, 511, 70_000):
        values = np.full(length, 3, np.uint8)
        assert np.array_equal(unpack_runs(run_lengths(values), values.shape), values)


@settings(max_examples=60)
@given(st.integers(-40_000, 40_000), st.integers(1, 65_535), st.integers(0, 2**32 - 1))
def test_whole_numbers_stay_exact(low: int, reach: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(low, low + reach, (2, 9, 8), endpoint=True)
    codes, offset, step = quantise(values.astype(np.float32))
    assert np.array_equal(offset + step * codes.astype(np.float64), values)


@settings(max_examples=60)
@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.integers(0, 2**32 - 1))
def test_fractions_are_kept_to_a_fine_step(scale: float, shift: float, seed: int) -> None:
    values = (np.random.default_rng(seed).random((2, 40, 40)) * scale + shift).astype(np.float32)
    codes, offset, step = quantise(values)
    assert np.abs(offset + step * codes.astype(np.float64) - values).max() <= step / 2 + 1e-9 * abs(
        offset
    )
    assert step <= max(float(np.ptp(values)), 1e-30) / 60_000 or np.ptp(values) == 0


def test_a_hot_pixel_does_not_flatten_the_image() -> None:
    values = np.random.default_rng(0).random((2, 50, 50)).astype(np.float32)
    values[0, 0, 0] = 3e7
    codes, offset, step = quantise(values)
    back = offset + step * codes.astype(np.float64)
    assert np.abs(back - values).ravel()[1:].max() < 1e-4


@pytest.mark.parametrize("value", [0.0, -3.5, 65504.0])
def test_constant_and_broken_pixels_are_packed(value: float) -> None:
    values = np.full((1, 4, 4), value, np.float32)
    codes, offset, step = quantise(values)
    assert np.allclose(offset + step * codes, value)
    values[0, 1, 1] = np.nan
    assert np.isfinite(quantise(values)[1:]).all()


@pytest.mark.parametrize("slices", [1, 6, 30])
def test_volumes_lead_back_to_the_display_volumes(
    make_result: MakeResult, make_stack: MakeStack, slices: int
) -> None:
    stack = make_stack(slices)
    stack = replace(stack, pixels=np.rint(stack.pixels))
    result = make_result(stack)
    packed, turn = volumes(result), result.display.to_display
    shape = tuple(packed["shape"])
    codes = np.frombuffer(b64decode(packed["pixels"]), "<u2").reshape(shape)
    assert np.array_equal(packed["offset"] + packed["step"] * codes, turn(stack.pixels))
    labels = unpack_runs(packed["labels"], shape)
    assert np.array_equal(labels & 7, turn(result.labels))
    assert np.array_equal(labels >> 3, turn(result.image_only_labels))
    assert np.array_equal(unpack_runs(packed["segments"], shape), turn(result.segments))
    total = sum(item["scar_ml"] for item in packed["slices"])
    assert total == pytest.approx(result.quantities.scar_ml, abs=1e-3 * slices)
    heights = [item["from_base_mm"] for item in packed["slices"]]
    assert heights == sorted(heights) and heights[0] == 0


def test_a_large_stack_is_cut_to_the_heart(make_result: MakeResult, make_stack: MakeStack) -> None:
    result = make_result(make_stack(20, (256, 256)))
    packed = volumes(result)
    shape = tuple(packed["shape"])
    assert math.prod(shape) <= 700_000 and packed["thinned"] == 1
    labels = unpack_runs(packed["labels"], shape) & 7
    for label in Label:  # nothing of the heart is cut away
        if label != Label.BACKGROUND:
            assert (labels == label).sum() == (result.labels == label).sum()


def test_a_huge_stack_without_a_heart_is_thinned(
    make_result: MakeResult, make_stack: MakeStack
) -> None:
    result = make_result(make_stack(30, (400, 400)), lv=False)
    packed = volumes(result)
    assert packed["thinned"] == 2 and packed["shape"] == [30, 200, 200]
    assert packed["spacing_mm"] == pytest.approx([2.0, 1.8])


def test_segments_lead_to_the_slice_with_most_scar() -> None:
    random = np.random.default_rng(3)
    segments = random.integers(0, 17, (7, 12, 12)).astype(np.uint8)  # 17 is not imaged
    fused = (random.random(segments.shape) < 0.1) & (segments > 0)
    image = (random.random(segments.shape) < 0.1) & (segments > 0)
    fused[segments == 4] = False
    fused[segments == 5] = image[segments == 5] = False
    heights = random.uniform(5, 15, 7)
    found = segment_slices(fused, image, segments, heights)
    for number in range(1, 17):
        mask = {4: image, 5: segments > 0}.get(number, fused) & (segments == number)
        volume = [mask[k].sum() * heights[k] for k in range(7)]
        assert volume[found[number - 1] or 0] == max(volume)
    assert found[16] is None


def test_the_page_embeds_the_document_of_result_json(
    make_result: MakeResult, make_stack: MakeStack
) -> None:
    result = make_result(make_stack())
    page = Page(page_html(result))
    embedded, document = page.data["document"], result_document(result)
    del embedded["created_utc"], document["created_utc"]
    assert embedded == document
    for words in (*result.warnings, result.model.training_data, document["statement"]):
        assert words in page.text
    assert f"{result.quantities.scar_ml:.1f} mL" in page.text


def test_no_text_of_a_file_becomes_markup(make_result: MakeResult, make_stack: MakeStack) -> None:
    evil = (
        "</script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & <!-- $script ${data}"
    )
    result = make_result(make_stack())
    result = replace(
        result,
        warnings=(evil,),
        model=replace(result.model, name=evil, version=evil, training_data=evil, provider=evil),
        ecg=replace(result.ecg, reason=evil, derived_leads=(evil,)),
        timings_ms={evil: 1.0},
        stack=replace(result.stack, image_kind=evil),
    )
    page = Page(page_html(result))
    assert len(page.scripts) == 2
    assert not [tag for tag, _ in page.opened if tag == "img"]
    assert not [name for _, attrs in page.opened for name in attrs if name.startswith("on")]
    assert page.data["document"]["warnings"] == [evil]
    assert " ".join(evil.split()) in page.text


def test_the_policy_lets_only_this_script_run(
    make_result: MakeResult, make_stack: MakeStack
) -> None:
    html = page_html(make_result(make_stack()))
    page = Page(html)
    policy = next(a["content"] for _, a in page.opened if a.get("http-equiv"))
    script = next(text for kind, text in page.scripts if kind["type"] == "module")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"(https?:)?//[a-z0-9]", html.split('id="data"')[0].split("<body>")[1])
    assert "@import" not in html and "url(" not in html


def test_the_page_names_no_patient(make_result: MakeResult) -> None:
    pydicom = pytest.importorskip("pydicom")
    from scarseg_infer.demo import DEMO_STUDY
    from scarseg_infer.study.read import read_study

    stack = read_study(DEMO_STUDY)
    named = []
    for dataset in stack.datasets:
        copy = pydicom.Dataset(dataset)
        copy.PatientName, copy.PatientID, copy.PatientBirthDate = (
            "Qwertz^Anna",
            "IDZ4711Q",
            "19510203",
        )
        copy.SeriesDescription = "LGE Qwertz 1951"
        named.append(copy)
    html = page_html(make_result(replace(stack, datasets=tuple(named))))
    assert stack.acquired is not None
    dates = (f"{stack.acquired:%Y%m%d}", f"{stack.acquired:%Y-%m-%d}")
    for secret in ("Qwertz", "Z4711Q", "19510203", "1951-02-03", *dates):
        assert secret not in html.replace(Page(html).data["volumes"]["pixels"], "")


def test_the_page_stays_small(
    make_result: MakeResult, make_stack: MakeStack, tmp_path: Path
) -> None:
    result = make_result(make_stack(12, (256, 216)))
    write_page(result, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_writing_the_page_loads_nothing_heavy() -> None:
    heavy = ["torch", "pydicom", "highdicom", "PIL", "nibabel", "wfdb", "onnxruntime", "scipy"]
    module = "scarseg_infer.write.report.page"
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(("lv", "ecg"), [(False, False), (False, True), (True, False)])
def test_results_that_lack_something_have_a_page(
    make_result: MakeResult, make_stack: MakeStack, lv: bool, ecg: bool
) -> None:
    page = Page(page_html(make_result(make_stack(), lv=lv, ecg=ecg)))
    assert ("no left ventricle" in page.text) != lv
    assert ("No ECG was given" in page.text) != ecg
    assert "nan" not in page.text.lower().split()


@pytest.mark.parametrize("scale", [SCALE, NIGHT_SCALE, (NO_DATA,) * 2])
def test_numbers_on_every_colour_of_the_map_can_be_read(scale: tuple) -> None:
    for share in np.linspace(0, 1, 401):
        fill = colour_of(float(share), scale)
        assert contrast(ink_on(fill), fill) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21.0)
    assert contrast((255, 255, 255), (118, 118, 118)) == pytest.approx(4.54, abs=0.01)
    assert contrast((1, 2, 3), (1, 2, 3)) == 1.0


def test_the_night_scale_rises_in_lightness() -> None:
    light = [contrast(colour_of(k / 40, NIGHT_SCALE), (0, 0, 0)) for k in range(41)]
    assert light == sorted(light)


def path_points(svg: str, kind: str) -> list[np.ndarray]:
    """Points of all paths of a class that are made of M and L only."""
    paths = re.findall(rf'class="{kind}" d="M([-\d. L]+)"', svg)
    return [np.array([p.split() for p in path.split("L")], dtype=float) for path in paths]


def test_the_beat_is_drawn_to_scale() -> None:
    svg = ecg_svg(BEAT)
    traces = path_points(svg, "trace")
    assert len(traces) == 12
    # Rows hold leads I aVR V1 V4, II aVL V2 V5, III aVF V3 V6.
    order = [lead for row in range(3) for lead in range(row, 12, 3)]
    for trace, lead in zip(traces, order, strict=True):
        assert np.diff(trace[:, 0]) == pytest.approx(25.0 / 500.0, abs=0.011)
        assert np.ptp(trace[:, 0]) == pytest.approx(25.0 * 511 / 500, abs=0.02)
        mv = BEAT[lead] - BEAT[lead, 0]
        assert (trace[0, 1] - trace[:, 1]) / 10.0 == pytest.approx(mv, abs=2e-3)


@settings(max_examples=40)
@given(st.floats(0.0, 6.0), st.integers(0, 2**32 - 1))
def test_traces_never_meet_nor_leave_the_paper(size: float, seed: int) -> None:
    walk = np.random.default_rng(seed).normal(0, 1, (12, 512)).cumsum(axis=1)
    beat = size * walk / np.abs(walk).max()
    svg = ecg_svg(beat.astype(np.float32))
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])  # type: ignore[index]
    traces = np.array(path_points(svg, "trace")).reshape(3, 4, 512, 2)[..., 1]
    assert (np.diff(traces, axis=0) > 0.5).all()
    assert traces.min() >= 0 and traces.max() <= height


@pytest.mark.parametrize("shape", [(12, 500), (8, 512)])
def test_a_beat_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="12 × 512"):
        ecg_svg(np.zeros(shape, np.float32))


@settings(max_examples=60)
@given(st.floats(1, 2000), st.floats(0, 20_000))
def test_the_study_lies_on_the_taff_curve(tau_days: float, gap_days: float) -> None:
    svg = taff_svg(tau_days, gap_days, math.exp(-gap_days / tau_days))
    x, y = (float(v) for v in re.search(r'cx="([\d.]+)" cy="([\d.]+)"', svg).groups())  # type: ignore[union-attr]
    curve = path_points(svg, "curve")[0]
    assert np.all(np.diff(curve[:, 1]) >= 0)  # y grows downwards
    near = np.interp([x - 3.2, x + 3.2], curve[:, 0], curve[:, 1])
    assert near[0] - 0.2 <= y <= near[1] + 0.2
    ticks = [
        float(t) for t in re.findall(r'class="tick" x="[\d.]+" y="188(?:\.0)?">([\d.e+-]+)<', svg)
    ]
    assert ticks[0] == 0 and ticks[-1] >= gap_days
    assert x == pytest.approx(44 + 330 * gap_days / ticks[-1], abs=0.1 + 330e-6 * 2)


@pytest.mark.parametrize("gap_days", [None, math.nan, -3.0])
def test_an_unknown_gap_has_no_place_on_the_curve(gap_days: float | None) -> None:
    svg = taff_svg(129.0, gap_days, 0.0)
    assert "circle" not in svg and 'class="curve"' in svg


@pytest.mark.parametrize("lv", [True, False])
def test_characteristics_of_the_document_appear(
    make_result: MakeResult, make_stack: MakeStack, lv: bool
) -> None:
    result = make_result(make_stack(), lv=lv)
    found, text = result.characteristics, Page(page_html(result)).text
    if not lv:
        assert "no segment with scar" in text and "3 SD: core" not in text
        return
    assert found.sd is not None and found.n_sd is not None
    assert ", ".join(found.location) in text and found.distribution in text
    for name, amount in (("3 SD: core", found.sd.core), ("5 SD", found.n_sd["5"])):
        cells = f"{name} {amount.ml:.1f} {amount.g:.1f} {amount.percent_of_lv_mass:.1f}"
        assert cells in text
