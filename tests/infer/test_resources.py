"""No study or ECG, however small, takes all memory, all time, or files that are not its own."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, generate_uid

from scarseg_infer.cli import main
from scarseg_infer.ecg.dicom import is_ecg, read_ecg_dicom
from scarseg_infer.study.geometry.orientation import BASE_TO_APEX
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import EcgError, StudyError

Bounded = Callable[..., str]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs limits, links and pipes")

READ = """
import resource, sys
from pathlib import Path
from scarseg_runtime.errors import ScarsegError
kind, path, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
if kind == "ecg":
    from scarseg_infer.ecg.read import read_ecg as read
elif kind == "ecg of study":
    from scarseg_infer.ecg.in_study import EcgSearch
    from scarseg_infer.study.read import _opened
    def read(path):
        search = EcgSearch()
        with _opened(Path(path)) as files:
            for index in range(len(files)):
                search.look(files.read(index) or b"")
        return search.found()
else:
    from scarseg_infer.study.read import read_study as read
try:
    found = read(path)
    print(*found[1] if kind == "ecg of study" else ["read"])
except ScarsegError as error:
    print(error)
"""


WARM = """
import json, os, resource, sys, traceback
import scarseg_infer.ecg.in_study, scarseg_infer.ecg.read, scarseg_infer.study.read
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        code = 1
        try:
            sys.argv[1:] = job["arguments"]
            exec(job["script"], {})
            sys.stdout.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Has imported the readers, and forks for each file: the limits of one process are not those of the
next, and none waits for the imports."""


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounded]:
    """Read in a process with so much address space and a minute of processor time, whatever else
    the machine does; a wait for ever ends after ten."""
    folder = tmp_path_factory.mktemp("bounded")
    job = {"script": READ, "out": str(folder / "out"), "err": str(folder / "err")}
    with subprocess.Popen(
        [sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as warm:
        assert warm.stdin
        assert warm.stdout

        def read(path: Path, kind: str = "study", *, megabytes: int = 1500) -> str:
            arguments = [kind, str(path), str(megabytes << 20)]
            print(json.dumps(job | {"arguments": arguments}), file=warm.stdin, flush=True)
            child = int(warm.stdout.readline())
            late = threading.Timer(600, os.kill, (child, signal.SIGKILL))
            late.start()
            code = int(warm.stdout.readline())
            late.cancel()
            said, wrong = ((folder / name).read_text() for name in ("out", "err"))
            assert code == 0, wrong[-2000:]
            assert not wrong
            assert str(path) not in said
            return said.strip()

        yield read
        warm.stdin.close()


# --- folders --------------------------------------------------------------------------------


def test_links_and_pipes_in_a_folder(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series())
    (folder / "sub").mkdir()
    (folder / "here").symlink_to(".")
    (folder / "sub" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.dcm")
    assert bounded(folder) == "read"
    assert len(read_study(folder).pixels) == 6


def test_folders_nested_a_thousand_times(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series())
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        assert bounded(folder) == "read"
    finally:  # the fixture's own clean-up is recursive
        subprocess.run(["rm", "-rf", folder / "a"], check=True)


@pytest.mark.parametrize("target", ["IM000.dcm", "pipe"])
def test_links_that_lead_inside(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType, target: str
) -> None:
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series())
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(target)
    (tmp_path / "given").symlink_to(folder)
    assert bounded(folder) == "read"
    assert bounded(tmp_path / "given") == "read"


@pytest.mark.parametrize(
    "target", ["b" * 300, ".git/annex/objects/a", "link", "IM000.dcm/below"],
    ids=["too long", "not fetched", "loop", "below a file"],
)  # fmt: skip
def test_links_that_lead_nowhere(
    bounded: Bounded,
    tmp_path: Path,
    dicom_factory: ModuleType,
    target: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A slice whose content was not fetched (git-annex) is not left out without a word."""
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series())
    (folder / "link").symlink_to(target)
    assert "link that leads to no file" in bounded(folder)
    assert main([str(folder), "-q", "-o", str(tmp_path / "out")]) == StudyError.exit_code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("target", ["../outside", "..", "../gone", "/dev/zero", "/nowhere/a"])
def test_links_that_lead_outside(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType, target: str
) -> None:
    """Folders too, and what is not there any more."""
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series())
    dicom_factory.write(tmp_path / "outside", dicom_factory.series(PatientID="other"))
    (folder / "link").symlink_to(target)
    assert "links that lead outside" in bounded(folder)


@pytest.mark.parametrize("target", ["../other.dcm", "/proc/kmsg", "/proc/self/pagemap"])
def test_links_to_files_outside(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType, target: str
) -> None:
    """Not followed, since they may lead anywhere; not left out, since they may be slices."""
    folder = tmp_path / "study"
    for path in dicom_factory.write(folder, dicom_factory.series())[:1]:
        path.rename(tmp_path / "other.dcm")
    if not (folder / target).exists():
        pytest.skip("no such file here")
    (folder / "link").symlink_to(target)
    assert "links that lead outside" in bounded(folder)


@pytest.mark.parametrize(
    ("kind", "name"), [("study", "a"), ("study", "a.nii"), ("study", "a.zip"), ("ecg", "a.hea"),
                       ("ecg", "a.xml")]
)  # fmt: skip
def test_a_pipe_is_no_file(bounded: Bounded, tmp_path: Path, kind: str, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert bounded(tmp_path / name, kind) != "read"


# --- DICOM ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [4096, 65535])
def test_matrix_without_pixels(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType, rows: int
) -> None:
    datasets = dicom_factory.series(Rows=rows, Columns=rows)
    dicom_factory.write(tmp_path / "study", datasets)
    assert bounded(tmp_path / "study", megabytes=700) != "read"


@pytest.mark.parametrize("frames", [10**9, 10**300])
def test_frames_without_pixels(
    bounded: Bounded,
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    frames: int,
) -> None:
    dataset = enhanced_factory.enhanced(dicom_factory.series())
    data = dicom_factory.encoded(dataset)
    count = data.index(b"\x28\x00\x08\x00IS")
    value = str(frames).encode()
    value += b" " * (len(value) % 2)
    changed = data[: count + 6] + struct.pack("<H", len(value)) + value + data[count + 10 :]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.dcm").write_bytes(changed)
    assert "functional groups" in bounded(tmp_path / "study", megabytes=700)


def test_black_slices_that_expand(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    dataset = dicom_factory.series(np.zeros((1, 4096, 4096), np.uint8))[0]
    dataset.compress(RLELossless, generate_instance_uid=False)
    (tmp_path / "study").mkdir()
    for number in range(30):
        origin_mm = -10.0 * number * BASE_TO_APEX
        dataset.ImagePositionPatient = [f"{x:.6f}" for x in origin_mm]
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / "study" / f"{number}.dcm", enforce_file_format=True)
    assert "too large" in bounded(tmp_path / "study", megabytes=1500)


@pytest.mark.parametrize("length", ["defined", "undefined"])
@pytest.mark.parametrize("depth", [400, 20_000])
def test_deep_sequences(
    bounded: Bounded, tmp_path: Path, dicom_factory: ModuleType, length: str, depth: int
) -> None:
    data = dicom_factory.encoded(dicom_factory.series()[0])
    inner = b"\x08\x00\x60\x00CS\x02\x00MR"
    for _ in range(depth):
        size, item = struct.pack("<I", len(inner) + 8), struct.pack("<I", len(inner))
        end = b""
        if length == "undefined":
            size = item = b"\xff" * 4
            end = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
        inner = b"\x08\x00\x40\x11SQ\0\0" + size + b"\xfe\xff\x00\xe0" + item + inner + end
    at = data.index(b"\x10\x00\x10\x00PN")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.dcm").write_bytes(data[:at] + inner + data[at:])
    said = bounded(tmp_path / "study", megabytes=700)
    assert said == "read" or "damaged" in said


@pytest.mark.parametrize("before", [0, 4096], ids=["at the front", "behind 4 KB"])
def test_deflated_bomb(bounded: Bounded, tmp_path: Path, before: int) -> None:
    """A gigabyte in a megabyte; ``before`` bytes of private information hide its kind."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    packed = block * 1024 + b"\3\0"
    kind = b"1.2.840.10008.5.1.4.1.1.9.1.1\0"  # of a 12-lead ECG, so that both readers look at it
    syntax = DeflatedExplicitVRLittleEndian.encode()
    meta = b"\x02\x00\x02\x00UI" + struct.pack("<H", len(kind)) + kind
    meta += b"\x02\x00\x09\x00OB\0\0" + struct.pack("<I", before) + bytes(before)
    meta += b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    group = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(meta))
    path = tmp_path / "study" / "a.dcm"
    path.parent.mkdir()
    path.write_bytes(bytes(128) + b"DICM" + group + meta + packed)
    assert "no MR images" in bounded(path.parent, megabytes=700)
    assert is_ecg(path.read_bytes())
    with pytest.raises(EcgError, match="compressed as a whole"):
        read_ecg_dicom(path.read_bytes())


@pytest.mark.parametrize("slope", ["1e308", "nan", "inf"])
def test_pixels_that_are_not_finite(tmp_path: Path, dicom_factory: ModuleType, slope: str) -> None:
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series(RescaleSlope="1.00000"))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.00000 ", slope.ljust(8).encode()))
    with pytest.raises(StudyError, match=r"damaged|RescaleSlope that cannot be one"):
        read_study(folder)


# --- archives and NIfTI ---------------------------------------------------------------------


def bomb(path: Path, method: int, megabytes: int) -> None:
    """Zeros that claim to be 100 bytes."""
    with (
        zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
        archive.open("x", "w", force_zip64=False) as member,
    ):
        for _ in range(megabytes):
            member.write(bytes(1 << 20))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 100)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("method", "megabytes", "said"),
    [(zipfile.ZIP_DEFLATED, 700, "damaged"), (zipfile.ZIP_BZIP2, 50, "unusual way")],
)
def test_member_that_lies_about_its_size(
    bounded: Bounded, tmp_path: Path, method: int, megabytes: int, said: str
) -> None:
    bomb(tmp_path / "a.zip", method, megabytes)
    assert said in bounded(tmp_path / "a.zip", megabytes=700)


def test_members_that_share_their_bytes(bounded: Bounded, tmp_path: Path) -> None:
    """Thousands of entries that point at one megabyte of zeros."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(1 << 20))
        archive.filelist *= 3000
    assert "more than 2 GB" in bounded(path, megabytes=700)


def test_endless_list_of_members(bounded: Bounded, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a" * 200, b"")
        archive.filelist *= 80_000
    assert "more files than the 50000 allowed" in bounded(path, megabytes=400)


def test_a_folder_of_a_whole_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scarseg_infer.study.files.MAX_FILES", 3)
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a").touch()
    with pytest.raises(StudyError, match="one study"):
        read_study(tmp_path)


def test_member_without_a_name(bounded: Bounded, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"no image")
    data = bytearray(path.read_bytes())
    # Lengths of name, extra field and comment: the name becomes a comment.
    struct.pack_into("<HHH", data, data.index(b"PK\1\2") + 28, 0, 0, 1)
    struct.pack_into("<HH", data, data.index(b"PK\3\4") + 26, 0, 1)
    path.write_bytes(data)
    assert bounded(path) != "read"


def test_gzip_bomb(bounded: Bounded, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(1024):
            file.write(bytes(1 << 20))
    said = bounded(path, megabytes=1900)
    assert "512 MB" in said or "too large" in said or "larger" in said, said


# --- ECGs -----------------------------------------------------------------------------------


def test_xml_that_is_searched_again_from_every_blank(
    bounded: Bounded, tmp_path: Path, ecg_factory: ModuleType
) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>" + b" " * 1_000_000 + b"</a>")
    assert "not that of an ECG" in bounded(path, "ecg")
    signature = f"<interpretations><interpretation><mdsignatureline>x{' ' * 1_000_000}y"
    signature += "</mdsignatureline></interpretation></interpretations></restingecgdata>"
    text = ecg_factory.philips(ecg_factory.counts()).decode("utf-16")
    path.write_text(text.replace("</restingecgdata>", signature), encoding="utf-16")
    assert "not that of an ECG" in bounded(path, "ecg")


def test_attributes_that_every_element_repeats(bounded: Bounded, tmp_path: Path) -> None:
    """Half a megabyte that stands for 15 GB."""
    path = tmp_path / "a.xml"
    defaults = b" ".join(b"a%d CDATA '%s'" % (i, b"v" * 50) for i in range(1000))
    head = b"<!DOCTYPE RestingECG [<!ATTLIST b " + defaults + b">]>"
    path.write_bytes(head + b"<RestingECG>" + b"<b/>" * 150_000 + b"</RestingECG>")
    assert "its own declarations" in bounded(path, "ecg")


@pytest.mark.parametrize("name", ["numberchannelsallocated", "numberchannelsvalid"])
def test_channels_that_are_only_announced(
    bounded: Bounded, tmp_path: Path, ecg_factory: ModuleType, name: str
) -> None:
    text = ecg_factory.philips(ecg_factory.counts()).decode("utf-16")
    start, end = text.index("leadlabels="), text.index("durationperchannel")
    text = text[:start] + text[end:]
    count = f"><signalcharacteristics><{name}>30000000</{name}></signalcharacteristics>"
    text = text.replace('time="10:45:12"/>', f'time="10:45:12"{count}</dataacquisition>')
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-16")
    assert "not that of an ECG" in bounded(path, "ecg")
    path.write_text(text.replace("30000000", "12"), encoding="utf-16")
    assert bounded(path, "ecg") != "read"  # without names nobody knows the leads


LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.mark.parametrize("kind", ["16", "16x0"])
@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_data_without_end(bounded: Bounded, tmp_path: Path, kind: str, target: str) -> None:
    lines = "".join(f"a.dat {kind} 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "a.hea").write_text(f"a 12 500 5000\n{lines}")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.dat").symlink_to(target)
    said = bounded(tmp_path / "a.hea", "ecg")
    assert "outside of its folder" in said or "no " in said, said


@pytest.mark.parametrize(("fmt", "said"), [("16", "read"), ("516", "folder for temporary files")])
def test_no_room_for_the_copy_of_a_record(tmp_path: Path, fmt: str, said: str) -> None:
    """A limit on the size of files stands for a full disk; only what is compressed is copied."""
    lines = "".join(f"a.dat {fmt} 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "a.hea").write_text(f"a 12 500 5000\n{lines}")
    (tmp_path / "a.dat").write_bytes(bytes(120_000))
    script = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n" + READ
    done = subprocess.run(
        [sys.executable, "-c", script, "ecg", str(tmp_path / "a.hea"), str(1500 << 20)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert said in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("record", "signal"),
    [
        ("99999999999999 5000", "16:5000000000 1000/mV 16 0"),
        ("500 5000", f"16 {'9' * 20_000}x/mV 16 0"), ("500 100", f"212 200({'9' * 24}) 16 0"),
        ("500 100", f"212 200/mV 16 {'9' * 24}"), ("500 5000", "16 1e-305/mV 16 0"),
        ("500 5000", f"16 0.{'0' * 22}1/mV 16 0"), ("500 5000", "16 1e-300/mV 16 0"),
        ("500 5000", "16 nan/mV 16 0"), (f"500/{'9' * 50_000}x 5000", "16 1000/mV 16 0"),
    ],
    ids=["skew", "gain", "baseline", "zero", "1e-305", "0.0…1", "1e-300", "nan", "counter"],
)  # fmt: skip
def test_headers_with_impossible_numbers(
    bounded: Bounded, tmp_path: Path, record: str, signal: str
) -> None:
    lines = "".join(f"a.dat {signal} 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "a.hea").write_text(f"a 12 {record}\n{lines}")
    (tmp_path / "a.dat").write_bytes(np.arange(60_000, dtype="<i2").tobytes())
    said = bounded(tmp_path / "a.hea", "ecg")
    assert said != "read" and len(said) < 200, said


def waveforms(data: bytes, count: int) -> bytes:
    """The ECG with its only multiplex group ``count`` times."""
    start = data.index(b"\x00\x54\x00\x01SQ\0\0") + 8
    (length,) = struct.unpack_from("<I", data, start)
    items = data[start + 4 : start + 4 + length]
    return data[:start] + struct.pack("<I", length * count) + items * count


def long_ecg(factory: ModuleType, hours: float) -> bytes:
    """Eight leads at 100 Hz in eight bits: some hours in 10 MB."""
    few = np.zeros((2, 8), np.int16)
    leads = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    group = factory.multiplex_group(few, leads)
    samples = round(3600 * 100 * hours)
    time_s = np.arange(samples) / 100.0
    beat = 100 * np.exp(-((((time_s % 1.0) - 0.5) / 0.02) ** 2))
    group.NumberOfWaveformSamples, group.SamplingFrequency = samples, 100
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, "SB"
    group.WaveformData = np.repeat(beat.astype(np.int8), 8).tobytes()
    return factory.dicom_bytes(factory.dicom(group))  # type: ignore[no-any-return]


def test_many_and_long_waveforms(bounded: Bounded, tmp_path: Path, ecg_factory: ModuleType) -> None:
    small = ecg_factory.multiplex_group(ecg_factory.counts()[:2, :1], leads=("I",))
    one = ecg_factory.dicom_bytes(ecg_factory.dicom(small))
    path = tmp_path / "ecg.dcm"
    path.write_bytes(waveforms(one, 20_000))  # more items than any DICOM file of ours
    assert "damaged" in bounded(path, "ecg")
    assert "1 ECG was found in the study and left out" in bounded(tmp_path, "ecg of study")
    for data, said in (
        (waveforms(one, 65), "more than 64 groups"),
        (waveforms(one, 64), "read"),
        (long_ecg(ecg_factory, 3.6), "longer than 60 minutes"),
    ):
        path.write_bytes(data)
        assert said in bounded(path, "ecg")
        assert "1 ECG was found in the study and left out" in bounded(tmp_path, "ecg of study")


def test_a_study_of_many_ecgs(bounded: Bounded, tmp_path: Path, ecg_factory: ModuleType) -> None:
    """Together more than the memory that there is: one at a time is kept."""
    data = long_ecg(ecg_factory, 0.99)
    for number in range(50):
        (tmp_path / f"{number}.dcm").write_bytes(data)
    assert "The study holds 50 ECGs" in bounded(tmp_path, "ecg of study", megabytes=900)
