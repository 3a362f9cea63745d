"""A DICOM ECG waveform object → an ECG record.

Waveform module: PS3.3 C.10.9; ECG objects: PS3.3 A.34.3 and A.34.4; lead codes: PS3.16 CID 3001.
Imported only when a DICOM ECG is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.uid import (
    AmbulatoryECGWaveformStorage,
    General32bitECGWaveformStorage,
    GeneralECGWaveformStorage,
    TwelveLeadECGWaveformStorage,
)

from scarseg_infer.ecg.channel_samples import in_units
from scarseg_infer.ecg.channel_time import LEAST_SHARE, at_one_time, channel_delay_s
from scarseg_infer.ecg.date import NO_CLOCK
from scarseg_infer.ecg.lead_names import standard_lead
from scarseg_infer.ecg.record import MAX_ECG_BYTES, MV_PER_UNIT, EcgRecord, check_timing, checked
from scarseg_infer.ecg.stated import stated_number
from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.dicom.charset import settle_character_set
from scarseg_infer.study.dicom.parse import (
    PARSE_ERRORS,
    DeflatedError,
    TooManyPartsError,
    parse,
    text,
)
from scarseg_infer.study.dicom.time import SEVERAL_DAYS, acquisition_time, has_bad_clock
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

ECG_CLASSES: Final = (
    TwelveLeadECGWaveformStorage,
    GeneralECGWaveformStorage,
    General32bitECGWaveformStorage,
    AmbulatoryECGWaveformStorage,
)
MAX_CHANNELS: Final = 64
MAX_GROUPS: Final = 64
"""Multiplex groups: exports have the recording, perhaps strips and median beats beside it."""

_EXPORT_AGAIN: Final = "Export the ECG again"
_AVERAGED_LABEL: Final = re.compile("median|average|template|representative|beat", re.I)
_LEAD_TEXT: Final = re.compile(
    r"(?:(?:ecg\s+)?lead\s+)?(III|II|I|aV[RLF]|V[1-6])(?![\w'+-])(.*)", re.I
)
# "V4 R" and "V4 (right)" lie on the other side of the chest, "aVR (-)" is upside down; but "aVR,
# augmented voltage, right" is what the standard calls that lead.
_ANOTHER_LEAD: Final = re.compile(
    r"\b(?:R|right|post\w*|inver\w*|neg\w*|minus|V\d\w*)\b|[=/]|\(\s*-",
    re.I,
)
_AUGMENTED: Final = re.compile(r"augmented\s+voltage,?\s+right", re.I)
_STANDARD: Final = {lead.casefold(): lead for lead in LEADS}

# Both coding schemes number the leads like the SCP-ECG standard (EN 1064): "2:1" of MDC and
# "5.6.3-9-1" of the older SCPECG are lead I. A test compares with pydicom's code list, whose
# import would cost a quarter of a second here.
_LEAD_NUMBERS: Final = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
LEADS_BY_CODE: Final = {
    (scheme, f"{prefix}{number}"): lead
    for scheme, prefix in (("MDC", "2:"), ("SCPECG", "5.6.3-9-"))
    for lead, number in _LEAD_NUMBERS.items()
}
"""Lead by coding scheme designator and code value."""


_HEAD_BYTES: Final = 8192
"""The SOP class stands in the file meta information, or, without it, early in group 0008."""


@dataclass(frozen=True, slots=True)
class _Group:
    """One multiplex group: channels sampled together."""

    signals_mv: NDArray[np.float64]
    """[samples, leads]"""
    lead_names: tuple[str, ...]
    rate_hz: float
    offset_ms: float
    averaged: bool
    """A mean or median beat instead of the recording."""

    @property
    def standard_leads(self) -> frozenset[str]:
        return frozenset(self.lead_names) & frozenset(LEADS)


def read_ecg_dicom(data: bytes) -> EcgRecord:
    """Read a 12-Lead, General or Ambulatory ECG waveform object.

    Of several multiplex groups the one with the most of the twelve leads is taken, the longest
    if several have as many, and never an averaged beat; groups recorded at the same time at the
    same rate count as one.

    Args:
        data: the whole file.

    Raises:
        EcgError: no ECG waveform object, damaged, too long, too many multiplex groups, or leads
            that are not voltages.
    """
    with quiet_readers(), np.errstate(all="ignore"):
        try:
            dataset = _parse(data)
            found = list(_groups(dataset))
        except EcgError:
            raise
        except PARSE_ERRORS as error:
            raise EcgError("the DICOM ECG is damaged or cut short", _EXPORT_AGAIN) from error
        group = _choose(found)
        recorded, date_only, warnings = recorded_at(dataset)
        record = EcgRecord(
            signals_mv=group.signals_mv,
            rate_hz=group.rate_hz,
            lead_names=group.lead_names,
            recorded=recorded,
            date_only=date_only,
            source="dicom",
            warnings=warnings,
            patient_id=text(dataset, "PatientID") or None,
        )
        return checked(record)


def is_ecg(data: bytes) -> bool:
    """Is the file, whole or damaged, an ECG waveform object? Cheap for those that are not."""
    if not any(uid.encode() in data[:_HEAD_BYTES] for uid in ECG_CLASSES):
        return False
    with quiet_readers():
        try:
            return _sop_class(parse(data)) in ECG_CLASSES
        except DeflatedError:
            return True  # the reader says what is wrong with it
        except TooManyPartsError:
            return len(data) > _HEAD_BYTES and is_ecg(data[:_HEAD_BYTES])
        except PARSE_ERRORS:
            return False


def _sop_class(dataset: FileDataset) -> str:
    return text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")


def _parse(data: bytes) -> FileDataset:
    if len(data) > MAX_ECG_BYTES:
        raise EcgError(
            f"the DICOM ECG is larger than {MAX_ECG_BYTES >> 20} MB",
            "Give a resting ECG: cut 10 s to some minutes out of a long recording",
        )
    try:
        dataset = parse(data)
        settle_character_set(dataset)  # as of the images, whose PatientID is compared with its
    except DeflatedError as error:
        raise EcgError(
            "the DICOM ECG is compressed as a whole (Deflated Explicit VR), which is not supported",
            "Export it uncompressed",
        ) from error
    if _sop_class(dataset) not in ECG_CLASSES:
        raise EcgError(
            "the DICOM file is not an ECG waveform", "Give a 12-lead or general ECG waveform object"
        )
    return dataset


def _groups(dataset: Dataset) -> Iterator[_Group]:
    """Every multiplex group that holds voltages; raises one of ``PARSE_ERRORS`` on damage."""
    if len(dataset.WaveformSequence) > MAX_GROUPS:
        raise EcgError(
            f"the DICOM ECG holds more than {MAX_GROUPS} groups of channels",
            "Export the rhythm ECG alone",
        )
    for index, item in enumerate(dataset.WaveformSequence):
        channels = list(item.ChannelDefinitionSequence)
        rate_hz = _checked_rate(item, channels)
        signals = in_units(dataset, index)
        names = [_lead_name(channel) for channel in channels]
        factors = [_mv_per_unit(channel) for channel in channels]
        for name, factor in zip(names, factors, strict=True):
            if factor is None and name in LEADS:
                raise EcgError(f"lead {name} of the ECG is in no unit of voltage", _EXPORT_AGAIN)
        kept = [i for i, factor in enumerate(factors) if factor is not None]
        scale = np.array([factors[i] for i in kept], dtype=np.float64)
        signals_mv = at_one_time(
            signals[:, kept] * scale, rate_hz, [channel_delay_s(channels[i], rate_hz) for i in kept]
        )
        if np.isinf(signals_mv).any():
            raise EcgError("the DICOM ECG holds impossible voltages", _EXPORT_AGAIN)
        averaged = _AVERAGED_LABEL.search(text(item, "MultiplexGroupLabel"))
        yield _Group(
            signals_mv=signals_mv,
            lead_names=tuple(names[i] for i in kept),
            rate_hz=rate_hz,
            offset_ms=stated_number(item, "MultiplexGroupTimeOffset") or 0.0,
            averaged=averaged is not None,
        )


def _checked_rate(item: Dataset, channels: list[Dataset]) -> float:
    """The sampling rate of a multiplex group, whose sizes are checked before it is decoded."""
    count, samples = int(item.NumberOfWaveformChannels), int(item.NumberOfWaveformSamples)
    rate_hz = stated_number(item, "SamplingFrequency")
    if rate_hz is None or rate_hz <= 0.0:
        raise EcgError("the DICOM ECG gives no sampling rate", _EXPORT_AGAIN)
    if not 1 <= count <= MAX_CHANNELS or len(channels) != count or samples < 1:
        raise EcgError("the DICOM ECG contradicts itself about its channels", _EXPORT_AGAIN)
    check_timing(samples, rate_hz)
    if samples * count > len(item.WaveformData):  # at least a byte each
        raise EcgError("the DICOM ECG is damaged or cut short", _EXPORT_AGAIN)
    return rate_hz


def _lead_name(channel: Dataset) -> str:
    """The standard name from the code; else from the code's meaning or the channel's label.

    Raises EcgError where code and label name two leads.
    """
    source = channel.ChannelSourceSequence[0] if "ChannelSourceSequence" in channel else Dataset()
    code = (text(source, "CodingSchemeDesignator"), text(source, "CodeValue"))
    meaning, label = text(source, "CodeMeaning"), text(channel, "ChannelLabel")
    if lead := LEADS_BY_CODE.get(code):
        # The meaning is a text for people; the label is what the device itself calls the channel.
        if _lead_in_words(label) not in (None, lead):
            raise EcgError("the DICOM ECG gives a channel the names of two leads", _EXPORT_AGAIN)
        return lead
    # A code that is known to mean something else (a derived or vector lead) is left alone.
    known = code[0] in ("MDC", "SCPECG")
    named = None if known else _lead_in_words(meaning) or _lead_in_words(label)
    return named or meaning or label


def _lead_in_words(word: str) -> str | None:
    """The one of the twelve leads that a meaning or label names; None where it names none."""
    match = _LEAD_TEXT.fullmatch(standard_lead(word))
    if match is None or _ANOTHER_LEAD.search(_AUGMENTED.sub("", match[2])):
        return None
    return _STANDARD[match[1].casefold()]


def _mv_per_unit(channel: Dataset) -> float | None:
    """Factor from the channel's unit (UCUM) to mV; None if it has none or it is no voltage."""
    if "ChannelSensitivity" not in channel or not channel.get("ChannelSensitivityUnitsSequence"):
        return None
    unit = text(channel.ChannelSensitivityUnitsSequence[0], "CodeValue")
    return MV_PER_UNIT.get(unit.replace("µ", "u").replace("μ", "u").casefold())


def _choose(groups: list[_Group]) -> _Group:
    recordings = [group for group in groups if not group.averaged and group.lead_names]
    if not recordings:
        raise EcgError("the DICOM ECG holds no recording of leads", "Export the rhythm ECG with it")
    return max(
        _joined(recordings), key=lambda group: (len(group.standard_leads), len(group.signals_mv))
    )


def _joined(groups: list[_Group]) -> list[_Group]:
    """Groups of different leads that were sampled at the same rate and in the same time, put side
    by side: one that began later is moved by its offset."""
    joined: list[_Group] = []
    for group in groups:
        for i, other in enumerate(joined):
            apart = not set(group.lead_names) & set(other.lead_names)
            if apart and group.rate_hz == other.rate_hz:
                together = _side_by_side(other, group)
                if together is not None:
                    joined[i] = together
                    break
        else:
            joined.append(group)
    return joined


def _side_by_side(first: _Group, second: _Group) -> _Group | None:
    """Two groups of one rate as one; None where they have too little time in common."""
    rate_hz, parts = first.rate_hz, (first, second)
    most = max(len(part.signals_mv) for part in parts)
    padded = [
        np.pad(part.signals_mv, ((0, most - len(part.signals_mv)), (0, 0)), constant_values=np.nan)
        for part in parts
    ]
    delays = [part.offset_ms / 1000.0 for part in parts for _ in part.lead_names]
    try:
        signals = at_one_time(np.hstack(padded), rate_hz, delays)
    except EcgError:
        return None
    known = np.flatnonzero(~np.isnan(signals).all(axis=1))
    ends = [np.flatnonzero(~np.isnan(signals[:, k])) for k in range(signals.shape[1])]
    last = min((int(end[-1]) + 1 for end in ends if end.size), default=0)
    if not known.size or last < LEAST_SHARE * most:
        return None
    return replace(
        first,
        signals_mv=signals[:last],
        lead_names=first.lead_names + second.lead_names,
        offset_ms=max(first.offset_ms, second.offset_ms),
    )


def recorded_at(dataset: Dataset) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Time of recording, whether it is a date only, and warnings.

    From the acquisition alone: dates of study and series may be those of an import.

    A time of exactly midnight stands for none, as de-identification writes it.
    """
    acquisition = Dataset()
    for keyword in (
        "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "TimezoneOffsetFromUTC",
    ):  # fmt: skip
        if value := text(dataset, keyword):
            setattr(acquisition, keyword, value)
    recorded, date_only, warnings = acquisition_time([acquisition])
    if recorded is None:
        if SEVERAL_DAYS in warnings:
            return (
                None,
                False,
                ("The ECG file gives two different dates: the time gap is unknown.",),
            )
        if warnings:
            return None, False, ("The ECG's date is not a date: the time gap is unknown.",)
        return None, False, ()
    doubts = (NO_CLOCK,) if date_only and has_bad_clock(acquisition) else ()
    return recorded, date_only or recorded.time() == time(), doubts
