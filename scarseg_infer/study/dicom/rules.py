"""The rules by which series are told apart, read from ``series_rules.toml`` beside this file."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from scarseg_infer.study.stack import ImageKind

UNKNOWN_KIND: Final = "unknown type"

Fact = Literal[
    "inversion_time",
    "contrast_agent",
    "many_slices",
    "some_slices",
    "few_slices",
    "short_axis",
    "body_plane",
    "preferred_kind",
    "phase_image",
]


@dataclass(frozen=True, slots=True)
class Clue:
    """Something that speaks for or against a series."""

    points: int
    says: str
    """Name of it, in words that fit into a list."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Words of a series' name or tokens of its image type."""

    words: re.Pattern[str] | None
    tokens: frozenset[str]
    forms: re.Pattern[str] | None = None
    """Spellings of tokens that are not listed."""

    def fits(self, names: str, tokens: Iterable[str]) -> bool:
        """True where folded ``names`` hold one of the words, or ``tokens`` one of the tokens."""
        return self.named(names) or self.coded(tokens)

    def named(self, names: str) -> bool:
        """True where folded ``names`` hold one of the words."""
        return bool(self.words and self.words.search(names))

    def coded(self, tokens: Iterable[str]) -> bool:
        """True where ``tokens`` hold one of the tokens."""
        return not self.tokens.isdisjoint(tokens)

    def spelt(self, token: str) -> bool:
        """True where a token that is not listed is one of the spellings."""
        return bool(self.forms and self.forms.search(fold(token)))


@dataclass(frozen=True, slots=True)
class SeriesRules:
    """Everything in ``series_rules.toml``."""

    least_score: int
    facts: dict[Fact, Clue]
    signs: dict[str, tuple[Pattern, Clue]]
    kinds: tuple[tuple[ImageKind, Pattern], ...]
    no_agent: frozenset[str]

    def signs_of(self, names: str, tokens: Sequence[str]) -> frozenset[str]:
        """Ids of the signs that a series of these folded names and tokens bears."""
        return frozenset(id_ for id_, (found, _) in self.signs.items() if found.fits(names, tokens))

    def kind_of(self, names: str, tokens: Sequence[str]) -> ImageKind:
        """``PSIR``, ``magnitude``, ``phase`` or ``unknown type``.

        Tokens are coded by the scanner, names are typed by staff and shared by all that a protocol
        makes: names decide only where there are no tokens, or tokens of several kinds.
        """
        known = [name for name, found in self.kinds if found.coded(tokens)]
        coded = list(dict.fromkeys(known + self._spelt(tokens)))
        named = self.named_kind(names)
        if len(coded) == 1 or (coded and named not in coded):
            return coded[0]
        return named

    def contradictory_kinds(self, tokens: Sequence[str]) -> list[ImageKind]:
        """Kinds that tokens name beside each other; none where they agree.

        ``M`` is left out: beside PSIR some vendors write it for an image that is not complex.
        """
        told = [token for token in tokens if token != "M"]
        known = [name for name, found in self.kinds if found.coded(told)]
        kinds = list(dict.fromkeys(known + self._spelt(told)))
        return kinds if len(kinds) > 1 else []

    def _spelt(self, tokens: Sequence[str]) -> list[ImageKind]:
        """Kinds by tokens that no kind lists, such as ``PSIR_MAG``: the first that fits each."""
        found = []
        for token in tokens:
            if not any(kind.coded((token,)) for _, kind in self.kinds):
                found += [name for name, kind in self.kinds if kind.spelt(token)][:1]
        return found

    def named_kind(self, names: str) -> ImageKind:
        """The same by folded names alone."""
        return next((name for name, found in self.kinds if found.named(names)), UNKNOWN_KIND)


def fold(text: str) -> str:
    """Text as rules compare it: lower case, without accents, in full-width letters' plain form."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@cache
def series_rules() -> SeriesRules:
    """The rules; read once."""
    table = tomllib.loads(Path(__file__).with_name("series_rules.toml").read_text(encoding="utf-8"))
    return SeriesRules(
        least_score=table["least_score"],
        facts={name: Clue(**fact) for name, fact in table["facts"].items()},
        signs={sign["id"]: (_pattern(sign), _clue(sign)) for sign in table["sign"]},
        kinds=tuple((kind["name"], _pattern(kind)) for kind in table["kind"]),
        no_agent=frozenset(table["contrast_agent"]["absent"]),
    )


def _clue(table: dict[str, Any]) -> Clue:
    return Clue(points=table["points"], says=table["says"])


def _pattern(table: dict[str, Any]) -> Pattern:
    tokens = frozenset(table.get("tokens", ()))
    return Pattern(_one_of(table.get("words")), tokens, _one_of(table.get("forms")))


def _one_of(words: Sequence[str] | None) -> re.Pattern[str] | None:
    return re.compile(f"(?<![a-z])(?:{'|'.join(map(fold, words))})") if words else None
