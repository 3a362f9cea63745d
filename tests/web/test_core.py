"""The page's core against Python: the same files give the same labels, numbers, words and errors.

The core runs in Node on onnxruntime-web's WebAssembly, with the model file that the browser gets.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jsonschema
import numpy as np
import pydicom
import pytest

from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.study.read import read_study
from scarseg_infer.write.json import result_document
from scarseg_infer.write.report.page import page_html
from scarseg_runtime.errors import ScarsegError

pytestmark = pytest.mark.slow
SCHEMA = Path(__file__).parents[2] / "scarseg_infer" / "schema" / "result.schema.json"
NEAR = 1e-3
"""Relative difference of quantities that is allowed, 0.1 %."""
LAST_DIGIT = 2e-6
"""Of values rounded to six digits."""


RunCore = Callable[[Sequence["Case"]], list[Any]]


class Case(NamedTuple):
    """Files that are dropped, by their path within the drop."""

    study: Sequence[tuple[str, Path]]
    ecg: Sequence[tuple[str, Path]] = ()
    gap_days: float | None = None


def files_in(folder: Path) -> list[tuple[str, Path]]:
    return [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def wfdb_files(header: Path) -> list[tuple[str, Path]]:
    """A record as a user drops it: all files of its name."""
    return [(path.name, path) for path in sorted(header.parent.glob(f"{header.stem}.*"))]


@pytest.fixture(scope="module")
def demo_case() -> Case:
    ecg = [(path.name, path) for path in (DEMO_ECG, DEMO_ECG.with_suffix(".dat"))]
    return Case(files_in(DEMO_STUDY), ecg)


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Find where two documents differ; numbers by more than ``NEAR``."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [] if list(one) == list(other) else [f"{place}: keys {set(one) ^ set(other)}"]
        return found + [
            line
            for key in one.keys() & other.keys()
            for line in differences(one[key], other[key], f"{place}/{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{place}[{i}]")]
    if _is_number(one) and _is_number(other):
        near = abs(one - other) <= max(NEAR * abs(one), LAST_DIGIT)
    else:
        near = one == other
    return [] if near else [f"{place}: {one!r} against {other!r}"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_alike(answer: Any, segmenter: Segmenter, *arguments: Any, **options: Any) -> None:
    """The answer is that of Python for the same files."""
    assert answer.error is None, answer.error
    result = segmenter.run(*arguments, **options)
    for name, volume in answer.volumes.items():
        assert np.array_equal(volume, getattr(result, name)), name
    expected = json.loads(json.dumps(result_document(result)))
    for document in (expected, answer.document):
        jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    own = answer.document | {"timings_ms": {}, "created_utc": ""}
    own["model"] = own["model"] | {"provider": "cpu"}
    assert answer.document["model"]["provider"] == "wasm"
    assert answer.document["timings_ms"].keys() <= expected["timings_ms"].keys()
    assert differences(expected | {"timings_ms": {}, "created_utc": ""}, own) == []


def test_the_demo_study_with_both_forms_of_its_ecg(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case
) -> None:
    dicom = DEMO_ECG.with_name("twin.dcm")
    cases = [demo_case, demo_case._replace(ecg=[("twin.dcm", dicom)]), demo_case._replace(ecg=())]
    for answer, ecg in zip(run_core(cases), (DEMO_ECG, dicom, None), strict=True):
        check_alike(answer, segmenter, DEMO_STUDY, ecg)


ECG_CHANGES = {
    "label against code": lambda ecg, channels: setattr(channels[6], "ChannelLabel", "V2"),
    "label with code": lambda ecg, channels: setattr(channels[6], "ChannelLabel", "ECG V1"),
    "right chest": lambda ecg, channels: _call(channels[9], "V4 (right)"),
    "minus": lambda ecg, channels: _call(channels[3], "Lead -aVR"),
    "as the standard": lambda ecg, channels: _call(channels[3], "aVR, augmented voltage, right"),
    "padding of zero": lambda ecg, _: ecg.WaveformSequence[0].add_new(
        "WaveformPaddingValue", "OW", b"\0\0"
    ),
    "padded end": lambda ecg, _: _pad(ecg.WaveformSequence[0]),
    "no unit": lambda ecg, channels: channels[0].pop("ChannelSensitivityUnitsSequence"),
    "one moment": lambda ecg, _: setattr(ecg, "AcquisitionDateTime", _moment_of_the_demo()),
    "patient of nobody": lambda ecg, _: setattr(ecg, "PatientID", "ANONYMOUS"),
    "ISO 8601": lambda ecg, _: setattr(ecg, "AcquisitionDateTime", "2024-02-28T10:45:12+01:00"),
    "another age": lambda ecg, _: setattr(ecg, "AcquisitionDateTime", "19700102030405"),
}


def _call(channel: Any, name: str) -> None:
    source = channel.ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeMeaning = "99LOCAL", name


def _pad(group: Any) -> None:
    group.add_new("WaveformPaddingValue", "OW", b"\0\x80")
    words = np.frombuffer(group.WaveformData, "<i2").copy()
    words[-300 * int(group.NumberOfWaveformChannels) :] = -32768
    group.WaveformData = words.tobytes()


def _moment_of_the_demo() -> str:
    acquired = read_study(DEMO_STUDY).acquired
    assert acquired is not None
    return f"{acquired:%Y%m%d%H%M%S.%f}"


def test_changed_ecgs(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case, tmp_path: Path
) -> None:
    cases, paths = [], []
    for name, change in ECG_CHANGES.items():
        ecg = pydicom.dcmread(DEMO_ECG.with_name("twin.dcm"))
        change(ecg, ecg.WaveformSequence[0].ChannelDefinitionSequence)
        paths.append(tmp_path / f"{name}.dcm")
        ecg.save_as(paths[-1])
        cases.append(demo_case._replace(ecg=[("ecg.dcm", paths[-1])]))
    refused = 0
    for answer, path in zip(run_core(cases), paths, strict=True):
        if answer.error is None:
            check_alike(answer, segmenter, DEMO_STUDY, path)
            continue
        with pytest.raises(ScarsegError) as raised:
            segmenter.run(DEMO_STUDY, path)
        assert answer.error.startswith(_first_clause(raised.value.what)), path.stem
        refused += 1
    assert refused == 3


def test_real_ecgs(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case, shared_data: Path
) -> None:
    headers = [
        *sorted((shared_data / "ecg").glob("*/*.hea")),
        *sorted((shared_data / "ptbxl").rglob("*.hea"))[::400],
    ]
    cases = [demo_case._replace(ecg=wfdb_files(header), gap_days=3.0) for header in headers]
    for answer, header in zip(run_core(cases), headers, strict=True):
        _same_or_refused(answer, segmenter, DEMO_STUDY, header, gap_days=3.0)


def test_real_images(run_core: RunCore, segmenter: Segmenter, shared_data: Path) -> None:
    images = sorted((shared_data / "lge-real").glob("*_image.nii.gz"))
    images += sorted((shared_data / "lge-validation").glob("*image*.nii.gz"))[:2]
    assert images
    answers = run_core([Case([("lge.nii.gz", image)]) for image in images])
    for answer, image in zip(answers, images, strict=True):
        check_alike(answer, segmenter, image)


def test_studies_of_the_twin(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case, tmp_path: Path,
    study_changes: ModuleType,
) -> None:  # fmt: skip
    """Series that a scanner mixes: names, kinds and order of the demo changed."""
    folders = []
    for name, make in study_changes.MIXED.items():
        folder = tmp_path / name
        shutil.copytree(DEMO_STUDY, folder)
        make(folder)
        folders.append(folder)
    cases = [Case(files_in(folder), demo_case.ecg) for folder in folders]
    for answer, folder in zip(run_core(cases), folders, strict=True):
        check_alike(answer, segmenter, folder, DEMO_ECG)


def test_a_squeezed_heart_is_told_in_the_same_words(
    run_core: RunCore, segmenter: Segmenter, tmp_path: Path, study_changes: ModuleType
) -> None:
    """Of labels on what is no heart a few pixels may differ."""
    folder = tmp_path / "study"
    shutil.copytree(DEMO_STUDY, folder)
    study_changes.squeezed(folder)
    (answer,) = run_core([Case(files_in(folder))])
    assert answer.document["warnings"] == list(segmenter.run(folder).warnings)
    assert any("times as long as it is wide" in words for words in answer.document["warnings"])


def test_every_flavour_of_the_matrix(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case, tmp_path: Path,
    dicom_factory: ModuleType, enhanced_factory: ModuleType,
) -> None:  # fmt: skip
    """Studies in every way that tests/infer/test_matrix.py has them arrive: by the page, too."""
    makers = _matrix().FLAVOURS | {
        "enhanced": lambda found: [enhanced_factory.enhanced(found)],
        "legacy": lambda found: [enhanced_factory.legacy(found)],
        "said twice": lambda found: [_said_twice(enhanced_factory.enhanced(found))],
    }
    folders = []
    for name, make in makers.items():
        slices = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
        dicom_factory.write(tmp_path / name, make(slices))
        folders.append(tmp_path / name)
    cases = [Case(files_in(folder), demo_case.ecg, 3.0) for folder in folders]
    for answer, folder in zip(run_core(cases), folders, strict=True):
        check_alike(answer, segmenter, folder, DEMO_ECG, gap_days=3.0)


def _said_twice(image: pydicom.Dataset) -> pydicom.Dataset:
    """An enhanced object whose frames are mirrored by its own groups."""
    axes = pydicom.Dataset()
    shared = image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    axes.ImageOrientationPatient = [-value for value in shared.ImageOrientationPatient]
    image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence.append(axes)
    return image


def _matrix() -> ModuleType:
    path = Path(__file__).parents[1] / "infer" / "test_matrix.py"
    spec = importlib.util.spec_from_file_location("matrix", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_refused_as_python_refuses(
    run_core: RunCore, segmenter: Segmenter, shared_data: Path, tmp_path: Path,
    study_changes: ModuleType,
) -> None:  # fmt: skip
    folders = {"cine": shared_data / "cine-study"}
    for name, change in study_changes.REFUSED.items():
        folders[name] = tmp_path / name
        shutil.copytree(DEMO_STUDY, folders[name])
        change(folders[name])
    answers = run_core([Case(files_in(folder)) for folder in folders.values()])
    for answer, (name, folder) in zip(answers, folders.items(), strict=True):
        with pytest.raises(ScarsegError) as raised:
            segmenter.run(folder)
        assert answer.error is not None, name
        # Advice may name an option of the command line, what is wrong may not differ.
        assert answer.error.startswith(_first_clause(raised.value.what)), name


def test_what_the_page_does_not_read_it_says(
    run_core: RunCore, demo_case: Case, shared_data: Path, tmp_path: Path
) -> None:
    philips = sorted((shared_data / "ecg" / "philips").glob("*.xml"))[0]
    text = tmp_path / "letter.txt"
    text.write_text("Dear colleague")
    lonely = [(DEMO_ECG.with_suffix(".dat").name, DEMO_ECG.with_suffix(".dat"))]
    labels = shared_data / "lge-real" / "positive_labels.nii.gz"
    cases = {
        "format of a vendor": demo_case._replace(ecg=[("ecg.xml", philips)]),
        "no header": demo_case._replace(ecg=lonely),
        "no DICOM image": Case([("letter.txt", text)]),
        "map of labels": Case([("labels.nii.gz", labels)]),
        "is missing": demo_case._replace(ecg=[(DEMO_ECG.name, DEMO_ECG)]),
    }
    for answer, words in zip(run_core(list(cases.values())), cases, strict=True):
        assert answer.error is not None
        assert words in answer.error
        assert "letter" not in answer.error


def test_a_zip_is_as_good_as_its_folder(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case, tmp_path: Path
) -> None:
    packed = tmp_path / "all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files_in(DEMO_STUDY):
            archive.write(path, f"study/{name}")
    [answer] = run_core([Case([("all.zip", packed)], demo_case.ecg)])
    check_alike(answer, segmenter, DEMO_STUDY, DEMO_ECG)


def test_the_report_is_that_of_the_product(
    run_core: RunCore, segmenter: Segmenter, demo_case: Case
) -> None:
    [answer] = run_core([demo_case])
    expected = page_html(segmenter.run(DEMO_STUDY, DEMO_ECG))
    own, theirs = (_comparable(text) for text in (answer.report, expected))
    assert own == theirs
    packed = [json.loads(_DATA.search(text)[1])["volumes"] for text in (answer.report, expected)]  # type: ignore[index]
    assert differences(packed[1], packed[0]) == []


def test_damaged_files_end_in_an_error(run_core: RunCore, demo_case: Case, tmp_path: Path) -> None:
    """Cut, flipped and inflated: every file gives a result or an error of ours."""
    generator = np.random.default_rng(7)
    cases = []
    image = Path(demo_case.study[4][1])
    sources = [("image.dcm", image), ("twin.dcm", DEMO_ECG.with_name("twin.dcm")), *demo_case.ecg]
    for number in range(40):
        name, source = sources[number % len(sources)]
        data = bytearray(source.read_bytes())
        for _ in range(int(generator.integers(1, 40))):
            data[int(generator.integers(min(len(data), 4000)))] = int(generator.integers(256))
        if number % 3 == 0:
            del data[int(generator.integers(len(data))) :]
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(data)
        if name == "image.dcm":
            cases.append(Case([(name, path)]))
        else:
            others = [pair for pair in demo_case.ecg if pair[0] != name and name != "twin.dcm"]
            cases.append(Case([("image.nii", path)], [(name, path), *others]))
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb") as file:
        for _ in range(600):
            file.write(bytes(2**20))
    cases.append(Case([("bomb.nii.gz", bomb)]))
    answers = run_core(cases)
    assert answers[-1].error is not None
    assert "expands to more than 512 MB" in answers[-1].error
    refused = [answer.error for answer in answers[:-1] if answer.error is not None]
    assert len(refused) > len(answers) // 2
    assert not any(re.search(r"\.dcm|\.hea|tmp", error) for error in refused)


def _same_or_refused(answer: Any, segmenter: Segmenter, *arguments: Any, **options: Any) -> None:
    try:
        segmenter.run(*arguments, **options)
    except ScarsegError as error:
        assert answer.error is not None
        assert answer.error.startswith(_first_clause(error.what))
    else:
        check_alike(answer, segmenter, *arguments, **options)


def _first_clause(what: str) -> str:
    return what.partition("; besides")[0]


_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


def _comparable(report: str) -> list[str]:
    """Its elements, without what is of the run itself and without embedded volumes."""
    for pattern in (
        _DATA, re.compile(r"<caption>Wall time</caption>.*?</table>", re.S),
        re.compile(r"<dt>(?:Made|Ran on)</dt><dd>.*?</dd>"),
    ):  # fmt: skip
        report = pattern.sub("", report)
    # 44.0 in Python is 44 in JavaScript, and -0.0 is 0.
    plain = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]) + 0.0:g}", report)
    return plain.replace(">", ">\n").splitlines()
