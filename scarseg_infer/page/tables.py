"""Tables of the page, from the values of ``result.json`` and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

_QUANTITIES: Final = (
    ("Scar, mL", "scar_ml", 1),
    ("Scar, g", "scar_g", 1),
    ("Scar, % of LV mass", "scar_percent_of_lv_mass", 1),
    ("LV myocardium, mL", "myocardium_ml", 0),
    ("LV myocardium, g", "myocardium_g", 0),
    ("LV cavity, mL", "lv_cavity_ml", 0),
)
_SEGMENT_KEYS: Final = (
    "number", "name", "territory", "myocardium_ml", "scar_ml", "burden", "transmurality",
    "transmurality_class",
)  # fmt: skip
_UNITS: Final = {
    "ml": "mL", "g": "g", "mm": "mm", "ms": "ms", "percent": "%", "days": "days", "bpm": "/min",
    "mv": "mV", "cm2": "cm²", "sd": "SD",
}  # fmt: skip
"""Units that the keys of the document carry as their last word."""

_MOST_COLUMNS: Final = 64
_NOTHING: Final = frozenset(("0", "0.0", "–"))
"""Numbers that are set back, so that the others stand out."""
_SET_BACK: Final = ' class="n none"'


def quantities_table(document: Mapping[str, Any]) -> str:
    """Whole ventricle: the fused answer beside that of the image alone."""
    fused, image = document["quantities"], document["image_only_quantities"]
    rows = []
    for name, key, digits in _QUANTITIES:
        both = fused[key], image[key]
        change = None if None in both else round(both[0], digits) - round(both[1], digits)
        cells = [number(value, digits) for value in both]
        rows.append([name, *cells, _signed(change, digits)])
    head = ("", "Image and ECG", "Image alone", "Difference")
    return table("Whole left ventricle", head, rows, numeric=(1, 2, 3))


def segments_table(document: Mapping[str, Any]) -> str:
    """One row an AHA segment; whatever else the document says of segments comes last."""
    segments = document["segments"]
    belief = document["ecg"]["segment_belief"]
    more = [k for k in segments[0] if k not in _SEGMENT_KEYS and not _nested(segments[0][k])]
    head = ["AHA segment", "Territory", "Wall, mL", "Scar, mL", "Burden, %", "Transmurality, %",
            "Class, % of wall"]  # fmt: skip
    head += ["ECG alone, %"] * (belief is not None) + [_with_unit(key) for key in more]
    rows = []
    for index, segment in enumerate(segments):
        row = [
            f"{segment['number']} {segment['name']}",
            segment["territory"],
            number(segment["myocardium_ml"], 1),
            number(segment["scar_ml"], 1),
            _share(segment["burden"]),
            _share(segment["transmurality"]),
            (segment["transmurality_class"] or "–").replace("-", "–"),
        ]
        row += [] if belief is None else [_share(belief[index])]
        rows.append(row + [_plain(segment.get(key)) for key in more])
    return table("AHA segments", head, rows, numeric=range(2, len(head)), marks="segment")


def characteristics(value: Any, name: str = "Characteristics") -> str:
    """Any nested values as tables: one for what is single, one for each list of alike things."""
    rows: list[list[str]] = []
    inner: list[str] = []
    _collect(value, (), rows, inner)
    single = table(name, ("", "Value", "Unit"), rows, numeric=(1,)) if rows else ""
    return single + "".join(inner)


def table(
    caption: str,
    head: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    numeric: Iterable[int] = (),
    marks: str | None = None,
) -> str:
    """An HTML table of plain words, which are escaped here; first column heads the rows.

    Args:
        numeric: columns to align as numbers.
        marks: rows carry ``data-<marks>`` with their number, counted from 1.
    """
    right = set(numeric)
    align = [' class="n"' if column in right else "" for column in range(_MOST_COLUMNS)]
    top = "".join(f'<th scope="col"{align[i]}>{escape(w)}</th>' for i, w in enumerate(head))
    body = []
    for place, row in enumerate(rows, start=1):
        first, *others = row
        kinds = [
            _SET_BACK if i in right and words in _NOTHING else align[i]
            for i, words in enumerate(others, start=1)
        ]
        cells = "".join(
            f"<td{kind}>{escape(words)}</td>" for kind, words in zip(kinds, others, strict=True)
        )
        mark = f' data-{marks}="{place}"' if marks else ""
        body.append(f'<tr{mark}><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values, escaped here."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{rows}</dl>'


def technical(document: Mapping[str, Any]) -> str:
    """Series, model, software and timings."""
    source, model, software = (document[key] for key in ("input", "model", "software"))
    spacing = " × ".join(f"{mm:g}" for mm in source["pixel_spacing_mm"])
    walls = "known" if source["orientation_known"] else "not known: walls are assumed"
    series = facts(
        [
            ("Source", f"{source['source']}, {source['image_kind']}"),
            ("Grid", f"{source['slices']} slices of {source['rows']} × {source['columns']} pixels"),
            ("Pixel spacing", f"{spacing} mm (between rows, between columns)"),
            ("How the heart lies", walls),
            ("Study UID", source["study_instance_uid"] or "none"),
            ("Series UID", ", ".join(source["series_instance_uids"]) or "none"),
            ("Model", f"{model['name']} {model['version']}"),
            ("Model file SHA-256", model["sha256"]),
            ("Ran on", f"{model['provider']}, {model['precision']}"),
            ("Software", f"{software['name']} {software['version']}"),
            ("Made", f"{document['created_utc']}"),
            ("Schema of result.json", document["schema_version"]),
        ]
    )
    places = zip(source["slice_positions_mm"], source["slice_heights_mm"], strict=True)
    slices = table(
        "Slices in the order of the stack",
        ("Slice", "Position, mm", "Stands for, mm"),
        [[f"{i}", f"{at:.2f}", f"{mm:.2f}"] for i, (at, mm) in enumerate(places, start=1)],
        numeric=(1, 2),
    )
    timings = table(
        "Wall time",
        ("Stage", "ms"),
        [[_words(stage), f"{ms:.0f}"] for stage, ms in document["timings_ms"].items()],
        numeric=(1,),
    )
    return f'<div class="beside"><div>{series}</div><div>{slices}{timings}</div></div>'


def number(value: float | None, digits: int) -> str:
    """A value as the reader meets it, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    value = round(value, digits)
    return f"{value:+.{digits}f}".replace("-", "−") if value else f"{0:.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}"


def _collect(value: Any, path: tuple[str, ...], rows: list[list[str]], inner: list[str]) -> None:
    """Walk nested values: single ones into ``rows``, lists of mappings into tables."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _collect(item, (*path, str(key)), rows, inner)
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
        keys = list(dict.fromkeys(key for item in value for key in item))
        lines = [[_plain(item.get(key)) for key in keys] for item in value]
        caption = ": ".join(_words(p) for p in path) or "List"
        inner.append(
            table(caption, [_with_unit(k) for k in keys], lines, numeric=range(1, _MOST_COLUMNS))
        )
    else:
        words, unit = _split(path[-1] if path else "value")
        name = ": ".join([*(_words(p) for p in path[:-1]), words])
        rows.append([name[:1].upper() + name[1:], _plain(value), unit])


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _plain(value: Any) -> str:
    """A single value in words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(k))} {_plain(v)}" for k, v in value.items())
    return str(value)


def _split(key: str) -> tuple[str, str]:
    """Words and unit of a key such as ``core_ml``."""
    words, _, last = key.rpartition("_")
    if words and last in _UNITS:
        return words.replace("_", " "), _UNITS[last]
    return key.replace("_", " "), ""


def _words(key: str) -> str:
    return key.replace("_", " ")


def _with_unit(key: str) -> str:
    words, unit = _split(key)
    return f"{words[:1].upper()}{words[1:]}{', ' + unit if unit else ''}"
