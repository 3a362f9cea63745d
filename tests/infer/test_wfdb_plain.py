"""WFDB records decoded with numpy alone, against the wfdb package and an encoder of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from scarseg_infer.demo import DEMO_ECG
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.wfdb.formats import BITS, bytes_of, invalid, samples_in, unpacked
from scarseg_infer.ecg.wfdb.plain import frames_in, parse_header
from scarseg_infer.ecg.wfdb.read import read_wfdb
from scarseg_runtime.errors import EcgError

WRITTEN_BY_WFDB = ("16", "24", "32", "80", "212")
QUICK = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=60,
    deadline=None,
    phases=[Phase.generate],
)


def encoded(fmt: str, samples: list[int]) -> bytes:
    """Samples bit by bit, as signal(5) has it: slow, and nothing shared with what is tested."""
    if fmt in ("16", "24", "32"):
        return b"".join(one.to_bytes(int(fmt) // 8, "little", signed=True) for one in samples)
    if fmt == "61":
        return b"".join(one.to_bytes(2, "big", signed=True) for one in samples)
    if fmt in ("80", "160"):
        size = BITS[fmt]
        return b"".join((one + (1 << size - 1)).to_bytes(size // 8, "little") for one in samples)
    group, out = (2 if fmt == "212" else 3), b""
    for start in range(0, len(samples), group):
        some = [one % (1 << BITS[fmt]) for one in samples[start : start + group]]
        a, b, c = [*some, 0, 0][:3]
        if fmt == "212":
            block = bytes([a & 255, (a >> 8) | (b >> 8) << 4, b & 255])
        elif fmt == "310":
            words = (a << 1 | (c & 31) << 11, b << 1 | (c >> 5) << 11)
            block = b"".join(word.to_bytes(2, "little") for word in words)
        else:
            block = (a | b << 10 | c << 20).to_bytes(4, "little")
        out += block[: bytes_of(fmt, len(some))]
    return out


@pytest.mark.parametrize("fmt", BITS)
@given(data=st.data())
@settings(max_examples=60)
def test_each_format_gives_the_samples_that_were_stored(fmt: str, data: st.DataObject) -> None:
    low = invalid(fmt)
    one = st.one_of(st.sampled_from([low, low + 1, -1, 0, 1, -low - 1]), st.integers(low, -low - 1))
    samples = data.draw(st.lists(one, max_size=14))
    stored = encoded(fmt, samples)
    assert len(stored) == bytes_of(fmt, len(samples))
    assert samples_in(fmt, len(stored)) >= len(samples)
    for more in (b"", b"\xff", b"\x00\xff\x55\xaa\xff"):  # what follows is nothing of ours
        assert unpacked(fmt, stored + more, len(samples)).tolist() == samples


@pytest.mark.parametrize("fmt", WRITTEN_BY_WFDB)
@pytest.mark.parametrize("length", [1, 2, 3, 500])
def test_what_wfdb_writes_is_read(tmp_path: Path, fmt: str, length: int) -> None:
    low = max(invalid(fmt) + 1, -20000)
    digital = np.random.default_rng(length).integers(low, -low, (length, 3))
    wfdb.wrsamp(
        "rec", 500, ["mV"] * 3, ["I", "II", "V1"], d_signal=digital, fmt=[fmt] * 3,
        adc_gain=[200.0, 1000.0, 48.8], baseline=[0, -7, 512], write_dir=str(tmp_path),
    )  # fmt: skip
    record = read_wfdb(tmp_path / "rec")
    expected = (digital - [0, -7, 512]) / [200.0, 1000.0, 48.8]
    np.testing.assert_allclose(record.signals_mv, expected, rtol=1e-12)
    assert record.warnings == ()


FIELDS = st.tuples(
    st.sampled_from(["1000", "200.5", "0", "1000(12)", "4.88(-7)/uV", "1000.0(0)/mV", "2/V",
                     "-200/mV", "2e2/mV", "1.5e-1(3)/nV"]),
    st.integers(8, 16), st.integers(-300, 300), st.integers(-99, 99), st.integers(-32767, 65535),
    st.sampled_from(["V7", "aVR 2", "Y", "Frank X", "II b  "]), st.integers(1, 3),
)  # fmt: skip


@QUICK
@given(
    files=st.lists(
        st.tuples(st.sampled_from(sorted(BITS)), st.lists(FIELDS, min_size=1, max_size=3),
                  st.sampled_from([0, 0, 1, 5, 24]), st.integers(0, 4)),
        min_size=1, max_size=3,
    ),
    rate=st.sampled_from(["500", "100.5", "1000", "500/1000(5)"]),
    length=st.sampled_from([1, 2, 5, 6, 7, 9, None]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_record_is_what_wfdb_reads(
    tmp_path: Path, files: list[tuple], rate: str, length: int | None, seed: int
) -> None:
    frames, count = length or 8, sum(len(signals) for _, signals, *_ in files)
    names = [fields[5].strip() for _, signals, *_ in files for fields in signals]
    assume(len(set(names)) == len(names))
    several = any(fields[6] > 1 for _, signals, *_ in files for fields in signals)
    assume(not several or all(fmt != "61" for fmt, *_ in files))  # wfdb cannot
    lines = [f"record {count} {rate}" + (f" {length}" if length else "")]
    for number, (fmt, signals, offset, skew) in enumerate(files, start=1):
        for gain, bits, zero, first, checksum, name, per_frame in signals:
            code = f"{fmt}x{per_frame}" if per_frame > 1 else fmt
            # Of frames of several samples, and of shifts that differ, wfdb makes a mess.
            code += f":{skew}" if skew and all(fields[6] == 1 for fields in signals) else ""
            code += f"+{offset}" if offset else ""
            lines.append(f"data{number} {code} {gain} {bits} {zero} {first} {checksum} 0 {name}")
        low = invalid(fmt)
        stored = np.random.default_rng(seed + number).integers(
            low + 1, -low, frames * sum(fields[6] for fields in signals)
        )
        if all(fields[6] == 1 for fields in signals):  # of a frame wfdb averages these with others
            stored[0] = low
        if length is None and number > 1:  # wfdb reads what the first file holds
            stored = np.resize(stored, 2 * len(stored))
        body = bytes(range(offset)) + encoded(fmt, stored.tolist())
        (tmp_path / f"data{number}").write_bytes(body)
    text = "\n".join(lines) + "\n"
    (tmp_path / "record.hea").write_text(text, encoding="ascii")
    ours = read_wfdb(tmp_path / "record")
    theirs = wfdb.rdrecord(str(tmp_path / "record"), smooth_frames=not several, physical=False)
    factors = {"mV": 1.0, "uV": 1e-3, "nV": 1e-6, "V": 1e3}
    assert ours.rate_hz == theirs.fs
    assert list(ours.lead_names) == [name.strip() for name in theirs.sig_name]
    values = theirs.dac(expanded=True) if several else theirs.dac().T
    for i, unit in enumerate(theirs.units):
        means = values[i].reshape(-1, theirs.samps_per_frame[i]).mean(1) * factors[unit]
        np.testing.assert_allclose(ours.signals_mv[:, i], means, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fmt", BITS)
def test_a_shift_is_taken_off_and_what_it_uncovers_is_nothing(tmp_path: Path, fmt: str) -> None:
    samples = np.arange(40).reshape(10, 4) - 20  # a lead of one sample a frame and one of three
    (tmp_path / "rec.hea").write_text(f"rec 2 500 10\nd {fmt}:2 1/uV\nd {fmt}x3:4 1/uV\n")
    (tmp_path / "d").write_bytes(encoded(fmt, samples.reshape(-1).tolist()))
    signals = read_wfdb(tmp_path / "rec").signals_mv * 1000.0
    nothing = [np.nan] * 4
    np.testing.assert_allclose(signals[:, 0], [*samples[2:, 0], *nothing[:2]])
    np.testing.assert_allclose(signals[:, 1], [*samples[4:, 1:].mean(1), *nothing])


@pytest.mark.parametrize("fmt", BITS)
def test_an_invalid_sample_makes_its_frame_invalid(tmp_path: Path, fmt: str) -> None:
    samples = [1, 2, invalid(fmt), 4, 5, 6]
    (tmp_path / "rec.hea").write_text(f"rec 1 500 3\nd {fmt}x2 1/uV\n")
    (tmp_path / "d").write_bytes(encoded(fmt, samples))
    signals = read_wfdb(tmp_path / "rec").signals_mv[:, 0] * 1000.0
    np.testing.assert_allclose(signals, [1.5, np.nan, 5.5])


@pytest.mark.parametrize("code", ["16", "16:3", "16x2"])
def test_the_checksum_is_of_what_is_stored(tmp_path: Path, code: str) -> None:
    samples = list(range(-30, -10))
    frames = len(samples) // (2 if "x" in code else 1)
    (tmp_path / "d").write_bytes(encoded("16", samples))
    for checksum, said in ((sum(samples), False), (sum(samples) + 1, True)):
        header = f"rec 1 500 {frames}\nd {code} 1000/mV 16 0 -30 {checksum} 0 I\n"
        (tmp_path / "rec.hea").write_text(header)
        warnings = read_wfdb(tmp_path / "rec").warnings
        assert any("checksum" in warning for warning in warnings) == said


@pytest.mark.parametrize("fmt", BITS)
def test_a_file_that_lacks_its_last_byte_is_cut_short(tmp_path: Path, fmt: str) -> None:
    for count in range(1, 8):
        data = encoded(fmt, list(range(count)))
        (tmp_path / "rec.hea").write_text(f"rec 1 500 {count}\nd {fmt} 1000/mV\n")
        (tmp_path / "d").write_bytes(data[:-1])
        with pytest.raises(EcgError, match=f"cut short: {len(data) - 1} of {len(data)} bytes"):
            read_wfdb(tmp_path / "rec")


def test_two_formats_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rec.hea").write_text("rec 2 500 3\nd 16 1000/mV\nd 212 1000/mV\n")
    (tmp_path / "d").write_bytes(bytes(100))
    with pytest.raises(EcgError, match="gives one data file several formats"):
        read_wfdb(tmp_path / "rec")


@pytest.mark.parametrize("fmt", ["508", "516", "524"])
def test_what_is_compressed_as_flac_is_read_by_the_wfdb_package(tmp_path: Path, fmt: str) -> None:
    digital = np.random.default_rng(3).integers(-100, 100, (600, 2))
    wfdb.wrsamp(
        "rec", 500, ["mV"] * 2, ["I", "II"], d_signal=digital, fmt=[fmt] * 2,
        adc_gain=[200.0, 1000.0], baseline=[0, -7], write_dir=str(tmp_path),
    )  # fmt: skip
    record = read_wfdb(tmp_path / "rec")
    np.testing.assert_allclose(record.signals_mv, (digital - [0, -7]) / [200.0, 1000.0])
    assert record.warnings == ()


@pytest.mark.parametrize("fmt", ["508", "516", "524"])
def test_without_that_package_one_line_says_which_extra(
    tmp_path: Path, fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rec.hea").write_text(f"rec 1 500 3\nd {fmt} 1000/mV\n")
    (tmp_path / "d").write_bytes(b"fLaC" + bytes(100))
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(EcgError, match=r"wfdb.*is not installed.*\[ecg-formats\]") as caught:
        read_wfdb(tmp_path / "rec")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 4


@pytest.mark.parametrize(
    "header",
    ["rec 1 500\nd 516 1000/mV", "rec 1 500 3\nd 516 1000/mV", "rec 1 500 3\nd 516x2:1 1000/mV",
     "rec 1 500 900000\nd 516x64 1000/mV"],
)  # fmt: skip
def test_damaged_flac_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "rec.hea").write_text(header + "\n")
    for content in (b"", b"fLaC", b"fLaC" + bytes(100), bytes(100)):
        (tmp_path / "d").write_bytes(content)
        with pytest.raises(EcgError):
            read_wfdb(tmp_path / "rec")


@example("I", None, None)
@example("1000 16 0 0 0 0 Frank X", "Frank X", 0)
@example("1000(5)/mV\t12 1024 995 -22131 0 V1", "V1", -22131)
@example("1000 II", "II", None)
@example("nan 16 0 0 0 0 I", None, None)
@example("1000 16 0 0 7", "", 7)
@given(st.text("0123456789-+.eE()/ mVI\t", max_size=24), st.none(), st.none())
def test_a_line_is_taken_apart_whatever_it_lacks(
    rest: str, name: str | None, checksum: int | None
) -> None:
    try:
        layout = parse_header(f"record 1 500 10\ndata1 16 {rest}\n")
    except ValueError:
        assert name is None
        return
    (signal,) = layout.signals
    assert (signal.file, signal.fmt) == ("data1", "16")
    if name is not None:
        assert (signal.name, signal.checksum) == (name, checksum)
    assert frames_in(layout, 20) == 10


def test_no_record_costs_an_import_of_wfdb_or_pandas() -> None:
    code = (
        "import sys; from scarseg_infer import read_ecg;"
        f"read_ecg({str(DEMO_ECG)!r}); print([m for m in ('wfdb', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_demo_is_what_wfdb_reads() -> None:
    theirs = wfdb.rdrecord(str(DEMO_ECG.with_suffix("")))
    np.testing.assert_allclose(read_ecg(DEMO_ECG).signals_mv, theirs.p_signal, rtol=1e-12)
