"""The report of ``score``: a page, a CSV and a JSON, written as one folder or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from scarseg_export.score import tables
from scarseg_export.score.arms import ATLAS, FUSED, IMAGE, TRAINED_HERE, UNPLACED, UNTIMED
from scarseg_export.score.case import SCORES
from scarseg_export.score.plots import plots
from scarseg_export.score.score import RULES, Table, summarise
from scarseg_export.score.worst import Gallery
from scarseg_runtime.errors import OutputError
from scarseg_runtime.whole import not_written, whole_folder

ASSETS = Path(__file__).with_name("assets")
PAGE, CSV, JSON = "score.html", "score.csv", "score.json"
PAPER = (
    ("Image alone (baseline)", IMAGE), ("Image + atlas, no ECG", ATLAS),
    ("Fusion without atlas", UNPLACED), ("Fusion without Δt", UNTIMED),
    ("Fusion, as trained here", TRAINED_HERE), ("Fusion", FUSED),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class About:
    """Statements of a report on itself."""

    models: list[dict[str, Any]]
    """Name, SHA-256 and training data of each model."""
    data: str
    """Words of the table's TOML on the patients; empty where it has none."""
    left_out: int
    """Rows that could not be read."""


def write_report(folder: Path, table: Table, about: About, gallery: Gallery) -> Path:
    """Write ``score.html``, ``score.csv`` and ``score.json`` into ``folder``; give the page.

    Raises:
        OutputError: the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise OutputError("the report folder is there already", "Choose another name")
    document = summarise(table) | {
        "models": about.models, "data": about.data, "rows_left_out": about.left_out,
    }  # fmt: skip
    files = {
        JSON: json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        CSV: _csv(document),
        PAGE: _page(table, document, gallery),
    }
    try:
        with whole_folder(folder) as part:
            for name, text in files.items():
                (part / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise not_written("the report", error) from error
    return folder / PAGE


def _csv(document: dict[str, Any]) -> str:
    """One line a patient and arm."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "row", "gap_days", "ecg_used", "arm", *SCORES))
    for patient in document["patients"]:
        for arm, scores in patient["scores"].items():
            head = (patient["id"], patient["row"], patient["gap_days"], int(patient["ecg"]), arm)
            writer.writerow((*head, *("" if scores[k] is None else scores[k] for k in SCORES)))
    return text.getvalue()


def _page(table: Table, document: dict[str, Any], gallery: Gallery) -> str:
    arms = document["arms"]
    heard = any(patient["ecg"] for patient in document["patients"])
    # Without any ECG all arms of a model say the same.
    shown = [a for a in table.arms if a.model != RULES and (heard or a.name == IMAGE)]
    models = [arm.title for arm in shown]
    rules = {arm.title: arms[arm.title] for arm in table.arms if arm.model == RULES}
    differences = [
        one for one in document["differences"] if {one["from"], one["to"]} <= {*models, *rules}
    ]
    segments = tables.by_segment(
        {a.title: arms[a.title] for a in shown if a.name in (IMAGE, FUSED)}
    )
    script = (ASSETS / "sort.js").read_text(encoding="utf-8")
    parts = [
        _section("What each part adds", [
            *(tables.paper(model, arms, [
                (words, arm.title) for words, name in PAPER
                for arm in shown if (arm.model, arm.name) == (model, name)
            ]) for model in dict.fromkeys(arm.model for arm in shown)),
            _parts_legend(models) if heard else NO_ECG,
        ]),
        _section("All measures", [tables.overview({t: arms[t] for t in models}), _legend()]),
        _section("In the expert's wall, by plain rules", [
            tables.overview(rules, scar_only=True)
        ]) if rules else "",
        _section("By age of the ECG", [tables.by_bin(document["bins"], models)]) if heard else "",
        _section("By segment", [segments]) if segments else "",
        _section("Differences", [tables.differences(differences)]) if differences else "",
        _section("Plots", [_figure(*plot) for plot in plots(table, shown, document)]),
        _section("Where it went worst", [
            f"<p>Yellow: the expert. Blue: {escape(gallery.arm)}. Thick: scar. In the slices where "
            "both disagree most.</p>",
            *(_figure(*picture) for picture in gallery.pictures()),
        ]) if gallery.shots else "",
        _section("Patients", [tables.patients(document, models)]),
    ]  # fmt: skip
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    return _frame(style, script, document, "".join(parts))


def _frame(style: str, script: str, document: dict[str, Any], body: str) -> str:
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    trained = "".join(
        f"<li>{escape(m['name'])} (SHA-256 {m['sha256'][:12]}…, {m['provider']} {m['precision']}), "
        "trained on: "
        f"{escape(m['training_data'])}</li>"
        for m in document["models"]
    )
    left = document["rows_left_out"]
    data = escape(document["data"]) or "The table says nothing of these patients."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>Models against labelled patients</title>\n<style>\n{style}</style>\n</head>\n"
        "<body>\n<header><h1>Models against labelled patients</h1>\n"
        f"<p>{len(document['patients'])} patients"
        f"{f', {left} rows left out' if left else ''}. {data}</p>\n<ul>{trained}</ul>\n"
        "<p><strong>Research use only. Not a medical device.</strong></p></header>\n"
        f"<main>{body}</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _section(title: str, parts: Sequence[str]) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n" if parts else ""


def _figure(caption: str, uri: str) -> str:
    words = escape(caption)
    return f'<figure><img src="{uri}" alt="{words}"><figcaption>{words}</figcaption></figure>'


NO_ECG = (
    "<p>No patient has an ECG of known age, so that fusion gives the answer of the image alone.</p>"
)


def _parts_legend(models: Sequence[str]) -> str:
    """Meaning of the rows of the first table."""
    words = "Fusion without Δt takes every ECG as if it were of the day of the MRI. "
    if any(UNPLACED in title for title in models):
        words += (
            "Fusion without atlas hears how much the ECG believes in scar, but not where. Image + "
            "atlas hears no ECG. In the folds each of these is a head trained for it. They compare "
            "with fusion as trained here, used only where held-out pairs lose nothing by it. "
        )
    else:
        words += (
            "What the atlas adds is told by folds that had enough pairs to train their fusion: no "
            "model file holds heads without it. "
        )
    return f"<p>{words}Patients without an ECG of known age count with the image's answer.</p>"


def _legend() -> str:
    return (
        "<p>Dice, precision and sensitivity per case are means over patients with scar. Surfaces "
        "are the in-plane borders of each slice; distances between them are in three dimensions, "
        "and HD95 is the larger of both directions. "
        "A false alarm is more than 0.5 mL of scar in a heart without. Segments are those of the "
        "model, and count as scarred from 10 % of their wall. Intervals are bootstrapped over "
        "patients.</p>"
    )
