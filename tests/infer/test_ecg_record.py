"""ECG records that a host makes of its own arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scarseg_infer import EcgError, EcgRecord, LgeStack, ScarResult, Segmenter, read_ecg, read_study
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.ecg.record import MAX_ANALYSED_S, analysed, checked
from scarseg_runtime.contract import LEADS


@pytest.fixture(scope="module")
def stack() -> LgeStack:
    return read_study(DEMO_STUDY)


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    return read_ecg(DEMO_ECG)


def repeated(record: EcgRecord, seconds: float) -> EcgRecord:
    """The record again and again, up to this length."""
    count = round(seconds * record.rate_hz)
    times = -(-count // len(record.signals_mv))
    return replace(record, signals_mv=np.tile(record.signals_mv, (times, 1))[:count])


def test_of_a_long_record_the_beginning_is_analysed(
    segmenter: Segmenter, stack: LgeStack, record: EcgRecord
) -> None:
    whole = segmenter.run(stack, repeated(record, MAX_ANALYSED_S))
    late = repeated(record, MAX_ANALYSED_S + 60)
    late.signals_mv[-1000:] = np.nan  # what is not looked at cannot be wrong
    long = segmenter.run(stack, late)
    assert long.ecg.beats_averaged == whole.ecg.beats_averaged
    assert np.array_equal(long.ecg.mean_beat_mv, whole.ecg.mean_beat_mv)
    said = "Only the first 5 minutes of the ECG were looked at."
    assert said in long.warnings and said not in whole.warnings


def test_a_recording_over_hours_is_no_resting_ecg(
    segmenter: Segmenter, stack: LgeStack, record: EcgRecord
) -> None:
    endless = replace(record, signals_mv=np.broadcast_to(np.zeros(12), (3600 * 500 + 1, 12)))
    with pytest.raises(EcgError, match="longer than 60 minutes"):
        segmenter.run(stack, endless)


WRONG: dict[str, tuple[Callable[[EcgRecord], dict[str, Any]], str]] = {
    "a date without time": (lambda r: {"recorded": date(2024, 5, 1)}, "datetime"),
    "time as text": (lambda r: {"recorded": "2024"}, "datetime"),
    "rate as text": (lambda r: {"rate_hz": "500"}, "rate is not a number"),
    "no rate": (lambda r: {"rate_hz": None}, "rate is not a number"),
    "rate not a number": (lambda r: {"rate_hz": float("nan")}, "not that of an ECG"),
    "endless rate": (lambda r: {"rate_hz": float("inf")}, "not that of an ECG"),
    "names as numbers": (lambda r: {"lead_names": range(12)}, "not texts"),
    "ragged": (lambda r: {"signals_mv": [[1.0, 2.0], [3.0]]}, "array of numbers"),
    "text": (lambda r: {"signals_mv": "abc"}, "array of numbers"),
    "one lead": (lambda r: {"signals_mv": r.signals_mv[:, 0]}, "array of numbers"),
    "complex": (lambda r: {"signals_mv": r.signals_mv.astype(complex)}, "array of numbers"),
    "masked": (lambda r: {"signals_mv": np.ma.masked_less(r.signals_mv, 0)}, "array of numbers"),
    "infinite": (lambda r: {"signals_mv": r.signals_mv * np.inf}, "scale"),
    "empty": (lambda r: {"signals_mv": r.signals_mv[:0]}, "no samples"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_record_made_by_hand_is_checked(
    segmenter: Segmenter, stack: LgeStack, record: EcgRecord, wrong: str
) -> None:
    change, message = WRONG[wrong]
    with pytest.raises(EcgError, match=message), np.errstate(invalid="ignore"):
        segmenter.run(stack, replace(record, **change(record)))


@pytest.mark.parametrize("kind", [list, np.float32, np.asfortranarray])
def test_any_array_of_numbers_is_a_record(
    segmenter: Segmenter, stack: LgeStack, record: EcgRecord, kind: Any
) -> None:
    given = kind(record.signals_mv)
    found = segmenter.run(stack, replace(record, signals_mv=given, lead_names=[*record.lead_names]))
    assert found.ecg.weight > 0


def test_what_holds_arrays_can_be_compared_and_collected(
    segmenter: Segmenter, stack: LgeStack, record: EcgRecord
) -> None:
    """Equal only to itself: whether two arrays are the same is not for ``==`` to say."""
    first, second = segmenter.run(stack, record), segmenter.run(stack, record)
    assert first == first and first != second
    pairs: list[tuple[Any, Any]] = [
        (first, second), (first.ecg, second.ecg), (stack, replace(stack)),
        (record, replace(record)),
    ]  # fmt: skip
    for one, other in pairs:
        assert one == one and one != other
        assert one in [other, one] and one not in [other]
        assert len({one, other, one}) == 2
    assert first.quantities == second.quantities
    assert isinstance(first, ScarResult)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (40, 0), (7, 999)])
def test_ends_that_some_leads_lack_are_left_out(
    ecg_factory: ModuleType, first: int, last: int
) -> None:
    """A record whose leads are shifted in time, or padded, was refused for its last samples."""
    signals = ecg_factory.counts() * ecg_factory.STEP_MV
    signals[:first, 7] = np.nan
    signals[len(signals) - last :, 2] = np.nan
    found = analysed(checked(EcgRecord(signals, 500.0, LEADS)))
    assert np.array_equal(found.signals_mv, signals[first : len(signals) - last])
    assert len(found.warnings) == 1 and "that part was not looked at" in found.warnings[0]


def test_gaps_within_and_ends_of_seconds_are_not_left_out(ecg_factory: ModuleType) -> None:
    signals = ecg_factory.counts() * ecg_factory.STEP_MV
    for part in (slice(2000, 2010), slice(-1500, None)):
        holed = signals.copy()
        holed[part, 3] = np.nan
        record = EcgRecord(holed, 500.0, LEADS)
        assert len(analysed(record).signals_mv) == len(holed) and not analysed(record).warnings
