"""The examples for hosts that are not Python: built, run, and compared with Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest

from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.models import model_path
from scarseg_infer.study.geometry.orientation import display_transform
from scarseg_infer.study.read import read_study
from scarseg_runtime.model import Model
from scarseg_runtime.preprocess import mean_beat, slice_levels
from scarseg_runtime.providers import cache_place
from scarseg_runtime.quantify.quantities import quantify, slice_heights_mm
from scarseg_runtime.taff import decide, weight

EXAMPLES = Path(__file__).parents[2] / "runtime" / "examples"
MODEL = Path(__file__).parents[2] / "scarseg_infer" / "models" / "reference.onnx"
SOURCES = {"cpp": "cpp/scar_host.cpp", "javascript": "javascript/scar_host.mjs"}
MOST_LINES = 150


@dataclass(frozen=True)
class Host:
    """A built example, and the provider on which Python runs the same library."""

    command: list[str]
    provider: str

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


@dataclass(frozen=True)
class HostStudy:
    """Arrays that a host hands over; see runtime/examples/README.md."""

    pixels: np.ndarray
    spacing_mm: tuple[float, float]
    positions_mm: Sequence[float]
    thickness_mm: float = 8.0
    beat_mv: np.ndarray | None = None
    ecg_valid: bool = True
    gap_days: float | None = None

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        self.pixels.astype("<f4").tofile(folder / "lge.f32")
        if self.beat_mv is not None:
            self.beat_mv.astype("<f4").tofile(folder / "ecg.f32")
        gap = "" if self.gap_days is None else str(self.gap_days)
        lines = (self.pixels.shape, self.spacing_mm, self.positions_mm, [self.thickness_mm])
        text = "\n".join(" ".join(map(str, line)) for line in lines)
        (folder / "study.txt").write_text(f"{text}\n{int(self.ecg_valid)} {gap}\n")
        return folder


def missing(what: str) -> NoReturn:
    """Stops a test for want of a tool: an error in continuous integration, else skipped."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)
    raise AssertionError


def make(what: str, command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        missing(f"{command[0]} is not installed")
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{what} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.fixture(scope="session")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Host:
    pytest.importorskip("openvino", reason="extra openvino is not installed")
    folder = tmp_path_factory.mktemp("cpp")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        missing("no C++ compiler is installed (Debian: g++)")
    source, python = EXAMPLES / "cpp", f"-DPython3_EXECUTABLE={sys.executable}"
    warnings = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
    make("cmake", ["cmake", "-S", str(source), "-B", ".", python, warnings], folder)
    make("compiling", ["cmake", "--build", "."], folder)
    return Host([str(folder / "scar_host")], "openvino")


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("javascript")
    for name in ("package.json", "scar_host.mjs"):
        shutil.copy(EXAMPLES / "javascript" / name, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock",
               "--prefer-offline", "--fetch-retries=5"]  # fmt: skip
    make("npm install", ["npm", "install", *options], folder)
    yield Host(["node", str(folder / "scar_host.mjs")], "cpu")
    shutil.rmtree(folder / "node_modules")  # 290 MB: libraries for every platform


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in SOURCES])
def host(request: pytest.FixtureRequest) -> Host:
    """Each example in turn."""
    found: Host = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Model]]:
    """The shipped model by provider, loaded once."""
    cache = tmp_path_factory.mktemp("cache")
    loaded: dict[str, Model] = {}

    def load(provider: str) -> Model:
        if provider not in loaded:
            with model_path(None) as path:
                loaded[provider] = Model.load(path, provider, "fp32")
        return loaded[provider]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_place, "cache_folder", lambda: cache)
        yield load


@pytest.fixture(scope="module")
def demo() -> HostStudy:
    """The bundled study with its ECG, as a host would hand it over."""
    stack, record = read_study(DEMO_STUDY), read_ecg(DEMO_ECG)
    display = display_transform(stack)
    assert display.reverse_slices
    return HostStudy(
        pixels=display.to_display(stack.pixels),
        spacing_mm=display.display_spacing(stack.pixel_spacing_mm),
        positions_mm=list(-stack.slice_positions_mm[::-1]),
        beat_mv=mean_beat(record.signals_mv, record.rate_hz, record.lead_names).beat_mv,
        gap_days=3.0,
    )


@pytest.fixture
def small(demo: HostStudy) -> HostStudy:
    """Three slices of it, so that a test takes little time."""
    return replace(demo, pixels=demo.pixels[4:7], positions_mm=demo.positions_mm[4:7])


def compare(host: Host, model: Model, study: HostStudy, folder: Path) -> dict[str, Any]:
    """Run host and Python on one study; what the host printed, after it agreed."""
    target = folder / "labels.u8"
    done = host.run(MODEL, study.write(folder / "study"), target)
    assert (done.returncode, done.stderr) == (0, "")
    labels = np.fromfile(target, np.uint8).reshape(study.pixels.shape)
    said: dict[str, Any] = json.loads(done.stdout)

    given = study.beat_mv is not None
    findings = () if study.ecg_valid else ("the host does not call it valid",)
    decision = decide(study.gap_days, ecg_given=given, findings=findings)
    out = model.run(
        study.pixels, study.spacing_mm, slice_levels(study.positions_mm), study.beat_mv, decision
    )
    heights = slice_heights_mm(study.positions_mm, study.thickness_mm)
    ours = quantify(out.labels, out.segments, study.spacing_mm, heights)
    alone = quantify(out.image_only_labels, out.segments, study.spacing_mm, heights)

    assert (labels == out.labels).mean() >= 0.999
    assert said["ecg_weight"] == pytest.approx(out.ecg_weight, abs=1e-6)
    assert said["ecg_image_disagreement"] == pytest.approx(out.ecg_image_disagreement, abs=1e-3)
    percent = ours.scar_percent_of_lv_mass
    assert percent is not None
    assert 100 * said["burden"] == pytest.approx(percent, abs=0.1)
    assert said["myocardium_g"] == pytest.approx(ours.myocardium_g, rel=1e-3)
    assert said["scar_ml"] == pytest.approx(ours.scar_ml, rel=2e-3, abs=0.02)
    assert said["image_only_scar_ml"] == pytest.approx(alone.scar_ml, rel=2e-3, abs=0.02)
    for theirs, segment in zip(said["segment_burden"], ours.segments, strict=True):
        assert (theirs is None) == (segment.burden is None)
        # A voxel more or less of a small segment is more than the whole ventricle may differ.
        assert theirs is None or theirs == pytest.approx(segment.burden, abs=0.01)
    return said


def test_the_demo_study_gives_what_python_gives(
    host: Host, python: Callable[[str], Model], demo: HostStudy, tmp_path: Path
) -> None:
    model = python(host.provider)
    said = compare(host, model, demo, tmp_path)
    assert said["scar_ml"] > 10
    assert said["ecg_weight"] == pytest.approx(weight(3.0, model.metadata.tau_days), abs=1e-5)


ROOT = EXAMPLES.parents[1]
COMMANDS = re.compile(r"```(?:bash)?\n(pip install openvino\n.*?)```", re.S)


def test_the_study_that_the_readme_makes_is_what_a_host_takes(
    host: Host, python: Callable[[str], Model], demo: HostStudy, tmp_path: Path
) -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.S)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    study, target = tmp_path / "build" / "study", tmp_path / "labels.u8"
    demo.write(tmp_path / "demo")
    assert (study / "lge.f32").read_bytes() == (tmp_path / "demo" / "lge.f32").read_bytes()
    assert (study / "ecg.f32").read_bytes() == (tmp_path / "demo" / "ecg.f32").read_bytes()
    done = host.run(MODEL, study, target)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["scar_ml"] > 10
    tau_days = python(host.provider).metadata.tau_days
    assert said["ecg_weight"] == pytest.approx(weight(3.0, tau_days), abs=1e-5)


def test_the_commands_of_page_and_readme_are_the_same_and_start_at_the_root() -> None:
    found = [
        COMMANDS.findall(path.read_text(encoding="utf-8"))
        for path in (ROOT / "docs" / "how-to" / "other-languages.md", EXAMPLES / "README.md")
    ]
    assert found[0] == found[1]
    (commands,) = found[0]
    assert "\ncd " not in commands  # would leave the root for the next command
    named = re.findall(r"\b(?:runtime|scarseg_infer)/[\w./]+", commands)
    assert len(named) == 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_without_an_ecg_the_image_decides(
    host: Host, python: Callable[[str], Model], demo: HostStudy, tmp_path: Path
) -> None:
    without = replace(demo, beat_mv=None, ecg_valid=False)
    said = compare(host, python(host.provider), without, tmp_path)
    assert said["ecg_weight"] == 0
    assert said["scar_ml"] == pytest.approx(said["image_only_scar_ml"], rel=1e-9)


@pytest.mark.parametrize(("ecg_valid", "gap_days"), [(True, None), (True, -2.0), (False, 3.0)])
def test_an_ecg_of_unknown_age_or_worth_has_no_weight(
    host: Host, python: Callable[[str], Model], small: HostStudy, tmp_path: Path,
    ecg_valid: bool, gap_days: float | None,
) -> None:  # fmt: skip
    study = replace(small, ecg_valid=ecg_valid, gap_days=gap_days)
    said = compare(host, python(host.provider), study, tmp_path)
    assert said["ecg_weight"] == 0


def test_a_single_oblong_slice(
    host: Host, python: Callable[[str], Model], demo: HostStudy, tmp_path: Path
) -> None:
    study = replace(
        demo, pixels=demo.pixels[5:6, 10:150, 20:141], spacing_mm=(1.6, 1.5), positions_mm=[-7.5],
        thickness_mm=6.5,
    )  # fmt: skip
    said = compare(host, python(host.provider), study, tmp_path)
    assert said["myocardium_g"] > 0
    assert all(
        burden is None for burden in (*said["segment_burden"][:6], said["segment_burden"][16])
    )


def test_missing_slices_leave_their_gap(
    host: Host, python: Callable[[str], Model], demo: HostStudy, tmp_path: Path
) -> None:
    kept = [0, 1, 3, 4, 5, 8, 9]
    study = replace(
        demo, pixels=demo.pixels[kept][:, 5:], positions_mm=[-demo.positions_mm[s] for s in kept]
    )
    compare(host, python(host.provider), study, tmp_path)


def refused(host: Host, code: int, model: Path, study: Path) -> str:
    """The line on stderr, after no result was given; nothing of a path is in it."""
    target = study.parent / "labels.u8"
    done = host.run(model, study, target)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert not target.exists()
    assert re.fullmatch(r"[^\n]+\.\n", done.stderr)
    assert str(study.parent) not in done.stderr and str(model) not in done.stderr
    return done.stderr


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c", "d"]])
def test_a_wrong_call_says_how(host: Host, arguments: list[str]) -> None:
    done = host.run(*arguments)
    assert done.returncode == 2
    assert re.fullmatch(r"usage: .*MODEL STUDY LABELS\.\n", done.stderr)


GEOMETRY = "1.6 1.6\n0 10 20\n8\n1 3"


@pytest.mark.parametrize(
    "text",
    [
        "", "3 160", "0 160 160\n" + GEOMETRY, "-3 160 160\n" + GEOMETRY,
        "nan 160 160\n" + GEOMETRY, "4097 160 160\n" + GEOMETRY,
        "4096 4096 4096\n" + GEOMETRY, "3 1e300 160\n" + GEOMETRY, "3 160 161\n" + GEOMETRY,
        "3 160 160\n0 1.6\n0 10 20\n8\n1 3", "3 160 160\n1.6 1600\n0 10 20\n8\n1 3",
        "3 160 160\n1.6 1.6\n0 20 10\n8\n1 3", "3 160 160\n1.6 1.6\n0 0 10\n8\n1 3",
        "3 160 160\n1.6 1.6\n0 10\n8\n1", "3 160 160\n1.6 1.6\n0 10 20\n8\n1 3 4",
        "3 160 160\n1.6 1.6\n0 10 20\n8\n1 three", "3 160 160\n1.6 1.6\n0 10 inf\n8\n1 3",
        "1 160 480\n1.6 1.6\n0\n0\n1 3", "3.5 160 160\n" + GEOMETRY, "3 160 160.5\n" + GEOMETRY,
        "0x3 160 160\n" + GEOMETRY, "3 0xa0 160\n" + GEOMETRY, "\ufeff3 160 160\n" + GEOMETRY,
        "3\u00a0160 160\n" + GEOMETRY, "{}", "\x00\x01",
    ],
)  # fmt: skip
def test_a_study_that_makes_no_sense_is_refused(
    host: Host, small: HostStudy, tmp_path: Path, text: str
) -> None:
    folder = small.write(tmp_path / "study")
    (folder / "study.txt").write_text(text)
    refused(host, 3, MODEL, folder)


@pytest.mark.parametrize(("name", "code"), [("lge.f32", 3), ("ecg.f32", 4)])
def test_files_of_wrong_size_or_without_numbers_are_refused(
    host: Host, small: HostStudy, tmp_path: Path, name: str, code: int
) -> None:
    file = small.write(tmp_path / "study") / name
    whole = file.read_bytes()
    for content in (whole[:-4], whole + b"\0"):
        file.write_bytes(content)
        assert name in refused(host, code, MODEL, file.parent)
    for value in (np.nan, -np.inf):
        file.write_bytes(whole[:-4] + np.array([value], "<f4").tobytes())
        assert name in refused(host, code, MODEL, file.parent)


def unlinked(file: Path, how: str) -> None:
    """The file missing, or a link to nothing, or to itself."""
    file.unlink(missing_ok=True)
    if how != "missing":
        file.symlink_to({"dangling": "nowhere", "loop": file.name}[how])


@pytest.mark.parametrize("how", ["missing", "dangling", "loop"])
@pytest.mark.parametrize(("name", "code"), [("study.txt", 3), ("lge.f32", 3), ("ecg.f32", 4)])
def test_a_file_that_the_study_needs_is_never_done_without(
    host: Host, small: HostStudy, tmp_path: Path, name: str, code: int, how: str
) -> None:
    folder = small.write(tmp_path / "study")
    unlinked(folder / name, how)
    assert name in refused(host, code, MODEL, folder)


def test_the_study_may_call_an_ecg_invalid_that_is_not_there(
    host: Host, small: HostStudy, tmp_path: Path
) -> None:
    folder = replace(small, ecg_valid=False).write(tmp_path / "study")
    unlinked(folder / "ecg.f32", "loop")
    assert host.run(MODEL, folder, tmp_path / "labels.u8").returncode == 0


def test_a_model_of_another_kind_is_refused(host: Host, small: HostStudy, tmp_path: Path) -> None:
    study = small.write(tmp_path / "study")
    model = MODEL.read_bytes()
    entry = b'scarseg.format_version\x12\x03"3"'
    assert model.count(entry) == 1
    spoilt = {
        "text": b"not a model",
        "version": model.replace(entry, entry.replace(b"3", b"9")),
        # Behind an unknown operator of unknown rank OpenVINO may crash: see test_openvino.py.
        "operator": model.replace(b"Resize", b"Resixe"),
        "input": re.sub(rb"\bslice_level\b", b"slice_lever", model),
        "output": re.sub(rb"\bsegments\b", b"segmenta", model),
    }
    for name, content in spoilt.items():
        (tmp_path / name).write_bytes(content)
        refused(host, 5, tmp_path / name, study)
    for path in (tmp_path, tmp_path / "nowhere"):
        refused(host, 5, path, study)


def test_labels_that_cannot_be_written_are_an_error_of_output(
    host: Host, small: HostStudy, tmp_path: Path
) -> None:
    study = small.write(tmp_path / "study")
    done = host.run(MODEL, study, tmp_path / "no folder" / "labels.u8")
    assert (done.returncode, done.stdout) == (6, "")
    assert re.fullmatch(r"[^\n]+\.\n", done.stderr) and str(tmp_path) not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_labels_that_break_off_leave_those_of_before(
    host: Host, small: HostStudy, tmp_path: Path
) -> None:
    study, target = small.write(tmp_path / "study"), tmp_path / "labels.u8"
    target.write_bytes(b"before")
    part = tmp_path / "labels.u8.part"
    part.symlink_to("/dev/full")
    done = host.run(MODEL, study, target)
    assert (done.returncode, done.stdout) == (6, "")
    assert target.read_bytes() == b"before" and not part.is_symlink()
    assert host.run(MODEL, study, target).returncode == 0
    assert len(target.read_bytes()) == small.pixels.size and not part.exists()


def test_labels_never_take_the_place_of_a_device(
    host: Host, small: HostStudy, tmp_path: Path
) -> None:
    target = tmp_path / "labels.u8"
    target.symlink_to("/dev/null")
    done = host.run(MODEL, small.write(tmp_path / "study"), target)
    assert (done.returncode, done.stdout) == (6, "")
    assert target.is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_a_result_that_cannot_be_printed_is_an_error_of_output(
    host: Host, small: HostStudy, tmp_path: Path, where: str
) -> None:
    if where == "&-" and host.provider == "cpu":
        pytest.skip("Node opens /dev/null in its place")
    study = small.write(tmp_path / "study")
    shell = Host(["sh", "-c", f'exec "$@" >{where}', "sh", *host.command], host.provider)
    done = shell.run(MODEL, study, tmp_path / "labels.u8")
    assert done.returncode == 6
    assert re.fullmatch(r"[^\n]+\.\n", done.stderr)


def test_a_model_of_the_image_alone_needs_no_ecg(
    host: Host, small: HostStudy, tmp_path: Path
) -> None:
    model = onnx.load(MODEL)
    for name, shape in (("ecg", (12, 512)), ("gap_days", (1,)), ("ecg_valid", (1,))):
        zeros = onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
        model.graph.initializer.append(zeros)
    del model.graph.input[3:]
    onnx.save(model, tmp_path / "image.onnx")
    results = []
    for name, path in (("with", MODEL), ("without", tmp_path / "image.onnx")):
        study = replace(small, ecg_valid=False).write(tmp_path / name)
        done = host.run(path, study, tmp_path / f"{name}.u8")
        assert (done.returncode, done.stderr) == (0, "")
        results.append(((tmp_path / f"{name}.u8").read_bytes(), json.loads(done.stdout)))
    assert results[0] == results[1]


@pytest.mark.parametrize("source", SOURCES.values())
def test_an_example_stays_short(source: str) -> None:
    lines = (EXAMPLES / source).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 100
