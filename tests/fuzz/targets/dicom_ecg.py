"""DICOM ECG waveform objects."""

from __future__ import annotations

import ecg_checks as CHECKS
from dicom_mutate import mutate  # noqa: F401 - the harness calls it

from scarseg_infer.ecg.dicom import is_ecg, read_ecg_dicom

MAX_LEN = 98_304
DICTIONARY = ("MDC", "SCPECG", "UCUM", "uV", "mV", "SB", "UB", "MB", "AB", "SS", "US", "SL", "UL")


def seeds() -> dict[str, bytes]:
    factory = CHECKS.FACTORY
    counts = factory.counts(6.0)
    few = counts[:20]
    padded = factory.multiplex_group(few)
    padded.WaveformPaddingValue = few[:1, 0].astype("<i2").tobytes()
    small = factory.multiplex_group(few[:2, :1], factory.LEADS[:1])
    endless = factory.multiplex_group(few)
    endless.SamplingFrequency = "0.001"
    later = factory.multiplex_group(few[:, 6:], factory.LEADS[6:])
    later.MultiplexGroupTimeOffset = "10"
    skewed = factory.multiplex_group(few)
    for number, channel in enumerate(skewed.ChannelDefinitionSequence):
        channel.ChannelSampleSkew, channel.WaveformBitsStored = str(number / 2), 12
        channel.ChannelOffset = "0.001"
    timed = factory.multiplex_group(few)
    timed.ChannelDefinitionSequence[3].ChannelTimeSkew = "0.004"
    named = factory.multiplex_group(few)
    named.WaveformPaddingValue = b"\0\0"
    local = named.ChannelDefinitionSequence[9].ChannelSourceSequence[0]
    local.CodingSchemeDesignator, local.CodeMeaning = "99LOCAL", "V4 (right)"
    named.ChannelDefinitionSequence[6].ChannelLabel = "ECG -V1"
    doubtful = factory.multiplex_group(few)
    doubtful.ChannelDefinitionSequence[6].ChannelLabel = "V2"
    del doubtful.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence
    pulse = factory.np.zeros((200, 12), "i2")
    pulse[50:150] = 200
    made = {
        "skewed": factory.dicom(skewed),
        "other leads": factory.dicom(named),
        "two names": factory.dicom(doubtful),
        "time skew": factory.dicom(timed, recorded="202402"),
        "later group": factory.dicom(
            factory.multiplex_group(few[:, :6], factory.LEADS[:6]), later, recorded="20240228256112"
        ),
        "zone": factory.dicom(factory.multiplex_group(few), recorded="20240228104512.5-1200"),
        "odd zone": factory.dicom(factory.multiplex_group(few), recorded="20240228104512+01:00"),
        "pulse": factory.dicom(factory.multiplex_group(factory.np.vstack([counts, pulse]))),
        "hostile groups": factory.dicom(*[small] * 100),
        "hostile length": factory.dicom(endless),
        "rhythm": factory.dicom(factory.multiplex_group(counts)),
        "few": factory.dicom(factory.multiplex_group(few)),
        "padded": factory.dicom(padded),
        "millivolts": factory.dicom(factory.multiplex_group(few, unit="mV")),
        "halves": factory.dicom(
            factory.multiplex_group(few[:, :6], factory.LEADS[:6]),
            factory.multiplex_group(few[:, 6:], factory.LEADS[6:]),
            factory.multiplex_group(few, label="MEDIAN BEAT"),
        ),
    }
    data = {name: factory.dicom_bytes(dataset) for name, dataset in made.items()}
    return data | {"decimal comma": data["time skew"].replace(b"0.004", b"0,004")}


def one(data: bytes) -> None:
    is_ecg(data)
    CHECKS.check_read(lambda: read_ecg_dicom(data))
