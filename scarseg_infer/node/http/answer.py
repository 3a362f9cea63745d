"""Requests, routes and answers of HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from io import BufferedIOBase
from typing import Any, Final

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class TooManyUploadsError(Exception):
    """As many bodies come already as may at a time."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose path and method are served."""

    values: tuple[str, ...]
    """Parts of the path where its template has ``{…}``."""
    headers: Message
    body: Callable[[], BufferedIOBase]
    """Asks for the body and gives the stream it comes from. Raises TooManyUploadsError; reading the
    stream raises TimeoutError where it comes too slowly."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and what the headers say of it."""

    code: int
    body: bytes
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Routes = Mapping[str, Mapping[str, Callable[[Request], Answer]]]
"""Path template → method → what answers it; GET answers HEAD too."""


def document(code: int, content: Mapping[str, Any], **headers: str) -> Answer:
    """A JSON document."""
    return Answer(code, json.dumps(content).encode() + b"\n", JSON, headers)


def problem(code: int, text: str, **headers: str) -> Answer:
    """Answer that says what is wrong: one sentence for the author of the program that asked."""
    return document(code, {"error": text}, **headers)


def match(routes: Routes, path: str) -> tuple[str | None, tuple[str, ...]]:
    """The template that a path fits, None where none does, and what stands for its ``{…}``."""
    parts = path.split("/")
    for template in routes:
        wanted = template.split("/")
        pairs = list(zip(wanted, parts, strict=False))
        if len(wanted) == len(parts) and all(
            part if name.startswith("{") else part == name for name, part in pairs
        ):
            return template, tuple(part for name, part in pairs if name.startswith("{"))
    return None, ()
