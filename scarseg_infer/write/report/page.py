"""The result as one self-contained page, ``report.html``: no network, no other file.

Tables, maps and curves are plain HTML and SVG made here, so they show without JavaScript too;
the script adds the slice browser and what links it to the map.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.write.json import result_document
from scarseg_infer.write.report import charts, drawing, polar, tables
from scarseg_infer.write.report.bullseye import UNKNOWN_WALLS
from scarseg_infer.write.report.volumes import volumes

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

_PARTS: Final = Path(__file__).with_name("assets")
_SCRIPTS: Final = ("volume.js", "viewer.js", "page.js")
_COLOURS: Final = {
    "endocardium": drawing.ENDOCARDIUM,
    "epicardium": drawing.EPICARDIUM,
    "scar": drawing.SCAR,
    "image-only": drawing.IMAGE_ONLY,
    "added": drawing.ADDED,
    "day-no-data": drawing.NO_DATA,
    "night-no-data": drawing.NIGHT_NO_DATA,
    "day-ink": drawing.INK,
    "day-warning": drawing.WARNING,
}
"""CSS variables that carry the colours of the pictures."""
_GAP_SOURCES: Final = {
    "timestamps": "both time stamps",
    "dates": "both dates",
    "given": "what the user said",
    "unknown": "nowhere",
}


def write_page(result: ScarResult, path: Path) -> None:
    """Write :func:`page_html` as ``path``. Raises OSError where that cannot be written."""
    path.write_text(page_html(result), encoding="utf-8", newline="\n")


def page_html(result: ScarResult) -> str:
    """The whole page.

    All numbers come from :func:`~scarseg_infer.write.json.result_document`, so page and
    ``result.json`` agree. No name, patient ID or date of the patient appears.
    """
    document = result_document(result)
    script = "\n".join(_part(name) for name in _SCRIPTS)
    colours = ";".join(f"--{name}:{polar.css(colour)}" for name, colour in _COLOURS.items())
    model, warnings = document["model"], document["warnings"]
    known = document["input"]["orientation_known"]
    return Template(_part("page.html")).substitute(
        policy=_policy(script),
        style=f":root{{{colours}}}\n{_part('page.css')}",
        statement=escape(document["statement"]),
        model=escape(f"{model['name']} {model['version']}"),
        training=escape(model["training_data"]),
        warnings_title=f"Warnings ({len(warnings)})" if warnings else "No warnings",
        warnings=_warnings(warnings),
        figures=_figures(document),
        walls="" if known else f'<p class="unknown">{UNKNOWN_WALLS}.</p>',
        polar=polar.polar_svg(document["segments"], document["ecg"]["segment_belief"]),
        scale=polar.scale_html(),
        belief="" if document["ecg"]["segment_belief"] is not None else "hidden",
        had_say="hidden" if document["ecg"]["weight"] > 0 else "",
        quantities=tables.quantities_table(document),
        segments=tables.segments_table(document),
        characteristics=tables.characteristics(document["characteristics"]),
        taff=_taff(document, result.model.tau_days),
        ecg=_ecg(document, result.ecg.mean_beat_mv),
        technical=tables.technical(document),
        data=_json({"document": document, "volumes": volumes(result)}),
        script=script,
    )


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing is loaded from anywhere, and no script runs but the one on the page."""
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the strings in it say."""
    words = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return words.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return ""
    return f"<ul>{''.join(f'<li>{escape(words)}</li>' for words in warnings)}</ul>"


def _figures(document: dict[str, Any]) -> str:
    """The four numbers a reader looks for first."""
    fused, image, ecg = (document[k] for k in ("quantities", "image_only_quantities", "ecg"))
    share, alone = (q["scar_percent_of_lv_mass"] for q in (fused, image))
    gap = ecg["gap_days"]
    age = f"{gap:.1f} days between ECG and MRI" if gap is not None else "time between tests unknown"
    cards = [
        (
            "Scar, share of LV mass",
            "no left ventricle" if share is None else f"{share:.1f} %",
            "" if alone is None else f"image alone {alone:.1f} %",
        ),
        ("Scar", f"{fused['scar_ml']:.1f} mL", f"{fused['scar_g']:.1f} g"),
        (
            "Left ventricle",
            f"{fused['myocardium_g']:.0f} g",
            f"myocardium; cavity {fused['lv_cavity_ml']:.0f} mL",
        ),
        ("ECG weight", f"{ecg['weight']:.2f}", age if ecg["given"] else "no ECG"),
    ]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(value)}</b> <span>{escape(more)}</span></dd>"
        "</div>"
        for name, value, more in cards
    )
    return f"<dl>{items}</dl>"


def _taff(document: dict[str, Any], tau_days: float | None) -> str:
    ecg = document["ecg"]
    reason = ecg["reason"]
    words = f"{reason[:1].upper()}{reason[1:]}".rstrip(".")
    parts = [f'<p class="reason">{escape(words)}. Weight {ecg["weight"]:.2f}.</p>']
    if tau_days is not None and tau_days > 0:
        parts.append(charts.taff_svg(tau_days, ecg["gap_days"], ecg["weight"]))
        parts.append(
            '<p class="note">w(Δt) = exp(−Δt / τ). At weight 0 the result is that of the image '
            "alone; a Δt that is not known never counts as 0.</p>"
        )
    parts.append(tables.facts(_ecg_facts(ecg)) if ecg["given"] else "")
    if ecg["given"]:
        parts.append(f'<p class="note">{escape(_belief_words(document["model"]))}</p>')
    return "".join(parts)


def _belief_words(model: dict[str, Any]) -> str:
    """Say how far the ECG's own belief can be trusted, as far as the model file tells."""
    scores = model["ecg_scores"]
    if scores is None:
        return "How sure the ECG's belief about scar is on real ECGs: not known for this model."
    return (
        f"How sure the ECG's belief about scar is: on {scores['records']} real ECGs not trained on "
        f"({scores['data']}) it told infarct from normal with an AUROC of {scores['auroc']:.2f}; "
        f"its probabilities were off by {100 * scores['calibration_error']:.0f} % in the mean. "
        "Those infarcts were read from the ECGs themselves, not from MRI."
    )


def _conduction(quality: dict[str, Any]) -> list[tuple[str, str]]:
    duration = quality["qrs_ms"]
    pattern = {"none": "", "nonspecific": ", wide without the shape of a block"}
    shape = pattern.get(quality["pattern"], f", {quality['pattern']}")
    return [
        ("QRS duration", "not measurable" if duration is None else f"{duration:.0f} ms{shape}"),
        ("Pacing", quality["pacing"]),
    ]


def _ecg_facts(ecg: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts of the ECG, as far as they are known."""
    gap, odd = ecg["gap_days"], ecg["ecg_image_disagreement"]
    known = "unknown" if gap is None else f"{gap:.1f} days, from {_GAP_SOURCES[ecg['gap_source']]}"
    facts = [("Time between the tests", known)]
    if ecg["heart_rate_bpm"] is not None:
        facts.append(("Heart rate", f"{ecg['heart_rate_bpm']:.0f} beats a minute"))
    if ecg["beats_averaged"] is not None:
        facts.append(("Mean beat of", f"{ecg['beats_averaged']} beats"))
    if ecg["quality"] is not None:
        facts += _conduction(ecg["quality"])
    facts.append(("Derived leads", ", ".join(ecg["derived_leads"]) or "none"))
    fit = {None: "not checked", True: "doubtful: see the warnings", False: "nothing against it"}
    facts.append(("Same patient as the image", fit[odd]))
    return facts


def _ecg(document: dict[str, Any], beat_mv: NDArray[np.float32] | None) -> str:
    ecg = document["ecg"]
    if beat_mv is None:
        words = "The mean beat is not part of this result." if ecg["given"] else "No ECG was given."
        return f"<p>{words}</p>"
    derived = "* derived from other leads. " if ecg["derived_leads"] else ""
    return (
        f'{charts.ecg_svg(beat_mv, ecg["derived_leads"])}<p class="note">{derived}25 mm/s, '
        "10 mm/mV: a small square is 40 ms by 0.1 mV, a large one 200 ms by 0.5 mV. Printed in "
        "true size.</p>"
    )
