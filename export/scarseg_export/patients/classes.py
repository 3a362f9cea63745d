"""The TOML that says what values and segments of masks mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scarseg_runtime.edited_text import read_toml
from scarseg_runtime.errors import UsageError

BACKGROUND, CAVITY, MYOCARDIUM, SCAR, RV, UNLABELLED = (
    "background", "cavity", "myocardium", "scar", "rv", "unlabelled",
)  # fmt: skip
SYNONYMS: Final = {"mvo": SCAR, "no-reflow": SCAR}
"""Microvascular obstruction lies inside the infarct and counts as scar."""
CLASSES: Final = (BACKGROUND, CAVITY, MYOCARDIUM, SCAR, RV, UNLABELLED)
FILE_NAME: Final = "classes.toml"
TABLES: Final = ("values", "segments", "files")
CHOICES: Final = {"empty_slices": BACKGROUND, "missing_segments": UNLABELLED}
"""Meaning of slices in which nothing is drawn, and of a segment or file that the TOML names
and a mask lacks: nothing is there (background), or nobody looked (unlabelled)."""
ABOUT: Final = ("training_data", "licence", "name", *CHOICES)
_SOURCE: Final = "See scarseg-export data check --help for an example"


@dataclass(frozen=True, slots=True)
class Classes:
    """Meaning of what stands in masks; each value is one of :data:`CLASSES`."""

    values: Mapping[int, str]
    """Of voxel values in NIfTI."""
    segments: Mapping[str, str]
    """Of segments in DICOM SEG, by label or code value, casefolded."""
    files: Mapping[str, str]
    """Of NIfTI files of one class each in a folder, by name without suffix, casefolded."""
    about: Mapping[str, str]
    """Entries of :data:`ABOUT`: words for the model card, and :data:`CHOICES`."""

    @property
    def named(self) -> frozenset[str]:
        """Classes that any of the maps names."""
        maps = self.values, self.segments, self.files
        return frozenset(name for found in maps for name in found.values())

    def choice(self, name: str) -> str:
        """Answer to one of :data:`CHOICES`."""
        return self.about.get(name, CHOICES[name])

    def lacking(self, named: Mapping[str, str]) -> frozenset[str]:
        """Classes that whoever drew a mask looked for, though it may have no segment of them."""
        looked = self.choice("missing_segments") == BACKGROUND
        return frozenset(named.values()) if looked else frozenset()

    def settings(self) -> str:
        """All that decides on labels, as text for digests."""
        maps = [sorted(m.items()) for m in (self.values, self.segments, self.files)]
        return repr((maps, [self.choice(name) for name in CHOICES]))


def read_classes(path: Path) -> Classes:
    """Read the TOML::

        training_data = "180 patients of ..."   # optional, for the model card
        licence = "..."                         # optional
        empty_slices = "background"             # optional, or "unlabelled"
        missing_segments = "unlabelled"         # optional, or "background"
        [values]              # NIfTI
        0 = "background"
        1 = "cavity"
        2 = "myocardium"
        3 = "scar"
        4 = "mvo"             # counts as scar
        5 = "unlabelled"      # teaches nothing
        [segments]            # DICOM SEG, by label or code
        "LV scar" = "scar"
        [files]               # a folder of NIfTI files of one class each
        "scar" = "scar"

    Raises:
        UsageError: it is missing or damaged, has an unknown entry, maps to an unknown class, or to
            none that teaches.
    """
    try:
        content = read_toml(path)
    except OSError as error:
        raise UsageError(
            f"the TOML of classes cannot be read ({error.strerror})",
            f"Put {FILE_NAME} beside the table, or pass --classes FILE",
        ) from error
    except ValueError as error:
        raise UsageError(f"the TOML of classes is not TOML ({error})", _SOURCE) from error
    if not content.keys() <= {*TABLES, *ABOUT}:
        known = ", ".join((*ABOUT, *(f"[{name}]" for name in TABLES)))
        raise UsageError("the TOML of classes has an entry of another name", f"Known: {known}")
    for name, usual in CHOICES.items():
        if content.get(name, usual) not in (BACKGROUND, UNLABELLED):
            raise UsageError(
                f"{name} in the TOML of classes has an unknown value",
                f"Known: {BACKGROUND} or {UNLABELLED}",
            )
    maps = [_mapping(content, name) for name in TABLES]
    if not any(set(found.values()) - {BACKGROUND, UNLABELLED} for found in maps):
        raise UsageError("the TOML of classes names no class to learn", _SOURCE)
    try:
        values = {int(key): name for key, name in maps[0].items()}
    except ValueError as error:
        raise UsageError("a key of [values] in the TOML is no whole number", _SOURCE) from error
    values.setdefault(0, BACKGROUND)
    texts = {k: v for k, v in content.items() if isinstance(v, str)}
    segments, files = ({k.casefold(): v for k, v in m.items()} for m in maps[1:])
    return Classes(values, segments, files, texts)


def _mapping(content: Mapping[str, Any], name: str) -> dict[str, str]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{name} in the TOML of classes is no table", _SOURCE)
    found = {}
    for number, (key, value) in enumerate(table.items(), start=1):
        meant = SYNONYMS.get(str(value).casefold(), str(value).casefold())
        if meant not in CLASSES:
            known = ", ".join((*CLASSES, *SYNONYMS))
            raise UsageError(
                f"entry {number} of [{name}] in the TOML of classes is no class", f"Known: {known}"
            )
        found[key] = meant
    return found
