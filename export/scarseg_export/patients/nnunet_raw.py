"""nnU-Net's raw data sets (``DatasetXXX_Name``) as a table of patients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarseg_export.patients.classes import (
    BACKGROUND,
    CAVITY,
    FILE_NAME,
    MYOCARDIUM,
    RV,
    SCAR,
    UNLABELLED,
)
from scarseg_export.patients.table import write_table
from scarseg_runtime.edited_text import read_json
from scarseg_runtime.errors import OutputError, UsageError
from scarseg_runtime.whole import not_written, whole_file

CHANNEL = "_0000"
HINTS = (
    (UNLABELLED, ("ignore",)),
    (SCAR, ("scar", "infarct", "mvo", "no-reflow", "no reflow", "noreflow", "enhanc", "fibrosis")),
    (RV, ("rv", "right")),
    (CAVITY, ("cavity", "blood", "pool", "endo", "lumen", "lv")),
    (MYOCARDIUM, ("myo", "wall", "muscle")),
    (BACKGROUND, ("background",)),
)
"""Words in names of labels; the first that is found decides. "LV myocardium" is looked at below."""
_LAYOUT = "Give a folder with dataset.json, imagesTr and labelsTr, as nnU-Net v2 keeps raw data"


def write_nnunet_table(folder: Path, table: Path) -> tuple[Path, int]:
    """Write ``table`` and ``classes.toml`` beside it for a raw data set of one channel.

    Labels whose names do not tell what they are stand as ``"?"`` in the TOML, which is refused
    until somebody has said it.

    Returns: the table, and how many rows it has.

    Raises:
        UsageError: the folder is no raw data set, or has more than one channel.
        OutputError: a file cannot be written, or is there already.
    """
    described = _description(folder)
    ending = str(described.get("file_ending", ".nii.gz"))
    cases = sorted((folder / "imagesTr").glob(f"*{CHANNEL}{ending}"))
    rows = []
    base = table.parent.resolve()
    for image in cases:
        name = image.name.removesuffix(f"{CHANNEL}{ending}")
        mask = folder / "labelsTr" / f"{name}{ending}"
        if mask.is_file():
            study, drawn = (
                Path(os.path.relpath(path.resolve(), base)).as_posix() for path in (image, mask)
            )
            rows.append({"id": name, "study": study, "mask": drawn, "ecg": "", "gap_days": ""})
    if not rows:
        raise UsageError("the data set has no image with labels", _LAYOUT)
    classes, text = table.parent / FILE_NAME, _toml(described)
    if table.exists() or classes.exists():
        raise OutputError(f"the table or {FILE_NAME} is there already", "Choose another folder")
    try:
        with whole_file(classes) as part:
            part.write_text(text, encoding="utf-8")
        with whole_file(table) as part:
            write_table(part, rows, rows[0])
    except OSError as error:
        raise not_written("the table", error) from error
    return table, len(rows)


def _description(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "dataset.json")
        channels = found.get("channel_names", found.get("modality", {}))
        labels = found["labels"]
        usable = isinstance(labels, dict) and isinstance(channels, dict)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError("the folder is no raw data set of nnU-Net", _LAYOUT) from error
    if not usable:
        raise UsageError("dataset.json has no labels or channels by name", _LAYOUT)
    if len(channels) != 1:
        raise UsageError(
            f"the data set has {len(channels)} channels", "Only LGE, one channel, can be read"
        )
    return dict(found)


def meaning(name: str) -> str:
    """Class of a label by its name; ``?`` where that does not tell."""
    text = name.casefold()
    muscle = any(word in text for word in ("myo", "wall", "muscle"))
    for found, words in HINTS:
        if any(word in text for word in words):
            return MYOCARDIUM if found in (CAVITY, RV) and muscle else found
    return "?"


def _toml(described: Mapping[str, Any]) -> str:
    lines = [
        "# What the labels of the data set mean: background, cavity, myocardium, scar, mvo, rv or",
        '# unlabelled. Put one of them in place of every "?".',
        "[values]",
    ]
    values: dict[int, str] = {}
    regions = {
        str(name): value if isinstance(value, list) else [value]
        for name, value in described["labels"].items()
    }
    try:
        for name, region in sorted(regions.items(), key=lambda item: -len(item[1])):
            values |= {int(one): name for one in region}  # the smallest says most of a value
    except (TypeError, ValueError) as error:
        raise UsageError("dataset.json has a label that is no whole number", _LAYOUT) from error
    for number in sorted(values):
        comment = "".join(c for c in values[number] if c.isprintable())
        lines.append(f'{number} = "{meaning(values[number])}"  # {comment}')
    return "\n".join([*lines, ""])
