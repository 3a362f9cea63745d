"""ECG files of every format, written by hand from their specifications, for tests.

The ECG itself is made of Gaussian waves; the patient does not exist.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

from scarseg_runtime.contract import LEADS

PATIENT_ID = "SECRET-ID-4711"
PATIENT_NAME = "Secretname"
RECORDED = datetime(2024, 2, 28, 10, 45, 12)
RATE_HZ = 500
STEP_MV = 0.005
"""Every format here stores whole steps of this size, so that files read back exactly."""
LEAD_CODES = (
    codes.cid3001.LeadI, codes.cid3001.LeadII, codes.cid3001.LeadIII,
    codes.cid3001.AvrAugmentedVoltageRight, codes.cid3001.AvlAugmentedVoltageLeft,
    codes.cid3001.AvfAugmentedVoltageFoot, codes.cid3001.LeadV1, codes.cid3001.LeadV2,
    codes.cid3001.LeadV3, codes.cid3001.LeadV4, codes.cid3001.LeadV5, codes.cid3001.LeadV6,
)  # fmt: skip
"""DICOM's code of each of the twelve leads."""


def counts(seconds: float = 10.0, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    """[samples, 12] in steps of ``STEP_MV``: 75 beats a minute, different in each lead."""
    time_ms = np.arange(int(seconds * rate_hz)) * 1000.0 / rate_hz % 800.0
    shape = {100.0: (0.1, 25.0), 280.0: (1.0, 12.0), 310.0: (-0.2, 10.0), 520.0: (0.25, 45.0)}
    wave = sum(a * np.exp(-0.5 * ((time_ms - t) / w) ** 2) for t, (a, w) in shape.items())
    turned = np.roll(wave, rate_hz // 100)  # so that the leads are not multiples of one another
    lead_i, lead_ii = 0.8 * wave + 0.1 * turned, 1.1 * wave - 0.2 * turned
    limb = [lead_i, lead_ii, lead_ii - lead_i, -(lead_i + lead_ii) / 2,
            lead_i - lead_ii / 2, lead_ii - lead_i / 2]  # fmt: skip
    chest = [(0.3 * k - 0.8) * wave + (0.5 - 0.1 * k) * turned for k in range(1, 7)]
    return np.round(np.stack([*limb, *chest], axis=1) / STEP_MV).astype(np.int16)


def edf(
    data: NDArray[np.int16],
    *,
    labels: Sequence[str] = LEADS,
    unit: str = "uV",
    date: str = "28.02.24",
    clock: str = "10.45.12",
    plus: bool = True,
    recording: str = "Startdate 28-FEB-2024 X X X",
    records: int | None = None,
) -> bytes:
    """EDF or EDF+C with records of one second (https://www.edfplus.info/specs/edf.html)."""
    signals, per_second = len(labels), RATE_HZ
    seconds = len(data) // per_second
    scale = {"uV": 1000.0, "mV": 1.0}.get(unit, 1.0) * STEP_MV
    patient = f"{PATIENT_ID} X X {PATIENT_NAME}" if plus else PATIENT_NAME
    fixed = [
        ("0", 8), (patient, 80), (recording, 80), (date, 8), (clock, 8),
        (str(256 * (signals + 1)), 8), ("EDF+C" if plus else "", 44),
        (str(seconds if records is None else records), 8), ("1", 8), (str(signals), 4),
    ]  # fmt: skip
    per_signal = [
        (list(labels), 16), ([""] * signals, 80), ([unit] * signals, 8),
        ([f"{-32768 * scale:.6g}"] * signals, 8), ([f"{32767 * scale:.6g}"] * signals, 8),
        (["-32768"] * signals, 8), (["32767"] * signals, 8), ([""] * signals, 80),
        ([str(per_second)] * signals, 8), ([""] * signals, 32),
    ]  # fmt: skip
    header = "".join(text.ljust(size) for text, size in fixed)
    header += "".join(text.ljust(size) for texts, size in per_signal for text in texts)
    blocks = data[: seconds * per_second].reshape(seconds, per_second, -1).transpose(0, 2, 1)
    return header.encode("ascii") + blocks.astype("<i2").tobytes()


def aecg(
    data: NDArray[np.int16],
    *,
    unit: str = "uV",
    low: str = "20240228104512.000",
    head: str = "20240228104512.000",
    increment: tuple[str, str] = ("0.002", "s"),
    series: int = 1,
) -> bytes:
    """HL7 aECG (ANSI/HL7 V3 ECG R1-2004), rhythm series with scaled lists of digits."""
    scale = {"uV": 1000.0, "mV": 1.0}.get(unit, 1.0) * STEP_MV
    leads = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{name.upper()}"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="{unit}"/>'
        f'<scale value="{scale:g}" unit="{unit}"/><digits>{" ".join(map(str, column))}</digits>'
        "</value></sequence></component>"
        for name, column in zip(LEADS, data.T, strict=True)
    )
    one = (
        '<component><series><code code="RHYTHM"/><component><sequenceSet><component><sequence>'
        f'<code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="{head}"/>'
        f'<increment value="{increment[0]}" unit="{increment[1]}"/></value></sequence></component>'
        f"{leads}</sequenceSet></component></series></component>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f'<id root="1.2.3"/><effectiveTime><low value="{low}"/></effectiveTime>'
        "<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>"
        f'<id root="1.2.3.4" extension="{PATIENT_ID}"/></trialSubject></subject>'
        "</subjectAssignment></componentOf></timepointEvent></componentOf>"
        f"{one * series}</AnnotatedECG>"
    ).encode()


SCP_CODES = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
"""Lead numbers of EN 1064, table of section 3, in the order of ``LEADS``."""


def scp(
    data: NDArray[np.int16],
    *,
    clock: bool = True,
    day: tuple[int, int, int] = (2024, 2, 28),
    starts: Sequence[int] = (1,) * 12,
    huffman: bool = False,
    beats: int = 0,
    more: Mapping[int, bytes] | None = None,
) -> bytes:
    """SCP-ECG (EN 1064): sections 0, 1, 3 and 6, with plain samples or Huffman code.

    Args:
        beats: how many times the reference beat, here one of zeros, was subtracted.
        more: bodies of further sections, or of others instead of these.
    """
    samples, leads = data.shape

    def tag(number: int, value: bytes) -> bytes:
        return struct.pack("<BH", number, len(value)) + value

    demographics = tag(0, PATIENT_NAME.encode() + b"\0") + tag(2, PATIENT_ID.encode() + b"\0")
    demographics += tag(25, struct.pack("<HBB", *day))
    demographics += tag(26, bytes((10, 45, 12))) if clock else b""
    demographics += tag(255, b"")
    # All leads recorded together; with reference beats or without.
    definition = bytes((leads, 0x04 | leads << 3 & 0xFF | (1 if beats else 0)))
    definition += b"".join(
        struct.pack("<IIB", start, start + samples - 1, code)
        for start, code in zip(starts, SCP_CODES, strict=True)
    )
    bodies = {1: demographics, 3: definition, 6: scp_samples(data, huffman=huffman)}
    if huffman:
        bodies[2] = struct.pack("<H", 19999)  # the standard's own table
    if beats:
        length = 20
        ends = [samples * (k + 1) // (beats + 1) for k in range(beats)]
        bodies[4] = struct.pack("<HHH", length * 1000 // RATE_HZ, length // 2, beats)
        bodies[4] += b"".join(struct.pack("<HIII", 0, end - 9, end - 5, end) for end in ends)
        bodies[5] = scp_samples(np.zeros((length, leads), np.int16), huffman=huffman)
    return scp_record(bodies | dict(more or {}))


def scp_samples(data: NDArray[np.int16], *, huffman: bool = False) -> bytes:
    """Body of section 5 or 6."""
    packed = [_huffman(lead) if huffman else lead.astype("<i2").tobytes() for lead in data.T]
    head = struct.pack("<HHBB", round(STEP_MV * 1e6), 1_000_000 // RATE_HZ, 0, 0)
    return head + struct.pack(f"<{len(packed)}H", *map(len, packed)) + b"".join(packed)


def _huffman(samples: NDArray[np.int16]) -> bytes:
    """Samples in the default code of EN 1064, 5.5: whole bytes, the last filled with ones."""
    bits = "".join(
        "0" if value == 0
        else "1" * abs(value) + ("00" if value > 0 else "01") if abs(value) <= 8
        else "1111111110" + f"{value & 0xFF:08b}" if -128 <= value <= 127
        else "1111111111" + f"{value & 0xFFFF:016b}"
        for value in samples.tolist()
    )  # fmt: skip
    bits += "1" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def scp_record(bodies: Mapping[int, bytes]) -> bytes:
    """The record with these sections from 1 on; lengths, pointers and checksums are right."""
    start, pointers, sections = 7 + 16 + 10 * 12, b"", b""
    for number in range(1, 12):
        body = bodies.get(number, b"")
        body += b"\0" * (len(body) % 2)
        length = len(body) + 16 if body else 0
        place = start + len(sections) if body else 0
        pointers += struct.pack("<HII", number, length, place)
        sections += _scp_section(number, body) if body else b""
    pointers = struct.pack("<HII", 0, start - 7, 7) + pointers
    record = _scp_section(0, pointers) + sections
    record = struct.pack("<I", len(record) + 6) + record
    return struct.pack("<H", binascii.crc_hqx(record, 0xFFFF)) + record


def _scp_section(number: int, body: bytes) -> bytes:
    reserved = b"SCPECG" if number == 0 else b"\0" * 6
    section = struct.pack("<HIBB", number, len(body) + 16, 13, 13) + reserved + body
    return struct.pack("<H", binascii.crc_hqx(section, 0xFFFF)) + section


def muse(
    data: NDArray[np.int16],
    *,
    unit: str = "MICROVOLTS",
    day: str = "02-28-2024",
    clock: str = "10:45:12",
    encoding: str = "UTF-8",
    note: str = "",
    late: int | None = None,
) -> bytes:
    """GE MUSE XML with the eight independent leads, as it stores them."""
    scale = {"MICROVOLTS": 1000.0, "MILLIVOLTS": 1.0}.get(unit, 1.0) * STEP_MV
    leads = "".join(
        f"<LeadData><LeadID>{LEADS[i]}</LeadID><LeadSampleSize>2</LeadSampleSize>"
        f"<LeadAmplitudeUnitsPerBit>{scale:g}</LeadAmplitudeUnitsPerBit>"
        f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits>"
        f"<LeadTimeOffset>{1250 if i == late else 0}</LeadTimeOffset>"
        f"<WaveFormData>{base64.b64encode(data[:, i].astype('<i2').tobytes()).decode()}"
        "</WaveFormData></LeadData>"
        for i in (0, 1, *range(6, 12))
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
        f"<RestingECG><PatientDemographics><PatientID>{PATIENT_ID}</PatientID>"
        f"<PatientLastName>{note or PATIENT_NAME}</PatientLastName></PatientDemographics>"
        f"<TestDemographics><AcquisitionDate>{day}</AcquisitionDate>"
        f"<AcquisitionTime>{clock}</AcquisitionTime></TestDemographics>"
        f"<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>{RATE_HZ}</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{leads}</Waveform></RestingECG>"
    ).encode(encoding)


def philips(
    data: NDArray[np.int16],
    *,
    pulse_mv: float | None = None,
    day: str = "2024-02-28",
    clock: str = "10:45:12",
    attributes: str = "",
) -> bytes:
    """Philips XML 1.04 with plain samples in base64, with a calibration pulse if wanted."""
    if pulse_mv is not None:
        tail = np.zeros((200, data.shape[1]), np.int16)
        tail[50:150] = round(pulse_mv / STEP_MV)
        data = np.vstack([data, tail])
    payload = base64.b64encode(data.T.astype("<i2").tobytes()).decode()
    return (
        '<?xml version="1.0" encoding="utf-16"?>'
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        "<documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion>"
        f"</documentinfo><patient><generalpatientdata><patientid>{PATIENT_ID}</patientid>"
        f'</generalpatientdata></patient><dataacquisition date="{day}" time="{clock}"/>'
        f'<waveforms><parsedwaveforms dataencoding="Base64" numberofleads="12" '
        f'leadlabels="{" ".join(LEADS)}" durationperchannel="{len(data) * 1000 // RATE_HZ}" '
        f'samplespersecond="{RATE_HZ}" resolution="{STEP_MV * 1000:g}" {attributes}>'
        f"{payload}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode("utf-16")


def multiplex_group(
    data: NDArray[np.int16], leads: Sequence[str] = LEADS, label: str = "RHYTHM", unit: str = "uV"
) -> Dataset:
    """One group of channels of a DICOM waveform object."""
    group = Dataset()
    group.MultiplexGroupLabel = label
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(leads)
    group.NumberOfWaveformSamples = len(data)
    group.SamplingFrequency = RATE_HZ
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformData = data.astype("<i2").tobytes()
    group.ChannelDefinitionSequence = []
    for lead in leads:
        channel, source, measured = Dataset(), Dataset(), Dataset()
        code = LEAD_CODES[LEADS.index(lead)]
        source.CodeValue, source.CodingSchemeDesignator = code.value, code.scheme_designator
        source.CodeMeaning = code.meaning
        measured.CodeValue, measured.CodingSchemeDesignator = unit, "UCUM"
        channel.ChannelSourceSequence = [source]
        channel.ChannelSensitivity = f"{STEP_MV * {'uV': 1000.0, 'mV': 1.0}.get(unit, 1.0):g}"
        channel.ChannelSensitivityUnitsSequence = [measured]
        channel.ChannelSensitivityCorrectionFactor = 1
        channel.ChannelBaseline = 0
        channel.WaveformBitsStored = 16
        group.ChannelDefinitionSequence.append(channel)
    return group


def dicom(*groups: Dataset, recorded: str = "20240228104512.5") -> FileDataset:
    """A DICOM 12-lead ECG object."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[recorded])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "ECG"
    dataset.PatientID, dataset.PatientName = PATIENT_ID, PATIENT_NAME
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["ecg study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["ecg series"])
    dataset.StudyDate, dataset.StudyTime = "20240301", "090000"
    dataset.AcquisitionDateTime = recorded
    dataset.WaveformSequence = list(groups)
    return dataset


def dicom_bytes(dataset: FileDataset) -> bytes:
    """The object as a file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
