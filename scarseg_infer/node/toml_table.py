"""One table of a TOML file, read key by key with checks; every complaint names the key."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn
from unicodedata import category

from scarseg_runtime.errors import UsageError

_MISSING = object()
_ADD = "Add it to the configuration file"


class Table:
    """A table whose keys must all be known and each of the right kind.

    Args:
        name: how the table is called in messages.
        values: what stands in the file.
    """

    def __init__(self, name: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise UsageError(f"[{name}] is not a table", f"Write [{name}] on a line of its own")
        self.name = name
        self._values = values
        self._left = set(values)

    def finish(self) -> None:
        """Raises UsageError where the table holds a key that nobody asked for."""
        for key in sorted(self._left):
            raise UsageError(f"{self.name}.{key} is not known", "Remove it or check its spelling")

    def has(self, key: str) -> bool:
        """Does the file set ``key``?"""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not blank, without control characters: no path or name has them."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self.wrong(key, "must be a text in quotes")
        if not value.strip():
            self.wrong(key, "must not be empty")
        if any(category(character) == "Cc" for character in value):
            self.wrong(key, "must not have control characters")
        return value.strip()

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        """One of the ``known`` texts; the first where the file has none."""
        value = self._get(key, known[0])
        if not isinstance(value, str) or value not in known:
            self.wrong(key, f"must be one of: {', '.join(known)}")
        return value

    def ae_title(self, key: str, default: str | None = None) -> str:
        """An application entity title (PS3.5, 6.2: at most 16 characters, no backslash)."""
        return self._checked_title(key, self.text(key, default))

    def ae_titles(self, key: str) -> tuple[str, ...]:
        """A list of at least one application entity title."""
        return tuple(self._checked_title(key, title) for title in self.texts(key))

    def texts(self, key: str, default: list[str] | None = None) -> tuple[str, ...]:
        """A list of at least one string."""
        value = self._get(key, default)
        if not isinstance(value, list) or not value or any(not isinstance(v, str) for v in value):
            self.wrong(key, "must be a list of at least one text")
        return tuple(value)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(key, f"must be a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number from ``low`` to ``high``."""
        value = self._get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            self.wrong(key, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, "must be true or false")
        return value

    def file(self, key: str, beside: Path) -> Path:
        """A file that exists; a relative path starts at the folder ``beside``."""
        path = beside / self.text(key)
        if not path.is_file():
            self.wrong(key, "names a file that does not exist")
        return path

    def wrong(self, key: str, what: str) -> NoReturn:
        """Complain about the value of ``key``."""
        raise UsageError(f"{self.name}.{key} {what}", "Correct it in the configuration file")

    def _get(self, key: str, default: Any) -> Any:
        self._left.discard(key)
        value = self._values.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if default is None:
            near = get_close_matches(key, sorted(self._left), 1)
            advice = f"Is {self.name}.{near[0]} a slip for it? Correct it" if near else _ADD
            raise UsageError(f"{self.name}.{key} is missing", advice)
        return default

    def _checked_title(self, key: str, title: str) -> str:
        title = title.strip()
        printable = title.isascii() and title.isprintable()
        if not 1 <= len(title) <= 16 or not printable or "\\" in title:
            self.wrong(key, "must have 1 to 16 printable ASCII characters and no backslash")
        return title
