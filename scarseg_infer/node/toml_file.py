"""Tables of a TOML file as checked objects, by msgspec; every complaint names the key, in words.

msgspec checks kinds, bounds, unknown and missing keys. Here stand the kinds of text that it does
not know, and what a person reads of its errors.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, TypeVar, get_args
from unicodedata import category

import msgspec

from scarseg_runtime.errors import UsageError

Document = TypeVar("Document", bound=msgspec.Struct)

_KINDS: Final = {
    "int": "a whole number", "float": "a number", "str": "a text in quotes",
    "bool": "true or false", "array": "a list",
}  # fmt: skip
_ADVICE: Final = "Correct it in the configuration file"


class Text(str):
    """A string that is not blank, without control characters: no path or name has them."""

    @classmethod
    def checked(cls, text: str) -> str:
        """The text without blanks around it. Raises ValueError, which says how it must be."""
        if not text.strip():
            raise ValueError("must not be empty")
        if any(category(character) == "Cc" for character in text):
            raise ValueError("must not have control characters")
        return text.strip()


class AeTitle(Text):
    """An application entity title (PS3.5, 6.2: at most 16 characters, no backslash)."""

    @classmethod
    def checked(cls, text: str) -> str:
        title = super().checked(text)
        if len(title) > 16 or not (title.isascii() and title.isprintable()) or "\\" in title:
            raise ValueError("must have 1 to 16 printable ASCII characters and no backslash")
        return title


class Host(Text):
    """Name or IP address of another machine."""

    @classmethod
    def checked(cls, text: str) -> str:
        host = super().checked(text)
        try:
            host.encode("idna")  # as is done when it is looked up
        except UnicodeError:
            raise ValueError("can be no host name") from None
        if " " in host or not host.isprintable():
            raise ValueError("must be a name or an IP address, without blanks")
        return host


class Address(Text):
    """IP address of this machine."""

    @classmethod
    def checked(cls, text: str) -> str:
        try:
            return str(ipaddress.ip_address(super().checked(text)))
        except ValueError:
            raise ValueError(
                "must be an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"
            ) from None


class Network(Text):
    """IP address or network of other machines."""

    @classmethod
    def checked(cls, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError(
                "must hold IP addresses or networks, such as 10.0.0.7 or 10.0.0.0/24"
            ) from None


class Choice(Text):
    """One of the texts of ``known``."""

    known: ClassVar[tuple[str, ...]]

    @classmethod
    def checked(cls, text: str) -> str:
        if text not in cls.known:
            raise ValueError(f"must be one of: {', '.join(cls.known)}")
        return text


def converted(document: Mapping[str, Any], kind: type[Document], beside: Path) -> Document:
    """The document as an object of the class ``kind``, whose fields are its tables.

    Args:
        beside: folder at which relative paths start.

    Raises:
        UsageError: a value is missing, wrong or unknown; names the key.
    """

    def hook(wanted: type, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be a text in quotes")
        if issubclass(wanted, Path):
            return beside / Text.checked(value)
        return wanted(wanted.checked(value)) if issubclass(wanted, Text) else value

    try:
        return msgspec.convert(document, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise _in_words(str(error), document, kind) from error


def wrong(key: str, what: str) -> NoReturn:
    """Complain about the value of ``key``."""
    raise UsageError(f"{key} {what}", _ADVICE)


def _in_words(text: str, document: Mapping[str, Any], kind: type[msgspec.Struct]) -> UsageError:
    """An error of msgspec, such as ``Expected `int` >= 1 - at `$.limits.associations```."""
    what, _, place = text.partition(" - at `$.")
    # A TOML file has no numbers before its tables: the first is the first for people, too.
    key = re.sub(r"\[(\d+)\]", lambda found: f"[{int(found[1]) + 1}]", place.rstrip("`"))
    if found := re.fullmatch(r"Object (contains unknown|missing required) field `(.*)`", what):
        return _strange_key(key, found[2], found[1] == "missing required", document, kind)
    if found := re.match(r"Expected `(\w+)( \| \w+)*`( >= \S+| <= \S+| of length >= \d+)?", what):
        if found[1] == "object":
            return UsageError(f"[{key}] is not a table", f"Write [{key}] on a line of its own")
        if key in ("peers", "dicomweb", "hl7"):
            return UsageError(f"[{key}] is not a list of tables", f"Write [[{key}]]")
        if found[1] == "array" and found[3]:
            what = "must not be empty"
        else:
            what = f"must be {_KINDS.get(found[1], found[1])}{found[3] or ''}"
    return UsageError(f"{key}{what if what.startswith('.') else f' {what}'}", _ADVICE)


def _strange_key(
    table: str, name: str, missing: bool, document: Mapping[str, Any], kind: type[msgspec.Struct]
) -> UsageError:
    if not table:
        known = ", ".join(kind.__struct_fields__)
        return UsageError(f"[{name}] is not known", f"Known: {known}")
    given, fields = _contents(table, document), _fields(table, kind)
    required = [one.name for one in fields if one.required and one.name not in given]
    unknown = sorted({*given} - {one.name for one in fields})
    pairs = [(name, slip) for name in required for slip in get_close_matches(name, unknown, 1)]
    for meant, slip in pairs:
        if name in (meant, slip):
            advice = f"Is {table}.{slip} a slip for it? Correct it"
            return UsageError(f"{table}.{meant} is missing", advice)
    if missing:
        return UsageError(f"{table}.{name} is missing", "Add it to the configuration file")
    return UsageError(f"{table}.{name} is not known", "Remove it or check its spelling")


def _contents(table: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    name, _, number = table.rstrip("]").partition("[")
    found: Mapping[str, Any] = document[name][int(number) - 1] if number else document[name]
    return found


def _fields(table: str, kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Those of the class behind a table: of ``Tls | None`` or ``tuple[Peer, ...]``, for example."""
    types = {one.name: one.type for one in msgspec.structs.fields(kind)}
    of_table = types[table.partition("[")[0]]
    for choice in (of_table, *get_args(of_table)):
        if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            return msgspec.structs.fields(choice)
    raise AssertionError(table)
