"""Rules for every ECG that a reader accepts or refuses, whatever the bytes."""

from __future__ import annotations

from collections.abc import Callable

import ecg_factory as FACTORY
import numpy as np

from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_runtime.ecg.quality import assess
from scarseg_runtime.errors import EcgError
from scarseg_runtime.preprocess import mean_beat

MAX_RATE_HZ = 1e5
_FEW_SAMPLES = 6000
SECRETS = (FACTORY.PATIENT_ID, FACTORY.PATIENT_NAME, "Secret", "/tmp", "scarseg-fuzz")


def check_read(read: Callable[[], EcgRecord]) -> None:
    """Read, and check the record or the refusal; then what the product does with a record."""
    try:
        record = read()
        check_record(record)
        if len(record.signals_mv) <= _FEW_SAMPLES:
            beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names)
            assert np.isfinite(beat.beat_mv).all()
            assess(record.signals_mv, record.rate_hz, record.lead_names, beat)
    except EcgError as error:
        check_words(str(error))
        raise


def check_record(record: EcgRecord) -> None:
    """Shape, size, rate and words of a record. NaN marks an invalid sample, infinity nothing."""
    signals = record.signals_mv
    assert signals.dtype == np.float64 and signals.ndim == 2
    assert signals.shape[0] >= 1 and signals.shape[1] == len(record.lead_names) >= 1
    assert signals.size <= 4 * MAX_ECG_BYTES
    assert not np.isinf(signals).any()
    assert 0.0 < record.rate_hz <= MAX_RATE_HZ
    assert record.recorded is None or record.recorded.year > 1900
    assert not record.date_only or record.recorded is not None
    for words in record.warnings:
        check_words(words)
    assert FACTORY.PATIENT_ID not in repr(record)


def check_words(words: str) -> None:
    """A message is one printable line and names neither patient nor file."""
    assert words and "\n" not in words and len(words) < 400, words
    assert not any(secret in words for secret in SECRETS), words
    assert words.isprintable(), repr(words)
