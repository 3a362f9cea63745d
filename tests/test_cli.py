"""The command line as a user meets it: exit codes, one line of error, nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pydicom
import pytest
import wfdb

from scarseg_infer.cli import main
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_runtime.providers import cache_place

OUTPUTS = {
    "report.html",
    "scar.dcm",
    "report-sr.dcm",
    "scar.nii.gz",
    "result.json",
    "segments.csv",
    "overlay.png",
    "bullseye.png",
}


def demo_copy(folder: Path, change: Callable[[int, pydicom.Dataset], bool] | None = None) -> Path:
    """The demo study in ``folder``, each dataset passed to ``change`` (False drops it)."""
    folder.mkdir(parents=True)
    for index, path in enumerate(sorted(DEMO_STUDY.iterdir())):
        dataset = pydicom.dcmread(path)
        if change is None or change(index, dataset) is not False:
            dataset.save_as(folder / path.name)
    return folder


def write_ecg(folder: Path, leads: list[int]) -> Path:
    record = wfdb.rdrecord(str(DEMO_ECG.with_suffix("")))
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        "rec", fs=record.fs, units=["mV"] * len(leads), fmt=["16"] * len(leads),
        sig_name=[record.sig_name[i] for i in leads], p_signal=record.p_signal[:, leads],
        write_dir=str(folder),
    )  # fmt: skip
    return folder / "rec.hea"


def test_the_demo_prints_five_lines_and_the_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(["--demo", "-o", str(out)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert len(lines) == 5 + len(OUTPUTS)
    assert "Digital twin" in lines[4] and "Not a medical device" in lines[4]
    assert {Path(line).name for line in lines[5:]} == OUTPUTS
    assert {path.name for path in out.iterdir()} == OUTPUTS
    document = json.loads((out / "result.json").read_text("utf-8"))
    assert document["ecg"]["gap_source"] == "timestamps"
    assert main(["--demo", "-o", str(out), "-q"]) == 0  # the demo may be repeated
    assert capsys.readouterr().out == ""


def test_a_zip_of_the_study_gives_the_same_result(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in DEMO_STUDY.iterdir():
            archive.write(path, f"export/{path.name}")
    for study, out in ((tmp_path / "study.zip", "a"), (DEMO_STUDY, "b")):
        assert main([str(study), str(DEMO_ECG), "-q", "-o", str(tmp_path / out)]) == 0
    documents = [json.loads((tmp_path / out / "result.json").read_text()) for out in "ab"]
    assert documents[0]["quantities"] == documents[1]["quantities"]


def bad_inputs(folder: Path) -> dict[str, tuple[int, str, list[str]]]:
    """Name → exit code, words of the message, arguments. Every item of the project's list."""

    def other_patient(index: int, dataset: pydicom.Dataset) -> bool:
        if index % 2:
            dataset.PatientID = "someone else"
        return True

    def other_study(index: int, dataset: pydicom.Dataset) -> bool:
        if index % 2:
            dataset.StudyInstanceUID = "1.2.3.4"
        return True

    (folder / "empty").mkdir()
    truncated = demo_copy(folder / "truncated")
    victim = sorted(truncated.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-9000])
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
    bomb = zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with bomb, bomb.open("zeros.dcm", "w", force_zip64=True) as stream:
        for _ in range(2100):
            stream.write(bytes(1 << 20))
    lonely = folder / "lonely"
    lonely.mkdir()
    (lonely / "rec.dat").write_bytes(DEMO_ECG.with_suffix(".dat").read_bytes())
    (folder / "taken").mkdir()
    (folder / "taken" / "notes.txt").write_text("mine")
    model = onnx.load(Path(DEMO_STUDY).parents[1] / "models" / "reference.onnx")
    del model.graph.output[-1]
    onnx.save(model, folder / "broken.onnx")
    demo = str(DEMO_STUDY)
    return {
        "no study": (2, "no study", []),
        "demo and study": (2, "--demo", ["--demo", demo]),
        "missing": (3, "does not exist", [str(folder / "nowhere")]),
        "empty folder": (3, "no files", [str(folder / "empty")]),
        "truncated": (3, "file 4 of", [str(truncated)]),
        "two patients": (3, "2 patients", [str(demo_copy(folder / "p", other_patient))]),
        "two studies": (3, "2 studies", [str(demo_copy(folder / "s", other_study))]),
        "zip traversal": (3, "", [str(folder / "evil.zip")]),
        "zip bomb": (3, "2", [str(folder / "bomb.zip")]),
        "dat without hea": (4, ".hea", [demo, str(lonely / "rec.dat")]),
        "three leads": (4, "lead", [demo, str(write_ecg(folder / "three", [0, 1, 6]))]),
        "existing out": (6, "exists", [demo, "-o", str(folder / "taken")]),
        "foreign out": (6, "not results", [demo, "-o", str(folder / "taken"), "--overwrite"]),
        "unwritable out": (6, "cannot be written", [demo, "-o", "/proc/nowhere/out"]),
        "unknown output": (2, "no output 'docx'", [demo, "--only", "json,docx"]),
        "no threads": (2, "--threads", [demo, "--threads", "0"]),
        "unknown provider": (5, "openvino, cpu", [demo, "--provider", "quantum"]),
        "missing model": (5, "does not exist", [demo, "--model", str(folder / "none.onnx")]),
        "broken model": (
            5, "no output named",
            [demo, "--provider", "cpu", "--model", str(folder / "broken.onnx")],
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    return bad_inputs(tmp_path_factory.mktemp("bad"))


NAMES = [
    "no study", "demo and study", "missing", "empty folder", "truncated", "two patients",
    "two studies", "zip traversal", "zip bomb", "dat without hea", "three leads", "existing out",
    "foreign out", "unwritable out", "unknown output", "no threads",
    "unknown provider", "missing model", "broken model",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_one_line_and_the_right_code(
    name: str, inputs: dict, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    code, words, arguments = inputs[name]
    if "-o" not in arguments:
        arguments = [*arguments, "-o", str(tmp_path / "out")]
    assert main(arguments) == code
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("scarseg-infer: ") and words in printed.err
    assert not list(tmp_path.iterdir())
    assert "someone else" not in printed.err


def test_a_real_cine_study_is_refused_in_plain_words(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert main([str(shared_data / "cine-study"), "-o", str(tmp_path / "out")]) == 3
    message = capfd.readouterr().err
    assert message.count("\n") == 1
    assert "looks like a cine" in message and "Export the short-axis LGE series" in message
    assert not list(tmp_path.iterdir())


def test_a_missing_slice_is_measured_as_it_is_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = demo_copy(tmp_path / "study", lambda index, _: index != 3)
    assert main([str(study), "-q", "-o", str(tmp_path / "gap")]) == 0
    assert main([str(DEMO_STUDY), "-q", "-o", str(tmp_path / "whole")]) == 0
    gap, whole = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("gap", "whole")
    )
    assert any("missing between slices" in warning for warning in gap["warnings"])
    assert not any("missing" in warning for warning in whole["warnings"])
    volume = "myocardium_ml"
    assert gap["quantities"][volume] == pytest.approx(whole["quantities"][volume], rel=0.15)


def test_other_files_are_ignored_with_a_count(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = demo_copy(tmp_path / "study")
    (study / "readme.txt").write_text("hello")
    (study / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert main([str(study), "-o", str(tmp_path / "out")]) == 0
    assert "2 " in capsys.readouterr().err


def test_dates_that_are_no_dates_leave_the_gap_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def spoil(_: int, dataset: pydicom.Dataset) -> bool:
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            dataset[keyword]._value = "20120000"
        return True

    with warnings.catch_warnings(action="ignore"):  # pydicom has its doubts about such dates
        study = demo_copy(tmp_path / "study", spoil)
    assert main([str(study), str(DEMO_ECG), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "not dates" in printed.err
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["ecg"]["gap_days"] is None and document["ecg"]["weight"] == 0.0


@pytest.mark.parametrize("gap", ["-3", "nan", "inf"])
def test_an_impossible_gap_gives_the_ecg_no_weight(tmp_path: Path, gap: str) -> None:
    ecg = write_ecg(tmp_path / "ecg", list(range(12)))  # carries no date
    arguments = [str(DEMO_STUDY), str(ecg), "-q", f"--gap-days={gap}", "-o"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["ecg"]["weight"] == 0.0 and "not used" in document["ecg"]["reason"]


def test_nothing_that_is_written_names_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    def name(_: int, dataset: pydicom.Dataset) -> bool:
        dataset.PatientName, dataset.PatientID = "Quux^Zaphod", "ID-424242"
        dataset.PatientBirthDate = "19421013"
        return True

    study = demo_copy(tmp_path / "study", name)
    assert main([str(study), str(DEMO_ECG), "-v", "-o", str(tmp_path / "out")]) == 0
    printed = "".join(capfd.readouterr())
    texts = printed + (tmp_path / "out" / "result.json").read_text("utf-8")
    for secret in ("Quux", "Zaphod", "424242", "19421013"):
        assert secret not in texts
    seg = pydicom.dcmread(tmp_path / "out" / "scar.dcm")
    assert seg.PatientID == "ID-424242"  # the DICOM object must carry it


def test_the_console_command_runs_and_help_is_light() -> None:
    code = "import sys; from scarseg_infer.cli import parser; parser(); print(len(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    run = subprocess.run(
        [sys.executable, "-m", "scarseg_infer.cli", "--help"], capture_output=True, text=True
    )
    assert run.returncode == 0 and "exit codes" in run.stdout
    usage = subprocess.run(
        [sys.executable, "-m", "scarseg_infer.cli", "--wrong"], capture_output=True, text=True
    )
    assert usage.returncode == 2 and usage.stderr.count("\n") == 1


def test_an_unexpected_failure_does_not_quote_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("PatientName=Quux^Zaphod")

    monkeypatch.setattr("scarseg_infer.segmenter.study_stack", explode)
    assert main([str(DEMO_STUDY), "-o", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "internal error" in message and "Quux" not in message
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("openvino", reason="extra openvino is not installed")
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache_place, "cache_folder", lambda: tmp_path / "file" / "cache")
    given = ["--demo", "--provider", "openvino", "--only", "json", "-o", str(tmp_path / "out")]
    assert main(given) == 0
    assert "warning: the engine cache cannot be written" in capsys.readouterr().err


STOPS_BEFORE_THE_LAST_FILE = """
import sys, threading, time
from scarseg_infer import cli
from scarseg_infer.write import json
threading.Thread(target=time.sleep, args=(600,)).start()  # as the loader, at a lock left behind
json.write_json = lambda *_: time.sleep(600)
sys.argv = ["scarseg-infer", "--demo", "-o", sys.argv[1]]
cli.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "code", "how"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped")],
)
def test_what_had_been_written_goes_when_the_command_is_stopped(
    tmp_path: Path, number: signal.Signals, code: int, how: str
) -> None:
    command = [sys.executable, "-c", STOPS_BEFORE_THE_LAST_FILE, tmp_path / "deep" / "out"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        while run.poll() is None and not list(tmp_path.rglob("*.png")):
            time.sleep(0.05)
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (code, "")
    assert err == f"scarseg-infer: {how}; nothing is left half written.\n"
    assert not list(tmp_path.iterdir())
