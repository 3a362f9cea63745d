"""Fixtures shared by all suites."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from scarseg_infer.result import EcgUse, ModelUse, ScarResult
from scarseg_infer.study.geometry.orientation import (
    ANTERIOR_WALL,
    BASE_TO_APEX,
    LATERAL_WALL,
    display_transform,
)
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.atlas import segment_at
from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, LEADS, Label
from scarseg_runtime.ecg.noise import LeadQuality
from scarseg_runtime.ecg.quality import EcgQuality
from scarseg_runtime.quantify.quantities import quantify, slice_heights_mm

# A machine that stalls for a moment is no defect, and in CI no draw of chance may decide: there the
# same examples come each time. tests/fuzz looks for others.
settings.register_profile(
    "scarseg",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("scarseg")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def one_core_each() -> Iterator[None]:
    """Tests that run beside others compute on one core where they do not ask for more: threads of
    ONNX Runtime that wait for work spin, in the time of the others."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            for provider in ("onnxruntime", "openvino"):
                place = f"scarseg_runtime.providers.{provider}.session.usable_cores"
                patch.setattr(place, lambda: 1)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real MRI and ECG files that stands beside a checkout, never inside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data not available: {SHARED_DATA.name} folder does not exist")
    return SHARED_DATA


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """Path of a program that is not Python, by its name and its Debian package. Where it is not
    installed the test is skipped, in CI it fails."""

    def path(name: str, package: str) -> str:
        # Not from our own environment, where pynetdicom puts programs with the names of DCMTK's.
        # Daemons lie where users do not look.
        ours = Path(sys.executable).parent
        folders = [f for f in os.environ["PATH"].split(os.pathsep) if Path(f) != ours]
        found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))
        if found is None:
            message = f"{name} is not installed (Debian: {package})"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        return found

    return path


@pytest.fixture
def make_commands(tmp_path: Path) -> Callable[[str], list[str]]:
    """Commands that ``make`` would run for a target in a clean clone, one a line, without running
    anything. The clone is ``tmp_path``: the project's settings, and its tests as empty files."""
    if shutil.which("make") is None and not os.environ.get("CI"):
        pytest.skip("needs make")
    root = Path(__file__).resolve().parents[1]
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-lowest.txt"):
        shutil.copy(root / name, tmp_path)
    for path in (root / "tests").rglob("*"):
        if path.is_dir():
            (tmp_path / path.relative_to(root)).mkdir(parents=True, exist_ok=True)
    for path in (root / "tests").glob("test_*.py"):
        (tmp_path / "tests" / path.name).touch()
    # Without what a make around this test hands down, and what the Makefile lets users set.
    own = ("MAKE", "MFLAGS", "PYTHON", "VENV", "JOBS", "SLOW_JOBS")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(own)}

    def commands(target: str) -> list[str]:
        done = subprocess.run(
            ["make", "--dry-run", "--no-print-directory", target],
            cwd=tmp_path, capture_output=True, text=True, check=True, env=plain,
        )  # fmt: skip
        return done.stdout.replace("\\\n", " ").splitlines()

    return commands


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """The function of ``ports.py`` beside this file, which pytest does not put on the path."""
    found: Callable[[int], list[int]] = _beside("ports").free_ports
    return found


@pytest.fixture(scope="session")
def dicom_factory() -> ModuleType:
    """DICOM series of any geometry: the module ``infer/dicom_factory.py``."""
    return _beside("infer/dicom_factory")


@pytest.fixture(scope="session")
def enhanced_factory() -> ModuleType:
    """Enhanced (multi-frame) MR objects made of classic series."""
    return _beside("infer/enhanced_factory")


@pytest.fixture(scope="session")
def web_peers() -> ModuleType:
    """The module ``web_peers.py`` beside this file."""
    return _beside("web_peers")


@pytest.fixture(scope="module")
def orthanc_web(
    web_peers: ModuleType,
    program: Callable[[str, str], str],
    free_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """An Orthanc that speaks DICOMweb and asks for a login, started."""
    folder = tmp_path_factory.mktemp("orthanc-web")
    yield from _started_orthanc(web_peers, program, folder, free_ports(2))


@pytest.fixture(scope="module")
def orthanc_token(
    web_peers: ModuleType,
    program: Callable[[str, str], str],
    free_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """The same, but that it asks for a bearer token."""
    folder = tmp_path_factory.mktemp("orthanc-token")
    yield from _started_orthanc(web_peers, program, folder, free_ports(2), token=True)


def _started_orthanc(
    web_peers: ModuleType, program: Callable[[str, str], str], folder: Path, ports: list[int],
    *, token: bool = False,
) -> Iterator[Any]:  # fmt: skip
    orthanc = program("Orthanc", "orthanc")
    if web_peers.plugin() is None:
        message = "Orthanc's DICOMweb plugin is not installed (Debian: orthanc-dicomweb)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    found = web_peers.Orthanc(orthanc, folder, *ports, token=token)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def web_server(
    web_peers: ModuleType, free_ports: Callable[[int], list[int]]
) -> Iterator[Callable[..., Any]]:
    """Starts servers that answer as a script says."""
    servers: list[Any] = []

    def start(script: Any, tls: Any = None) -> Any:
        whole = script if callable(script) else lambda _: [script]
        servers.append(web_peers.ScriptedServer(*free_ports(1), whole, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _beside(place: str) -> ModuleType:
    path = Path(__file__).parent / f"{place}.py"
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_result() -> Callable[..., ScarResult]:
    """Builds results of an analytic heart on any stack; see :func:`build_result`."""
    return build_result


def a_beat() -> np.ndarray:
    """[512] something like a QRS complex at the R peak's place."""
    return np.exp(-0.5 * ((np.arange(BEAT_SAMPLES) - BEAT_R_INDEX) / 9.0) ** 2)


def a_quality() -> EcgQuality:
    """Quality of a clean ECG."""
    leads = tuple(LeadQuality(lead, True, False, False, 0.0, 12.0) for lead in LEADS)
    return EcgQuality(leads, 61.0, 92.0, "none", "not seen", None, (), ())


def build_result(stack: LgeStack, *, lv: bool = True, ecg: bool = True) -> ScarResult:
    """A cylindrical LV in the middle of ``stack`` with a transmural lateral scar in slices 1…

    Slice 0 holds no scar, so that empty frames are seen to be kept.
    """
    display = display_transform(stack)
    shown = display.to_display(stack.pixels)
    spacing = display.display_spacing(stack.pixel_spacing_mm)
    rows, columns = np.meshgrid(*(np.arange(n) for n in shown.shape[1:]), indexing="ij")
    y, x = (rows - shown.shape[1] / 2) * spacing[0], (columns - shown.shape[2] / 2) * spacing[1]
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x))
    plane = np.zeros(radius.shape, np.uint8)
    if lv:
        plane[radius < 16] = Label.VIABLE_MYOCARDIUM
        plane[(radius < 16) & (np.abs(angle) < 40)] = Label.SCAR
        plane[radius < 9] = Label.LV_CAVITY
    labels = np.stack([plane] * len(shown))
    labels[0][labels[0] == Label.SCAR] = Label.VIABLE_MYOCARDIUM
    wall = np.isin(labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    levels = np.linspace(0, 0.99, len(shown))[:, None, None]
    segments = np.where(wall, segment_at(angle - 120.0, levels), 0).astype(np.uint8)
    labels, segments = display.to_source(labels), display.to_source(segments)
    image_only = np.where(labels == Label.SCAR, Label.VIABLE_MYOCARDIUM, labels).astype(np.uint8)
    heights = slice_heights_mm(stack.slice_positions_mm, stack.slice_thickness_mm)
    return ScarResult(
        stack=stack,
        labels=labels,
        scar_probability=(labels == Label.SCAR).astype(np.float32),
        image_only_labels=image_only,
        segments=segments,
        display=display,
        quantities=quantify(labels, segments, stack.pixel_spacing_mm, heights),
        image_only_quantities=quantify(image_only, segments, stack.pixel_spacing_mm, heights),
        ecg=EcgUse(
            given=ecg, weight=0.97 if ecg else 0.0, gap_days=3.0 if ecg else None,
            gap_source="given" if ecg else "unknown", reason="for a test",
            source="wfdb" if ecg else None,
            quality=a_quality() if ecg else None,
            mean_beat_mv=(np.arange(12)[:, None] / 10 * a_beat()).astype(np.float32)
            if ecg else None,
            heart_rate_bpm=61.0 if ecg else None, beats_averaged=9 if ecg else None,
            derived_leads=("aVF",) if ecg else (),
            segment_belief=np.linspace(0, 1, 17, dtype=np.float32) if ecg else None,
            image_disagreement=False if ecg else None,
        ),
        model=ModelUse("toy", "1.2.3", "0" * 64, "Simulated.", "cpu", "fp32", 129.0),
        timings_ms={"network": 12.5},
        warnings=("one warning",),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_stack() -> Callable[..., LgeStack]:
    """Builds a short-axis stack of noise without files, in any number of slices."""

    def build(slices: int = 6, size: tuple[int, int] = (56, 64)) -> LgeStack:
        heights = 8.0 * np.arange(slices)[::-1, None]  # row × column points apex → base
        return LgeStack(
            pixels=np.random.default_rng(0).gamma(2, 100, (slices, *size)).astype(np.float32),
            pixel_spacing_mm=(1.0, 0.9),
            origins_mm=np.array([10.0, -20.0, 30.0]) + heights * BASE_TO_APEX,
            row_direction=LATERAL_WALL,
            column_direction=-ANTERIOR_WALL,
            slice_thickness_mm=8.0,
            source="array",
        )

    return build
