"""The short way to read plain WFDB records against the wfdb package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scarseg_infer.demo import DEMO_ECG
from scarseg_infer.ecg.wfdb.plain import plain_header, with_samples

SIGNALS = st.tuples(
    st.sampled_from(["1000", "200.5", "0", "1000(12)", "4.88(-7)/uV", "1000.0(0)/mV", "2/V"]),
    st.integers(8, 16), st.integers(-300, 300), st.integers(-99, 99), st.integers(-32767, 65535),
    st.sampled_from(["I", "aVR", "V6", "Frank X", "II  "]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(
    signals=st.lists(SIGNALS, min_size=1, max_size=4),
    rate=st.sampled_from(["500", "100.5", "1000"]),
    length=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_what_is_read_is_what_wfdb_reads(
    tmp_path: Path, signals: list[tuple], rate: str, length: int, seed: int
) -> None:
    names = [fields[-1] for fields in signals]
    assume(len({name.strip() for name in names}) == len(names))
    lines = [f"record {len(signals)} {rate} {length}"]
    lines += [
        f"data1 16 {gain} {bits} {zero} {first} {checksum} 0 {name}"
        for gain, bits, zero, first, checksum, name in signals
    ]
    stored = np.random.default_rng(seed).integers(-32768, 32768, (length, len(signals)))
    stored[0, 0] = -32768
    (tmp_path / "record.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
    (tmp_path / "data1").write_bytes(stored.astype("<i2").tobytes())
    header = plain_header((tmp_path / "record.hea").read_text(encoding="ascii"))
    assert header is not None
    ours = with_samples(header, (tmp_path / "data1").read_bytes())
    theirs = wfdb.rdrecord(str(tmp_path / "record"), physical=False)
    assert (ours.fs, ours.sig_len) == (theirs.fs, theirs.sig_len)
    assert [n.strip() for n in ours.sig_name] == [n.strip() for n in theirs.sig_name]
    assert ours.units == theirs.units
    assert ours.calc_checksum() == theirs.calc_checksum()
    assert ours.checksum == theirs.checksum
    np.testing.assert_allclose(ours.dac(), theirs.dac(), rtol=1e-12)


@pytest.mark.parametrize(
    "signal",
    ["data1 212 200 11 1024 995 -22131 0 I", "data1 16x2 200 11 1024 995 -22131 0 I",
     "data1 16:3 200 11 1024 995 -22131 0 I", "data1 16+24 200 11 1024 995 -22131 0 I",
     "data2 16 200 11 1024 995 -22131 0 I", "data1 16 200", "data1 16 -5 16 0 0 0 0 I",
     "data1 16 nan 16 0 0 0 0 I"],
)  # fmt: skip
def test_whatever_is_less_plain_is_left_to_wfdb(signal: str) -> None:
    assert plain_header(f"record 1 500 10\n{signal}\n") is None
    assert plain_header("record 1 500\ndata1 16 200 16 0 0 0 0 I\n") is None
    assert plain_header("") is None


def test_a_plain_record_costs_no_import_of_wfdb_or_pandas() -> None:
    code = (
        "import sys; from scarseg_infer import read_ecg;"
        f"read_ecg({str(DEMO_ECG)!r}); print([m for m in ('wfdb', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
