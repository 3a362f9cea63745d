"""Options that a client sends with its configuration, as OpenRecon's user interface makes them.

They come as JSON, ``{"parameters": {"labels": true, ...}}``, in a configuration or text message.
``deploy/openrecon.json`` describes them to a scanner.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any, Final, get_args

from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_runtime.errors import UsageError
from scarseg_runtime.providers.registry import PROVIDERS

AS_STARTED: Final = "server"
"""The provider that the server was started with."""
PROVIDER_CHOICES: Final = (AS_STARTED, "auto", *(one.name for one in PROVIDERS))
KINDS: Final[tuple[PreferredKind, ...]] = get_args(PreferredKind)
LUT: Final = "MicroDeltaHotMetal.pal"
"""A colour table that public recipes for Siemens scanners name."""
_MAX_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of one session. Names are those of the parameters.

    Attributes:
        sendoriginal: the images of the stack that is read are sent back too; others always are.
        labels: label images are made.
        overlay: colour images with contours are made.
        segments: images of the AHA segments are made.
        ecg: name of a file in the server's folder of ECGs; "" to look for the patient's.
        gapdays: days between ECG and MRI where the dates do not tell; None where unknown.
        provider: where it is computed; ``server``: as the server was started.
        prefer: which kind of image is read where the same slices are there as both.
        lut: colour table on the scanner for label images; "" for none.
    """

    sendoriginal: bool = True
    labels: bool = True
    overlay: bool = True
    segments: bool = False
    ecg: str = ""
    gapdays: float | None = None
    provider: str = AS_STARTED
    prefer: PreferredKind = "PSIR"
    lut: str = LUT


def parameters_in(text: str) -> dict[str, Any] | None:
    """Parameters in a text of the stream; None where it holds none."""
    text = text.removeprefix("\ufeff")  # of a file that an editor wrote
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = document.get("parameters") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else None


def with_parameters(options: Options, parameters: dict[str, Any]) -> Options:
    """Options changed by parameters. Those that are not ours are the client's own business.

    Raises:
        UsageError: a value makes no sense; names the parameter, not the value.
    """
    given = {name.casefold(): value for name, value in parameters.items()}
    changed = {
        one.name: _value(one.name, getattr(options, one.name), given[one.name])
        for one in fields(options)
        if one.name in given
    }
    return replace(options, **changed)


def _value(name: str, default: object, given: object) -> Any:
    if isinstance(default, bool):
        return _flag(name, given)
    text = str(given).strip()
    if name == "gapdays":
        return _days(name, text)
    if name == "provider":
        return _choice(name, text, PROVIDER_CHOICES)
    if name == "prefer":
        return _choice(name, text, KINDS)
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise _wrong(name, f"at most {_MAX_TEXT} printable characters")
    return text


def _flag(name: str, given: object) -> bool:
    """A truth value, also as the text that some clients make of it."""
    found = {"true": True, "1": True, "false": False, "0": False}.get(str(given).strip().casefold())
    if found is None:
        raise _wrong(name, "true or false")
    return found


def _days(name: str, text: str) -> float | None:
    if not text or text == "None":
        return None
    try:
        days = float(text)
    except ValueError as error:
        raise _wrong(name, "a number of days, or nothing") from error
    if not (math.isfinite(days) and days >= 0):
        raise _wrong(name, "a number of days, 0 or more, or nothing")
    return days


def _choice(name: str, text: str, known: tuple[str, ...]) -> str:
    found = next((one for one in known if one.casefold() == text.casefold()), None)
    if found is None:
        raise _wrong(name, f"one of {', '.join(known)}")
    return found


def _wrong(name: str, wanted: str) -> UsageError:
    return UsageError(f"the parameter {name} makes no sense", f"Give {wanted}")
