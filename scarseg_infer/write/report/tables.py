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
    head = ("Quantity", "Image and ECG", "Image alone", "Difference")
    return table("Whole left ventricle", head, rows, numeric=(1, 2, 3))


def segments_table(document: Mapping[str, Any]) -> str:
    """One row an AHA segment."""
    belief = document["ecg"]["segment_belief"]
    layers = document["characteristics"]["segment_distribution"]
    head = ["AHA segment", "Territory", "Scar lies", "Wall, mL", "Scar, mL", "Burden, %",
            "Transmurality, %", "Class, % of wall"]  # fmt: skip
    head += ["ECG alone, %"] * (belief is not None)
    rows = []
    for index, segment in enumerate(document["segments"]):
        row = [
            f"{segment['number']} {segment['name']}",
            segment["territory"],
            layers[index] or "",
            number(segment["myocardium_ml"], 1),
            number(segment["scar_ml"], 1),
            _share(segment["burden"]),
            _share(segment["transmurality"]),
            (segment["transmurality_class"] or "–").replace("-", "–"),
        ]
        rows.append(row + ([] if belief is None else [_share(belief[index])]))
    return table("AHA segments", head, rows, numeric=range(3, len(head)), marks="segment")


def characteristics(found: Mapping[str, Any]) -> str:
    """Table of where the scar lies, and how much of it the rules call that readers know."""
    obstruction = found["microvascular_obstruction_ml"]
    words = facts(
        [
            ("Location", ", ".join(found["location"]) or "no segment with scar"),
            ("Distribution in the wall", found["distribution"] or "–"),
            (
                "Microvascular obstruction",
                "–" if obstruction is None else f"{obstruction:.1f} mL, counted as scar",
            ),
        ]
    )
    rows = []
    for key, name, lower in (
        ("fwhm", "FWHM", "35 to 50 %"),
        ("schmidt", "Schmidt 2007", "brightest remote to 50 %"),
        ("sd", "3 SD", "2 to 3 SD"),
    ):
        if zones := found[key]:
            rows.append([f"{name}: core", *_amount(zones["core"])])
            rows.append([f"{name}: grey zone ({lower})", *_amount(zones["grey_zone"])])
    rows += [[f"{n} SD", *_amount(amount)] for n, amount in (found["n_sd"] or {}).items()]
    head = ("Rule", "mL", "g", "% of LV mass")
    caption = (
        "Scar by signal thresholds in the wall that was found. Shares of FWHM are counted from "
        "remote myocardium to the maximum of the scar; Flett 2011 and Roes 2009 count from zero, "
        "which has no meaning on PSIR."
    )
    rules = table(caption, head, rows, numeric=(1, 2, 3))
    return words + (rules if rows else "")


def _amount(amount: Mapping[str, float]) -> list[str]:
    return [f"{amount[key]:.1f}" for key in ("ml", "g", "percent_of_lv_mass")]


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


def _words(key: str) -> str:
    return key.replace("_", " ")
