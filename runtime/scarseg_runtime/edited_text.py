"""Text files that a user may have edited, on any system and with any editor.

UTF-8 with or without a byte-order mark, UTF-16 with one, line ends of any system. What is in
another encoding is named with its line, not guessed: its letters would come out as others.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def edited_text(path: Path) -> str:
    """Text of a file. Raises OSError, and ValueError that says where it is no text."""
    return decoded_text(path.read_bytes())


def decoded_text(data: bytes) -> str:
    """Text of a file's content, lines ended by ``\\n``. Raises ValueError as above."""
    if data.startswith(_UTF16_MARKS):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError("its UTF-16 text is damaged; save it as UTF-8") from error
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"line {line} is not UTF-8 text; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file. Raises OSError, and ValueError that says where it is none."""
    try:
        return tomllib.loads(edited_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises OSError, and ValueError that says where it is none."""
    try:
        return json.loads(edited_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
