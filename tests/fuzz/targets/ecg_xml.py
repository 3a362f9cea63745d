"""Philips (Sierra) XML, GE MUSE XML and HL7 aECG; mutations know what a value and a tag are."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable

import ecg_checks as CHECKS
import numpy as np

from scarseg_infer.ecg.vendor import read_ecg_other

VALUES = (
    "", "0", "-1", "1e999", "-1e999", "nan", "inf", "1e-320", "1e15", "99999999999999999999", "0.5",
    "0,5", "1e9", "500", "\N{ARABIC-INDIC DIGIT FIVE}", "uV", "MICROVOLTS", "mV", "ms", "s", "true",
    "false", "XLI", "Base64", "Plain", "gzip", "I II III", "I", "aVR", "RHYTHM", "20240228",
    "2024-02-28", "02-28-2024", "10:45:12", "9999-12-31", "0000-00-00", "1 2 3", "AAAA", "&#0;",
    "&lt;", "&a;", "]]>", "<![CDATA[1]]>", "<!-- -->", "9" * 400, "1.04", "1.03",
    "202402", "2024022810", "+9900", "25:61:00",
)  # fmt: skip
"""Values that replace one."""
DICTIONARY = (
    "<!DOCTYPE", "<!ENTITY", "<!ATTLIST", "SYSTEM", "numberchannelsallocated",
    "numberchannelsvalid", "restingecgdata", "RestingECG", "AnnotatedECG", "<Waveform>",
    "parsedwaveforms", "repbeats", "repbeat", "leadname", "compression=\"XLI\"", "resolution",
    "numberofleads", "leadlabels", "durationperchannel", "samplespersecond", "signaloffset",
    "SampleExponent", "SampleBase", "LeadSampleCountTotal", "LeadByteCountTotal", "LeadData",
    "LeadDataCRC32", "LeadAmplitudeUnitsPerBit", "LeadOffsetFirstSample", "WaveFormData", "digits",
    "sequenceSet", "TIME_ABSOLUTE", "TIME_RELATIVE", "increment", "origin", "scale", "GLIST_TS",
    "SLIST_PQ", "SLIST_INT", "MDC_ECG_LEAD_", "REPRESENTATIVE_BEAT",
)  # fmt: skip
_SPOT = re.compile(r'(?<==")[^"<>]*(?=")|(?<=>)[^<>]*(?=<)')
_ELEMENT = re.compile(r"<(\w+)\b[^<>]*>(?:(?!<\1\b).)*?</\1>|<\w+\b[^<>]*/>", re.S)


_PULSE = np.repeat([[0], [200], [0]], [150, 100, 250], axis=0).repeat(12, axis=1).astype(np.int16)
"""A calibration pulse of 1 mV in every lead, behind the samples."""


def seeds() -> dict[str, bytes]:
    factory = CHECKS.FACTORY
    counts = factory.counts(6.0)
    few = counts[:20]
    packed = factory.philips(few).decode("utf-16")
    payload = base64.b64encode(b"\x10\0\0\0\0\0\5\0" + bytes(16)).decode()
    xli = re.sub(r">[A-Za-z0-9+/=]{200,}<", f">{payload}<", packed)
    xli = xli.replace('dataencoding="Base64"', 'dataencoding="Base64" compression="XLI"')
    defaults = b" ".join(b"a%d CDATA '%s'" % (i, b"v" * 50) for i in range(500))
    announced = re.sub(r'leadlabels="[^"]*" ', "", packed).replace(
        'time="10:45:12"/>',
        'time="10:45:12"><signalcharacteristics><numberchannelsallocated>30000000'
        "</numberchannelsallocated></signalcharacteristics></dataacquisition>",
    )
    return {
        "hostile blanks": b"<a>" + b" " * 100_000 + b"</a>",
        "hostile defaults": b"<!DOCTYPE RestingECG [<!ATTLIST b %s>]><RestingECG>%s</RestingECG>"
        % (defaults, b"<b/>" * 20_000),
        "hostile channels": announced.encode("utf-16"),
        "aecg comma": factory.aecg(few).replace(b'value="5" unit', b'value="4,88" unit'),
        "muse": factory.muse(few),
        "muse whole": factory.muse(counts),
        "muse gbk": factory.muse(few, encoding="GBK", note="窦性"),
        "philips": factory.philips(few),
        "philips time in date": factory.philips(few, day="2024-02-28T10:45:12", clock=""),
        "aecg pulse": factory.aecg(np.vstack([counts, _PULSE])),
        "aecg Z": factory.aecg(few, low="20240228104512Z", head="20240228104512Z"),
        "philips whole": factory.philips(counts, pulse_mv=1.0).decode("utf-16").encode(),
        "philips xli": xli.encode("utf-16"),
        "muse bad time": factory.muse(few, clock="25:61:00"),
        "muse late lead": factory.muse(few, late=6),
        "philips bad time": factory.philips(few, clock="25:00:00", pulse_mv=0.5),
        "aecg month": factory.aecg(few, low="202402", head=""),
        "aecg zone": factory.aecg(few, low="20240228104512.5-0500"),
        "aecg short zone": factory.aecg(few, low="20240228104512+01", head="20240228104512+01:00"),
        "aecg odd time": factory.aecg(few, low="20240228 10:45", head=""),
        "aecg new year": factory.aecg(few, low="20000101", head="20000101000000"),
        "muse afternoon": factory.muse(few, clock="10:45:12 PM"),
        "philips odd zone": factory.philips(few, clock="10:45:12+25:00"),
        "aecg two dates": factory.aecg(few, low="20240228", head="20240305104512"),
        "aecg mark": b"\xef\xbb\xbf" + factory.aecg(few).replace(b"UTF-8", b"ISO-8859-1"),
        "aecg": factory.aecg(few),
        "aecg whole": factory.aecg(counts),
        "muse start": factory.muse(few).replace(b"<LeadTimeOffset>0<", b"<LeadTimeOffset>0.0<", 1),
        "philips short": packed.replace('channel="40"', 'channel="20"').encode("utf-16"),
        "muse days first": factory.muse(few, day="05-06-2024").replace(
            b"<PatientID>", b"<DateofBirth>25-12-1950</DateofBirth><PatientID>", 1
        ),
        "muse lead twice": factory.muse(few).replace(b"<LeadID>V2<", b"<LeadID>V1<"),
        "muse first sample": factory.muse(few).replace(
            b"</LeadID>", b"</LeadID><LeadOffsetFirstSample>4</LeadOffsetFirstSample>", 1
        ),
        "aecg twice": factory.aecg(few, series=2, unit="mV"),
    }


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: read_ecg_other(data))


def mutate(data: bytes, limit: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Replace a value, or drop, double or move an element; else ``plain``, libFuzzer's own way."""
    chance = random.Random(seed)
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16" if wide else "utf-8", "replace")
    way = chance.randrange(4)
    spots = list((_SPOT if way < 2 else _ELEMENT).finditer(text))
    if way == 3 or not spots:
        return bytes(plain(data, limit))
    spot = chance.choice(spots)
    if way < 2:
        new = chance.choice(VALUES)
    else:
        other = chance.choice(spots)
        new = chance.choice(["", spot[0] * 2, other[0], f"<{chance.choice(DICTIONARY)}>"])
    text = text[: spot.start()] + new + text[spot.end() :]
    return text.encode("utf-16" if wide else "utf-8", "replace")[:limit]
