"""The result as a report of two A4 pages: what to beware of first, then numbers and pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from reportlab import platypus, rl_config
from reportlab.lib.colors import Color
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm

from scarseg_infer.write.report.drawing import FAINT, INK, PAPER, WARNING, Colour, headline
from scarseg_infer.write.summary import scar_sentence
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.quantify.quantities import Quantities, SegmentQuantities
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

    from scarseg_infer.result import ScarResult

TITLE: Final = "Myocardial scar in LGE MRI"
_MARGIN_MM: Final = 15.0
_WIDTH_MM, _HEIGHT_MM = 210.0, 297.0  # A4
_TEXT_WIDTH_MM: Final = _WIDTH_MM - 2 * _MARGIN_MM
_OVERLAY_HEIGHT_MM, _MAP_HEIGHT_MM = 155.0, 125.0
_PADDING: Final = 6.0
"""Points that reportlab keeps free inside the margins."""
_JPEG_QUALITY: Final = 95
_PALE_WARNING: Final[Colour] = (253, 236, 234)
_PALE: Final[Colour] = (240, 240, 240)
_NO_VALUE: Final = "–"


def report_pdf(result: ScarResult) -> bytes:
    """A PDF without anything that identifies the patient.

    Page one: purpose, headline, warnings, quantities in mL, g and % of LV mass (fused beside
    image-only), why the ECG counts as it does, slices with contours. Page two: the AHA-17 map
    and the table behind it, model. More warnings than fit move the rest down.
    """

    from scarseg_infer.write.report.bullseye import bullseye_image
    from scarseg_infer.write.report.overlay import overlay_image

    story = [
        _banner(),
        platypus.Spacer(1, 4 * mm),
        _paragraph(headline(result), size=15, bold=True),
        *_warnings(result),
        platypus.Spacer(1, 3 * mm),
        _table(_quantity_rows(result), (74, 32, 32), words=1),
        platypus.Spacer(1, 3 * mm),
        _paragraph(scar_sentence(result)),
        _paragraph(_ecg_words(result)),
        platypus.Spacer(1, 3 * mm),
        _picture(overlay_image(result), _OVERLAY_HEIGHT_MM),
        platypus.PageBreak(),
        _picture(bullseye_image(result), _MAP_HEIGHT_MM),
        platypus.Spacer(1, 3 * mm),
        _table(_segment_rows(result), (12, 42, 24, 26, 24, 26, 26), words=3),
        platypus.Spacer(1, 4 * mm),
        _paragraph(_model_words(result), colour=FAINT),
    ]
    file = BytesIO()
    document = platypus.SimpleDocTemplate(
        file, pagesize=(_WIDTH_MM * mm, _HEIGHT_MM * mm), title=TITLE, subject=RESEARCH_USE,
        author="scarseg-infer", creator=f"scarseg-infer {__version__}", lang="en",
        leftMargin=_MARGIN_MM * mm - _PADDING, rightMargin=_MARGIN_MM * mm - _PADDING,
        topMargin=_MARGIN_MM * mm - _PADDING, bottomMargin=_MARGIN_MM * mm,
    )  # fmt: skip
    with _binary_streams():
        document.build(story, onFirstPage=_page_foot, onLaterPages=_page_foot)
    return file.getvalue()


_STREAM_SETTING: Final = threading.Lock()


@contextmanager
def _binary_streams() -> Iterator[None]:
    """Pictures as they are: as ASCII, reportlab's default, they take longer than all the rest.

    That is a setting of the whole process: one thread at a time changes it and puts it back.
    """
    with _STREAM_SETTING:
        before, rl_config.useA85 = rl_config.useA85, 0
        try:
            yield
        finally:
            rl_config.useA85 = before


def _quantity_rows(result: ScarResult) -> list[list[str]]:
    def column(name: str, whole: Quantities) -> list[str]:
        return [
            name,
            f"{whole.scar_ml:.1f} mL",
            f"{whole.scar_g:.1f} g",
            _number(whole.scar_percent_of_lv_mass, 1.0, " %"),
            f"{whole.myocardium_g:.0f} g",
            f"{whole.lv_cavity_ml:.0f} mL",
        ]

    names = ["", "Scar volume", "Scar mass", "Scar, share of LV mass",
             "LV myocardium (scar included)", "LV cavity"]  # fmt: skip
    fused = column("Image and ECG" if result.ecg.weight > 0 else "Result", result.quantities)
    alone = column("Image alone", result.image_only_quantities)
    return [list(row) for row in zip(names, fused, alone, strict=True)]


def _segment_rows(result: ScarResult) -> list[list[str]]:
    head = ["AHA", "Segment", "Territory", "Myocardium", "Scar", "Burden", "Transmurality"]
    return [head, *(_segment_row(segment) for segment in result.quantities.segments)]


def _segment_row(segment: SegmentQuantities) -> list[str]:
    return [
        str(segment.number),
        segment.name,
        segment.territory,
        f"{segment.myocardium_ml:.1f} mL" if segment.burden is not None else "not imaged",
        f"{segment.scar_ml:.1f} mL" if segment.burden is not None else _NO_VALUE,
        _number(segment.burden, 100.0, " %", digits=0),
        _number(segment.transmurality, 100.0, " %", digits=0),
    ]


def _number(value: float | None, factor: float, unit: str, digits: int = 1) -> str:
    return _NO_VALUE if value is None else f"{factor * value:.{digits}f}{unit}"


def _ecg_words(result: ScarResult) -> str:
    ecg = result.ecg
    return f"ECG weight {ecg.weight:.2f} (0 not used, 1 fully used): {ecg.reason.rstrip('.')}."


def _model_words(result: ScarResult) -> str:
    model = result.model
    return (
        f"Burden: scar volume by volume of the segment. Transmurality: mean share of the wall's "
        f"thickness that is scar, where there is any. Model {model.name} {model.version} (SHA-256 "
        f"{model.sha256[:16]}) on {model.provider} {model.precision}. {model.training_data} "
        f"scarseg-infer {__version__}."
    )


def _warnings(result: ScarResult) -> list[Any]:
    """A box of all warnings; nothing where there are none."""

    words = list(result.warnings)
    if not words:
        return []
    title = "1 warning" if len(words) == 1 else f"{len(words)} warnings"
    rows = [[_paragraph(title, colour=WARNING, bold=True)]]
    rows += [[_paragraph(warning, colour=INK)] for warning in words]
    style = [
        ("BACKGROUND", (0, 0), (-1, -1), _colour(_PALE_WARNING)),
        ("LINEBEFORE", (0, 0), (0, -1), 2.5, _colour(WARNING)),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ]
    return [platypus.Spacer(1, 3 * mm), _grid(rows, [_TEXT_WIDTH_MM], style)]


def _banner() -> Any:
    words = _paragraph(f"{TITLE}. {RESEARCH_USE}", colour=PAPER, bold=True)
    return _grid([[words]], [_TEXT_WIDTH_MM], [("BACKGROUND", (0, 0), (-1, -1), _colour(WARNING))])


def _table(rows: Sequence[Sequence[str]], widths_mm: Sequence[float], words: int) -> Any:
    """Rows of text, the first one the head; ``words`` columns of words, then numbers."""
    style = [
        ("FONT", (0, 0), (-1, -1), "Helvetica", 9),
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 9),
        ("TEXTCOLOR", (0, 0), (-1, -1), _colour(INK)),
        ("BACKGROUND", (0, 0), (-1, 0), _colour(_PALE)),
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, _colour((200, 200, 200))),
        ("ALIGN", (words, 0), (-1, -1), "RIGHT"),
        ("TOPPADDING", (0, 0), (-1, -1), 1.8),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.8),
    ]
    return _grid([list(row) for row in rows], widths_mm, style)


def _grid(rows: list[list[Any]], widths_mm: Sequence[float], style: list[Any]) -> Any:

    widths = [width * mm for width in widths_mm]
    return platypus.Table(rows, colWidths=widths, style=style, hAlign="LEFT", repeatRows=0)


def _paragraph(words: str, *, size: float = 9.5, colour: Colour = INK, bold: bool = False) -> Any:

    font = "Helvetica-Bold" if bold else "Helvetica"
    style = ParagraphStyle(
        "words", fontName=font, fontSize=size, leading=1.3 * size, textColor=_colour(colour)
    )
    return platypus.Paragraph(escape(words), style)


def _picture(image: Image, height_mm: float) -> Any:
    """A picture as large as the width of the text and ``height_mm`` allow."""

    scale = min(_TEXT_WIDTH_MM / image.width, height_mm / image.height) * mm
    file = BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    file.seek(0)
    return platypus.Image(file, image.width * scale, image.height * scale, hAlign="LEFT")


def _page_foot(canvas: Any, document: Any) -> None:

    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(_colour(FAINT))
    canvas.drawString(_MARGIN_MM * mm, 8 * mm, RESEARCH_USE)
    canvas.drawRightString((_WIDTH_MM - _MARGIN_MM) * mm, 8 * mm, f"Page {document.page}")


def _colour(colour: Colour) -> Any:

    return Color(*(part / 255 for part in colour))
