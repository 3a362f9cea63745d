"""Numbers that a Philips (Sierra) XML states twice: where they differ, one moves or scales samples.

The library takes one of the two in silence, and cuts the leads out of the samples by it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from xml.etree import ElementTree

from scarseg_runtime.errors import EcgError

_TWICE: Final = {
    "samplespersecond": ("samplingrate",),
    "resolution": ("resolution", "signalresolution"),
}
"""Attribute of the waveforms, and elements of the signal characteristics."""
_SAME: Final = 1e-3
_SAMPLE_BYTES: Final = 2
_EXPORT_AGAIN: Final = "Export the ECG again"


def check_philips(xml: bytes) -> None:
    """Check a document.

    Raises:
        EcgError: two rates or resolutions differ, or there are more samples than leads and
            duration say.
    """
    root = ElementTree.fromstring(xml)
    waveforms = root.find(".//{*}parsedwaveforms")
    if waveforms is None:
        return  # what is missing is the library's to say
    signal = root.find(".//{*}signalcharacteristics")
    for name, elements in _TWICE.items():
        stated = [_number(waveforms.get(name))]
        if signal is not None:
            stated += [_number(signal.findtext("{*}" + element)) for element in elements]
        known = [value for value in stated if value]
        if known and max(known) - min(known) > _SAME * max(known):
            what = "sampling rates" if name == "samplespersecond" else "resolutions"
            raise EcgError(f"the Philips XML gives two different {what}", _EXPORT_AGAIN)
    rate, duration_ms = (
        _number(waveforms.get(name)) for name in ("samplespersecond", "durationperchannel")
    )
    leads = len((waveforms.get("leadlabels") or "").split())
    if rate and duration_ms and leads and waveforms.get("dataencoding") == "Base64":
        said = leads * round(duration_ms * rate / 1000.0) * _SAMPLE_BYTES
        compressed = any("compress" in name for name in waveforms.keys())  # noqa: SIM118 - XML
        if not compressed and _bytes_in("".join(waveforms.itertext())) > said:
            raise EcgError(
                "the Philips XML holds more samples than its leads and their duration say",
                _EXPORT_AGAIN,
            )


def _bytes_in(text: str) -> int:
    try:
        return len(base64.b64decode("".join(text.split())))
    except (binascii.Error, ValueError):
        return 0


def _number(text: str | None) -> float:
    """0 for what is none."""
    try:
        return float(text or 0.0)
    except ValueError:
        return 0.0
